//! A simulated host as data, with feature `serde`: saved by one process, continued by another.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SimulatedXen;
use super::host::Host;
use super::payload::Standing;
use super::work::Deadline;
use crate::types::PayloadName;

/// The format of a saved host. It changes with any change of the types that a [`Host`] consists of.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved<H> {
    // First, so that a file of another format is reported as one.
    #[serde(deserialize_with = "known_format")]
    format: u32,
    host: H,
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(D::Error::custom(format_args!(
            "it was saved in format {other}, and this version reads format {FORMAT}"
        ))),
    }
}

/// The state of the host, as [`SimulatedXen::fork`] copies it. An action or a hook that takes time is saved with its
/// remaining time, which runs again once the host is read.
///
/// ```
/// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
/// use xen_livepatch::{Flags, LivepatchClient, PayloadName, Release};
///
/// let xen = SimulatedXen::new(Release::V4_20);
/// let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fixed"));
/// let client = LivepatchClient::connect(xen.clone())?;
/// client.upload(&PayloadName::new("fix")?, &fix.build())?;
/// client.apply(&PayloadName::new("fix")?, Flags::empty())?;
/// let saved = serde_json::to_string(&xen)?;
///
/// // In another process.
/// let xen: SimulatedXen = serde_json::from_str(&saved)?;
/// let client = LivepatchClient::connect(xen)?;
/// assert_eq!(client.inventory()?.to_string(), "Xen 4.20-fixed + fix");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Serialize for SimulatedXen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved { format: FORMAT, host: &*self.host() }.serialize(serializer)
    }
}

/// A host in the state that was saved. Data that can't come from a saved host is an error.
impl<'de> Deserialize<'de> for SimulatedXen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Saved::<Host> { host, .. } = Saved::deserialize(deserializer)?;
        if !is_consistent(&host) {
            return Err(D::Error::custom("the parts of the saved host contradict each other"));
        }
        Ok(Self::from_host(host))
    }
}

/// Checks that ids and names are unique, and that each id is that of a loaded payload. The rest of the simulator relies on
/// nothing else.
fn is_consistent(host: &Host) -> bool {
    let ids: BTreeSet<u64> = host.payloads.iter().map(|payload| payload.id).collect();
    let names: BTreeSet<&[u8]> = host.payloads.iter().map(|payload| &*payload.name).collect();
    let applied: BTreeSet<u64> = host.applied.iter().copied().collect();
    let nameable = names.iter().all(|name| name.len() <= PayloadName::MAX_LEN && !name.contains(&0));
    let standing: BTreeSet<u64> = host
        .payloads
        .iter()
        .filter(|payload| payload.standing == Standing::Applied)
        .map(|payload| payload.id)
        .collect();
    let mut busy = host.work.iter().map(|work| work.payload).chain(host.hook.iter().map(|hook| hook.payload));
    ids.len() == host.payloads.len()
        && ids.iter().all(|id| *id < host.next_id)
        && names.len() == host.payloads.len()
        && nameable
        && applied.len() == host.applied.len()
        && applied == standing
        && busy.all(|id| ids.contains(&id))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
/// The release of a host, which may be a point release that this version does not know.
pub(super) mod release {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::xen::Release;

    pub(in crate::sim) fn serialize<S: Serializer>(release: &Release, serializer: S) -> Result<S::Ok, S::Error> {
        (release.series(), release.point()).serialize(serializer)
    }

    pub(in crate::sim) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Release, D::Error> {
        let ((major, minor), point) = Deserialize::deserialize(deserializer)?;
        let series = Release::from_version(major, minor);
        series.map(|series| series.at(point)).ok_or_else(|| serde::de::Error::custom("no such release"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
/// The architecture of a host, by its number in ELF files.
pub(super) mod architecture {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::xen::Architecture;

    pub(in crate::sim) fn serialize<S: Serializer>(of: &Architecture, serializer: S) -> Result<S::Ok, S::Error> {
        of.raw().serialize(serializer)
    }

    pub(in crate::sim) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Architecture, D::Error> {
        Deserialize::deserialize(deserializer).map(Architecture::from_raw)
    }
}

impl Serialize for Deadline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.saturating_duration_since(Instant::now()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::after(Deserialize::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("a time that never comes"))
    }
}
