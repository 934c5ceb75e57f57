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

pub(super) fn inspect(Inspect { files }: &Inspect) -> Done {
    each(files, |payload, path| {
        let heading = if files.len() > 1 { format!("{}:\n", shown(path)) } else { String::new() };
        (format!("{heading}{payload}"), as_json(payload), true)
    })
}

pub(super) fn check(context: Context<'_>, check: &Check) -> Result<Done, Failure> {
    let target = match (check.for_xen.clone(), check.build_id.clone()) {
        (Some(target), Some(id)) => target.build_id(id),
        (Some(target), None) => target,
        (None, _) => with_client(context.options, Access::Reads, |client| Ok(client.target()?))?,
    };
    let options = upload_options(context.options, &check.accept);
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
        (text, json!({ "findings": as_json(&findings) }), options.objections(payload, &target).is_empty())
    }))
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
