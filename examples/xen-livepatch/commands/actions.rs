//! Upload, the actions, and load.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{Action, Errno, Error, ErrorKind, LivepatchClient, LoadOptions, Payload, PayloadName, State};

use super::guarded::taken_out;
use super::{loaded_name, name};
use crate::failure::{Failure, as_json};
use crate::flags;
use crate::host::{Access, upload_options, with_client};
use crate::input;
use crate::memory::KeptFiles;
use crate::output::{Done, Output};
use crate::shown::shown;
use crate::simulation::simulated;

const NOTHING_TO_DO: &str = "no action needed";

/// An action, its name on the command line, and the text that is shown meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Doing(Action, &'static str, &'static str);

pub(super) const APPLY: Doing = Doing(Action::Apply, "apply", "Applying");
pub(super) const REVERT: Doing = Doing(Action::Revert, "revert", "Reverting");
pub(super) const REPLACE: Doing = Doing(Action::Replace, "replace", "Replacing all payloads with");
pub(super) const UNLOAD: Doing = Doing(Action::Unload, "unload", "Unloading");

pub(crate) fn upload(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    let name = name(arguments)?;
    let begin = || output.begin(&format!("Uploading {}", shown(file(arguments))));
    let bytes = input::bytes(file(arguments), &name).inspect_err(|_| begin())?;
    with_client(arguments, Access::Changes, |client| {
        begin();
        client.upload_with(&name, &bytes, upload_options(arguments))?;
        if let Ok(payload) = Payload::parse(&bytes) {
            keep(arguments, &payload);
        }
        Ok(Done::new("", json!({ "payload": as_json(&name) })))
    })
}

