//! `inspect` and `check`: the contents of live-patch files, and the findings about them for a Xen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xen_livepatch::plan::StoreFault;
use xen_livepatch::{Payload, PayloadStore, StoredPayload, Target};

use super::Context;
use crate::arguments::{Check, Inspect};
use crate::exit_status::ExitStatus;
use crate::failure::{Failure, as_json};
use crate::host::{Access, upload_options, with_client};
use crate::output::Done;
use crate::terminal::shown;
use crate::trust::Trust;

pub(super) fn inspect(context: Context<'_>, Inspect { files, trusted }: &Inspect) -> Result<Done, Failure> {
    let trust = Trust::read(context.options, trusted.as_deref())?;
    let several = files.len() > 1 || files.iter().any(|path| path.is_dir());
    Ok(each(files, None, |payload, path| {
        let heading = if several { format!("{}:\n", shown(path)) } else { String::new() };
        let (line, signature, _) = signature(&trust, payload, path);
        let mut report = as_json(payload);
        if let Some(report) = report.as_object_mut() {
            report.insert("signature".into(), signature);
        }
        (format!("{heading}{payload}{line}"), report, true)
    }))
}

pub(super) fn check(context: Context<'_>, check: &Check) -> Result<Done, Failure> {
    let target = match check.xen.target() {
        Some(target) => target,
        None => with_client(context.options, Access::Reads, |client| Ok(client.target()?))?,
    };
    let options = upload_options(context.options, &check.accept);
    let trust = Trust::read(context.options, check.xen.trusted.as_deref())?;
    Ok(each(&check.files, Some(&target), |payload, path| {
        let findings = payload.check_against(&target);
        let mut text = match findings.len() {
            0 => format!("{}: nothing found", shown(path)),
            1 => format!("{}: 1 finding", shown(path)),
            count => format!("{}: {count} findings", shown(path)),
        };
        for finding in &findings {
            let _ = write!(text, "\n  {} [{}]: {finding}", finding.severity, finding.kind());
        }
        let (line, signature, is_trusted) = signature(&trust, payload, path);
        text.push_str(&line);
        let is_fine = is_trusted && options.objections(payload, &target).is_empty();
        (text, json!({ "findings": as_json(&findings), "signature": signature }), is_fine)
    }))
}

/// The signature of a file as a line of text, if there are keys, and in JSON; and true if the file is trusted.
fn signature(trust: &Trust, payload: &Payload, path: &Path) -> (String, Value, bool) {
    match trust.signer(path, payload.bytes()) {
        Ok(Some(signer)) => (format!("\n  signature  {}", signer.as_text()), json!(signer), true),
        Ok(None) => (String::new(), Value::Null, true),
        Err(reason) => (format!("\n  signature  none that is trusted: {reason}"), json!({ "error": reason }), false),
    }
}

/// Reports on each file, also on those of directories, by `describe`, which returns a text, a JSON object, and true if the file
/// is fine; or the error of a file that is not a payload. In a directory, files for another Xen than the target are only named.
fn each(
    paths: &[PathBuf],
    target: Option<&Target>,
    describe: impl Fn(&Payload, &Path) -> (String, Value, bool),
) -> Done {
    let mut done = Done::default();
    let mut files = Vec::new();
    let mut report = |path: &Path, (text, value, is_fine): (String, Value, bool)| {
        let _ = writeln!(done.text, "{text}");
        let mut file = json!({ "file": path.to_string_lossy(), "ok": is_fine });
        if let (Some(file), Value::Object(value)) = (file.as_object_mut(), value) {
            file.extend(value);
        }
        files.push(file);
        if !is_fine {
            done.status = ExitStatus::Failed;
        }
    };
    let failed = |failure: &Failure| (failure.message.clone(), json!({ "error": failure.error }), false);
    for path in paths {
        if !path.is_dir() {
            let read = Payload::read(path).map_err(Failure::from);
            report(path, read.map_or_else(|failure| failed(&failure), |payload| describe(&payload, path)));
            continue;
        }
        let store = match PayloadStore::read(path) {
            Ok(store) => store,
            Err(error) => {
                report(path, failed(&error.into()));
                continue;
            }
        };
        let foreign: Vec<&Path> = target
            .map(|target| store.for_another(target))
            .unwrap_or_default()
            .into_iter()
            .map(StoredPayload::path)
            .collect();
        for stored in store.payloads() {
            let path = stored.path();
            if foreign.contains(&path) {
                report(path, (format!("{}: for another Xen", shown(path)), json!({ "another_xen": true }), true));
            } else {
                report(path, describe(stored.payload(), path));
            }
        }
        let wanted = target.and_then(|target| store.wanted_for(target).ok());
        let problems = wanted.as_ref().map_or(store.problems(), |wanted| wanted.problems());
        // A finding that keeps a file from Xen was reported with the file.
        for problem in problems.iter().filter(|problem| !matches!(problem.fault(), StoreFault::Unfit { .. })) {
            report(problem.path(), (problem.to_string(), json!({ "problem": problem }), false));
        }
        if store.payloads().is_empty() && problems.is_empty() {
            report(path, failed(&Failure::new("nothing_wanted", no_payloads(path))));
        }
    }
    done.result = json!({ "files": files });
    done
}

/// The text about a directory without payloads.
pub(super) fn no_payloads(directory: &Path) -> String {
    format!("no file in {} ends in .livepatch", shown(directory))
}
