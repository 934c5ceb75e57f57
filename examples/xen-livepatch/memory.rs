//! Bounds on the point release of the running Xen, kept from one call of the tool to the next.
//!
//! A live patch may change the text that Xen reports after its version. What was known before that is kept until the
//! host boots again. It belongs to a build-id, so that it can't be taken for another Xen's.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xen_livepatch::{ClientBuilder, LivepatchClient, Target};

/// Root's alone, and empty after a boot.
const DIRECTORY: &str = "/run/xen-livepatch";

const FILE: &str = "xen.json";

/// The place in which it is kept. Best effort: where that can't be read or written, the tool works without it.
pub(crate) struct Memory {
    directory: PathBuf,
    found: Option<Target>,
}

impl Memory {
    /// Of this machine's Xen, or of a simulated one.
    pub(crate) fn new(simulated: Option<&Path>) -> Self {
        let directory: PathBuf = simulated.map_or_else(|| DIRECTORY.into(), Path::to_path_buf);
        let found = read(&directory.join(FILE));
        Self { directory, found }
    }

    /// A builder that knows what is known.
    pub(crate) fn recall(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.found {
            Some(target) => builder.known_target(target.clone()),
            None => builder,
        }
    }

    /// Keeps what a client has found out on the way.
    pub(crate) fn keep(&self, client: &LivepatchClient) {
        let Some(target) = client.known_target().filter(|target| target.known_build_id().is_some()) else { return };
        let same = |found: &Target| {
            found.known_build_id() == target.known_build_id() && found.known_points() == target.known_points()
        };
        if !self.found.as_ref().is_some_and(same) {
            // What could not be kept is found out again.
            let _ = write(&self.directory, &target);
        }
    }
}

fn read(path: &Path) -> Option<Target> {
    let about = fs::metadata(path).ok()?;
    // Nobody else may have a say in what a payload is checked for.
    let ours = [0, nix::unistd::geteuid().as_raw()].contains(&about.uid()) && about.mode() & 0o022 == 0;
    let text = ours.then(|| fs::read(path).ok())??;
    let value: Value = serde_json::from_slice(&text).ok()?;
    let number = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
    let build_id = value.get("build_id")?.as_str()?.parse().ok()?;
    let target = Target::new((number("major")?, number("minor")?)).build_id(build_id);
    let least = number("least_point")?;
    Some(match number("most_point") {
        Some(most) => target.points(least..=most),
        None => target.points(least..),
    })
}

fn write(directory: &Path, target: &Target) -> std::io::Result<()> {
    if !directory.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(directory)?;
    }
    let (major, minor) = target.release();
    let (least, most) = target.known_points();
    let build_id = target.known_build_id().map(ToString::to_string);
    let value = json!({
        "build_id": build_id, "major": major, "minor": minor, "least_point": least, "most_point": most,
    });
    // Whole or not at all, and never through somebody's link.
    let new = directory.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let written = writeln!(file, "{value}").and_then(|()| fs::rename(&new, directory.join(FILE)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