pub(super) fn act(
    Doing(action, command, going_on): Doing,
    arguments: &ArgMatches,
    output: &Output,
) -> Result<Done, Failure> {
    let flags = flags::of(command, arguments);
    with_client(arguments, Access::Changes, |client| {
        let name = loaded_name(arguments, client)?;
        output.begin(&format!("{going_on} {name}"));
        match client.action(action, &name).flags(flags).run() {
            Ok(()) => {
                if matches!(action, Action::Revert | Action::Replace) {
                    taken_out(arguments, client);
                }
                Ok(Done::new("", result(&name, true)))
            }
            Err(error) if is_done(&error, action, client, &name)? => {
                output.end(NOTHING_TO_DO);
                Ok(Done::new("", result(&name, false)))
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// The last line of commands that report each payload.
fn nothing_if(so: bool) -> String {
    if so { format!("{NOTHING_TO_DO}\n") } else { String::new() }
}

fn result(name: &PayloadName, changed: bool) -> Value {
    json!({ "payload": as_json(name), "changed": changed })
}

/// Returns true if nothing has to be done, so that scripts may ask twice. A payload that is applied among others was not
/// put in their place.
fn is_done(error: &Error, action: Action, client: &LivepatchClient, name: &PayloadName) -> Result<bool, Failure> {
    let ErrorKind::WrongState { found, .. } = error.kind() else { return Ok(false) };
    Ok(match (action, found) {
        (Action::Apply, State::Applied) | (Action::Revert, State::Checked) => true,
        (Action::Replace, State::Applied) => {
            let applied = in_state(client, State::Applied)?;
            if applied.len() > 1 && applied.contains(name) {
                let text =
                    "it is applied already, together with others, whose place it can't take any more; revert it first";
                return Err(Failure::new("others_applied", format_args!("replace {name:?}: {text}")));
            }
            applied == [name.clone()]
        }
        _ => false,
    })
}

/// Reverts whatever is on top until nothing is applied. Xen reports no order, but it refuses to revert what is not on top,
/// before any of its hooks runs.
pub(crate) fn revert_all(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    with_client(arguments, Access::Changes, |client| {
        let mut reverted = Vec::new();
        let outcome = loop {
            match revert_top(client, output) {
                Ok(Some(name)) => reverted.push(name),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !reverted.is_empty() {
            taken_out(arguments, client);
        }
        let result = json!({ "payloads": as_json(&reverted) });
        outcome.map_err(|error| Failure::from(error).with_result(result.clone()))?;
        Ok(Done::new(nothing_if(reverted.is_empty()), result))
    })
}

fn revert_top(client: &LivepatchClient, output: &Output) -> Result<Option<PayloadName>, Error> {
    let applied = in_state(client, State::Applied)?;
    let mut refusal = None;
    // The one uploaded last is the best guess.
    for name in applied.into_iter().rev() {
        match client.action(Action::Revert, &name).run() {
            Ok(()) => {
                output.line(&format!("Reverting {name}... completed"));
                return Ok(Some(name));
            }
            Err(error) if may_be_below(&error) => refusal = Some(error),
            Err(error) => {
                output.line(&format!("Reverting {name}... failed"));
                return Err(error);
            }
        }
    }
    refusal.map_or(Ok(None), Err)
}

/// Returns true if the payload may only not be on top. Without Xen's log, `EBUSY` can mean that too.
fn may_be_below(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotOnTop { .. } | ErrorKind::Unexplained { code: Errno::EBUSY, .. })
}

fn in_state(client: &LivepatchClient, state: State) -> Result<Vec<PayloadName>, Error> {
    Ok(client.list()?.into_iter().filter(|row| row.status.state == state).map(|row| row.name).collect())
}

/// Unloads the payloads that are not applied, all that can be.
pub(crate) fn unload_all(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    with_client(arguments, Access::Changes, |client| {
        let names = in_state(client, State::Checked)?;
        let (mut unloaded, mut first) = (Vec::new(), None);
        for name in &names {
            output.begin(&format!("Unloading {name}"));
            match client.action(Action::Unload, name).run() {
                Ok(()) => {
                    output.end("completed");
                    unloaded.push(name);
                }
                Err(error) => {
                    output.end(&format!("failed: {error}"));
                    first.get_or_insert(error);
                }
            }
        }
        let result = json!({ "payloads": as_json(&unloaded) });
        match first {
            Some(error) => Err(Failure::from(error).with_result(result)),
            None => Ok(Done::new(nothing_if(names.is_empty()), result)),
        }
    })
}

pub(crate) fn load(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    let file = file(arguments);
    let options = LoadOptions::new().upload(upload_options(arguments)).flags(flags::of("load", arguments));
    let begin = || output.begin(&format!("Loading {}", shown(file)));
    let (name, payload) = input::payload(file).inspect_err(|_| begin())?;
    with_client(arguments, Access::Changes, |client| {
        begin();
        client.load_as(&name, &payload, options)?;
        keep(arguments, &payload);
        Ok(Done::new("", result(&name, true)))
    })
}

/// Keeps the file of a payload that was uploaded, for plans that may have to upload it again.
fn keep(arguments: &ArgMatches, payload: &Payload) {
    // Best effort: a plan does without.
    let _ = KeptFiles::of(simulated(arguments)).keep(payload);
}

fn file(arguments: &ArgMatches) -> &Path {
    arguments.get_one::<PathBuf>("file").map_or_else(|| Path::new(""), PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{Flags, Release};

    use super::*;

    fn name(text: &str) -> PayloadName {
        PayloadName::new(text).unwrap()
    }

    /// A host whose topmost payload was uploaded first, and whose last bears the mark of an old failure.
    fn host() -> (SimulatedXen, LivepatchClient) {
        let xen = SimulatedXen::new(Release::V4_17);
        let client = LivepatchClient::builder().without_xen_log().connect(xen.clone()).unwrap();
        for id in ["top", "below"] {
            let payload = PayloadBuilder::for_xen(&xen, id).function(FunctionPatch::returning("xen_extra_version", id));
            client.upload(&name(id), &payload.build()).unwrap();
        }
        client.apply(&name("below"), Flags::empty()).unwrap();
        xen.on_revert().time_out();
        client.revert(&name("below"), Flags::empty()).unwrap_err();
        client.apply(&name("top"), Flags::NODEPS).unwrap();
        (xen, client)
    }

    #[test]
    fn everything_is_reverted_without_knowing_the_order() {
        let (xen, client) = host();
        let output = Output::for_usage(&[]);
        assert_eq!(revert_top(&client, &output).unwrap(), Some(name("top")));
        assert_eq!(revert_top(&client, &output).unwrap(), Some(name("below")));
        assert_eq!(revert_top(&client, &output).unwrap(), None);
        assert!(xen.applied().is_empty());
    }

    #[test]
    fn what_refuses_to_be_reverted_ends_it() {
        let (xen, client) = host();
        let output = Output::for_usage(&[]);
        xen.on_revert().always().time_out();
        let error = revert_top(&client, &output).unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(xen.applied().len(), 2);
    }
}
