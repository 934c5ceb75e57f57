//! `inspect` and `check`: the contents of live-patch files, and the findings about them for a Xen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{BuildId, Error, Payload, Target};

use crate::failure::{FINAL, Failure, as_json};
use crate::host::{Access, upload_options, with_client};
use crate::output::Done;
use crate::shown::shown;

pub(crate) fn inspect(arguments: &ArgMatches) -> Done {
    let several = arguments.get_many::<PathBuf>("files").is_some_and(|files| files.len() > 1);
    each(arguments, |payload, path| {
        let heading = if several { format!("{}:\n", shown(path)) } else { String::new() };
        (format!("{heading}{payload}"), as_json(payload), true)
    })
}

pub(crate) fn check(arguments: &ArgMatches) -> Result<Done, Failure> {
    let target = match arguments.get_one::<Target>("for-xen") {
        Some(target) => match arguments.get_one::<BuildId>("build-id") {
            Some(id) => target.clone().build_id(id.clone()),
            None => target.clone(),
        },
        None => with_client(arguments, Access::Reads, |client| Ok(client.target()?))?,
    };
    let options = upload_options(arguments);
    Ok(each(arguments, |payload, path| {
        let findings = payload.check_against(&target);
        let mut text = match findings.len() {
            0 => format!("{}: nothing found", shown(path)),
            1 => format!("{}: 1 finding", shown(path)),
            count => format!("{}: {count} findings", shown(path)),
        };
        for finding in &findings {
            let _ = write!(text, "\n  {} [{}]: {finding}", finding.severity(), finding.kind());
        }
        (text, json!({ "findings": as_json(&findings) }), options.objections(payload, &target).is_empty())
    }))
}

/// Says this about each file, and of one that is not a payload why. All have to be well.
fn each(arguments: &ArgMatches, about: impl Fn(&Payload, &Path) -> (String, Value, bool)) -> Done {
    let mut done = Done::default();
    let mut files = Vec::new();
    for path in arguments.get_many::<PathBuf>("files").into_iter().flatten() {
        let (text, value, well) = match Payload::read(path) {
            Ok(payload) => about(&payload, path),
            Err(error) => unread(&error),
        };
        let _ = writeln!(done.text, "{text}");
        let mut file = json!({ "file": path.to_string_lossy(), "ok": well });
        if let (Some(file), Value::Object(value)) = (file.as_object_mut(), value) {
            file.extend(value);
        }
        files.push(file);
        if !well {
            done.status = FINAL;
        }
    }
    done.result = json!({ "files": files });
    done
}

fn unread(error: &Error) -> (String, Value, bool) {
    (error.to_string(), json!({ "error": as_json(error) }), false)
}
