//! `inspect` and `check`: the contents of live-patch files, and the findings about them for a Xen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xen_livepatch::Payload;

use super::Context;
use crate::arguments::{Check, Inspect};
use crate::exit_status::ExitStatus;
use crate::failure::{Failure, as_json};
use crate::host::{Access, upload_options, with_client};
use crate::output::{Done, shown};
use crate::trust::Trust;

pub(super) fn inspect(context: Context<'_>, Inspect { files, trusted }: &Inspect) -> Result<Done, Failure> {
    let trust = Trust::read(context.options, trusted.as_deref())?;
    Ok(each(files, |payload, path| {
        let heading = if files.len() > 1 { format!("{}:\n", shown(path)) } else { String::new() };
        let (line, signature, _) = signature(&trust, payload, path);
        let mut report = as_json(payload);
        if let Some(report) = report.as_object_mut() {
            report.insert("signature".into(), signature);
        }
        (format!("{heading}{payload}{line}"), report, true)
    }))
}

pub(super) fn check(context: Context<'_>, check: &Check) -> Result<Done, Failure> {
    let target = match (check.for_xen.clone(), check.build_id.clone()) {
        (Some(target), Some(id)) => target.build_id(id),
        (Some(target), None) => target,
        (None, _) => with_client(context.options, Access::Reads, |client| Ok(client.target()?))?,
    };
    let options = upload_options(context.options, &check.accept);
    let trust = Trust::read(context.options, check.trusted.as_deref())?;
    Ok(each(&check.files, |payload, path| {
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

/// Reports on each file by `describe`, which returns a text, a JSON object, and true if the file is fine; or the error of a
/// file that is not a payload.
fn each(paths: &[PathBuf], describe: impl Fn(&Payload, &Path) -> (String, Value, bool)) -> Done {
    let mut done = Done::default();
    let mut files = Vec::new();
    for path in paths {
        let (text, value, is_fine) = match Payload::read(path) {
            Ok(payload) => describe(&payload, path),
            Err(error) => (error.to_string(), json!({ "error": as_json(&error) }), false),
        };
        let _ = writeln!(done.text, "{text}");
        let mut file = json!({ "file": path.to_string_lossy(), "ok": is_fine });
        if let (Some(file), Value::Object(value)) = (file.as_object_mut(), value) {
            file.extend(value);
        }
        files.push(file);
        if !is_fine {
            done.status = ExitStatus::Failed;
        }
    }
    done.result = json!({ "files": files });
    done
}
