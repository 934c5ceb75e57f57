//! The host at the beginning of examples in the documentation.

use crate::client::LivepatchClient;
use crate::error::Result;
use crate::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
use crate::types::PayloadName;
use crate::xen::Release;

/// A Xen 4.20 with a client, and a payload with its name that makes Xen's version end in `-fix`.
///
/// # Errors
/// Those of connecting a client.
pub fn fix() -> Result<(SimulatedXen, LivepatchClient, PayloadName, Vec<u8>)> {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = LivepatchClient::connect(xen.clone())?;
    let function = FunctionPatch::returning("xen_extra_version", "-fix");
    let payload = PayloadBuilder::named("fix", &client.build_id()?).function(function).metadata("author", Some("we"));
    Ok((xen, client, PayloadName::new("fix")?, payload.build()))
}
