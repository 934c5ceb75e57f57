//! `list`.

use clap::ArgMatches;
use serde_json::json;

use crate::failure::{Failure, as_json};
use crate::host::{Access, with_client};
use crate::output::{Done, Output};
use crate::table::table;

pub(crate) fn list(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    let rows = with_client(arguments, Access::Lists, |client| Ok(client.list()?))?;
    Ok(output.outcome(|| table(&rows), || json!({ "payloads": as_json(&rows) })))
}
