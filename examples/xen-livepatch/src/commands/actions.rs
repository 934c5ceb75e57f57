//! `list`, `upload`, the four actions, and `load`.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};
use xen_livepatch::{
    Action, Errno, Error, ErrorKind, Flags, LivepatchClient, LoadOptions, Payload, PayloadName, State,
};

use super::guarded::taken_out;
use super::{Context, loaded_name, name};
use crate::arguments::{Load, Upload};
use crate::failure::{Failure, as_json};
use crate::host::{Access, upload_options, with_client};
use crate::input;
use crate::memory::KeptFiles;
use crate::output::{Done, Output};
use crate::table::table;
use crate::terminal::shown;
use crate::trust;

const NOTHING_TO_DO: &str = "no action needed";

pub(super) fn list(Context { options, .. }: Context<'_>) -> Result<Done, Failure> {
    let rows = with_client(options, Access::Lists, |client| Ok(client.list()?))?;
    Ok(Done::new(table(&rows), json!({ "payloads": as_json(&rows) })))
}

pub(super) fn upload(Context { options, output, .. }: Context<'_>, upload: &Upload) -> Result<Done, Failure> {
    let name = name(&upload.name)?;
    let begin = || output.begin(&format!("Uploading {}", shown(&upload.file)));
    let bytes = input::bytes(&upload.file, &name).and_then(|bytes| {
        trust::check_upload(options, &upload.signature, &upload.file, &bytes)?;
        Ok(bytes)
    });
    let bytes = bytes.inspect_err(|_| begin())?;
    with_client(options, Access::Changes, |client| {
        begin();
        client.upload_with(&name, &bytes, upload_options(options, &upload.accept))?;
        if let Ok(payload) = Payload::parse(&bytes) {
            keep(options.simulate.as_deref(), &payload);
        }
        Ok(Done::new("", json!({ "payload": as_json(&name) })))
    })
}

pub(super) fn act(
    Context { options, flags, output }: Context<'_>,
    action: Action,
    given: &OsStr,
    may_be_gone: bool,
) -> Result<Done, Failure> {
    let progress = match action {
        Action::Apply => "Applying",
        Action::Revert => "Reverting",
        Action::Replace => "Replacing all payloads with",
        _ => "Unloading",
    };
    with_client(options, Access::Changes, |client| {
        let name = loaded_name(given, client)?;
        output.begin(&format!("{progress} {name}"));
        match client.action(action, &name).flags(flags).run() {
            Ok(()) => {
                if matches!(action, Action::Revert | Action::Replace) {
                    taken_out(options, client);
                }
                Ok(Done::new("", result(&name, true)))
            }
            Err(error)
                if is_done(&error, action, client, &name)?
                    || may_be_gone && *error.kind() == ErrorKind::NoSuchPayload =>
            {
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

/// Returns true if the payload is in the requested state already, so that a repeated command succeeds. A payload that is
/// applied together with others has not replaced them.
fn is_done(error: &Error, action: Action, client: &LivepatchClient, name: &PayloadName) -> Result<bool, Failure> {
    let ErrorKind::WrongState { found, .. } = error.kind() else { return Ok(false) };
    Ok(match (action, found) {
        (Action::Apply, State::Applied) | (Action::Revert, State::Checked) => true,
        (Action::Replace, State::Applied) => {
            let applied = in_state(client, State::Applied)?;
            if applied.len() > 1 && applied.contains(name) {
                let text = "it is applied already, together with others, so it can't replace them; revert it first";
                return Err(Failure::new("others_applied", format_args!("replace {name:?}: {text}")));
            }
            applied == [name.clone()]
        }
        _ => false,
    })
}

/// Reverts payloads from the top of the stack down until none is applied. Xen does not report the order, but it refuses to
/// revert a payload that is not on top, before any of its hooks runs.
pub(super) fn revert_all(Context { options, flags, output }: Context<'_>) -> Result<Done, Failure> {
    with_client(options, Access::Changes, |client| {
        let mut reverted = Vec::new();
        let outcome = loop {
            match revert_top(client, flags, output) {
                Ok(Some(name)) => reverted.push(name),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !reverted.is_empty() {
            taken_out(options, client);
        }
        let result = json!({ "payloads": as_json(&reverted) });
        outcome.map_err(|error| Failure::from(error).with_result(result.clone()))?;
        Ok(Done::new(nothing_if(reverted.is_empty()), result))
    })
}

fn revert_top(client: &LivepatchClient, flags: Flags, output: &Output) -> Result<Option<PayloadName>, Error> {
    let applied = in_state(client, State::Applied)?;
    let mut refusal = None;
    // The one uploaded last is the best guess.
    for name in applied.into_iter().rev() {
        match client.action(Action::Revert, &name).flags(flags).run() {
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

/// Returns true if the revert may have failed only because the payload is not on top. Without Xen's log, `EBUSY` can mean
/// that too.
fn may_be_below(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotOnTop { .. } | ErrorKind::Unexplained { code: Errno::EBUSY, .. })
}

fn in_state(client: &LivepatchClient, state: State) -> Result<Vec<PayloadName>, Error> {
    Ok(client.list()?.into_iter().filter(|row| row.status.state == state).map(|row| row.name).collect())
}

/// Unloads every payload that is not applied. A failure does not stop it.
pub(super) fn unload_all(Context { options, flags, output }: Context<'_>) -> Result<Done, Failure> {
    with_client(options, Access::Changes, |client| {
        let names = in_state(client, State::Checked)?;
        let (mut unloaded, mut first) = (Vec::new(), None);
        for name in &names {
            output.begin(&format!("Unloading {name}"));
            match client.action(Action::Unload, name).flags(flags).run() {
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

pub(super) fn load(Context { options, flags, output }: Context<'_>, load: &Load) -> Result<Done, Failure> {
    let load_options = LoadOptions::new().upload(upload_options(options, &load.accept)).flags(flags);
    let begin = || output.begin(&format!("Loading {}", shown(&load.file)));
    let input = input::payload(&load.file).and_then(|(name, payload)| {
        trust::check_upload(options, &load.signature, &load.file, payload.bytes())?;
        Ok((name, payload))
    });
    let (name, payload) = input.inspect_err(|_| begin())?;
    with_client(options, Access::Changes, |client| {
        begin();
        client.load_as(&name, &payload, load_options)?;
        keep(options.simulate.as_deref(), &payload);
        Ok(Done::new("", result(&name, true)))
    })
}

/// Keeps the file of an uploaded payload, for plans that may have to upload it again.
fn keep(simulated: Option<&Path>, payload: &Payload) {
    // Best effort: a plan does without.
    let _ = KeptFiles::of(simulated).keep(payload);
}

#[cfg(test)]
mod tests {
    use xen_livepatch::Release;
    use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};

    use super::*;

    fn name(text: &str) -> PayloadName {
        PayloadName::new(text).unwrap()
    }

    /// A host whose topmost payload was uploaded first, and whose other one has the result of an old failure.
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
        assert_eq!(revert_top(&client, Flags::empty(), &output).unwrap(), Some(name("top")));
        assert_eq!(revert_top(&client, Flags::empty(), &output).unwrap(), Some(name("below")));
        assert_eq!(revert_top(&client, Flags::empty(), &output).unwrap(), None);
        assert!(xen.applied().is_empty());
    }

    #[test]
    fn a_failed_revert_ends_it() {
        let (xen, client) = host();
        let output = Output::for_usage(&[]);
        xen.on_revert().always().time_out();
        let error = revert_top(&client, Flags::empty(), &output).unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(xen.applied().len(), 2);
    }
}
