//! Knowledge of the host, kept from one call of the tool to the next, until the host boots again.
//!
//! * Bounds on the point release of the running Xen. A live patch may change the text that Xen reports after its version.
//! * The identities of loaded payloads, so that a call on a host on which nothing was uploaded or unloaded presses no debug
//!   key. They belong to one boot and to one Xen, and the client compares the version of Xen's list.
//! * The files of loaded payloads, with which a plan can put back what it has to take out.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use xen_livepatch::{BuildId, ClientBuilder, KnownIdentities, LivepatchClient, Payload, Target};

use crate::guard;
use crate::lock;

const TARGET: &str = "xen.json";

const IDENTITIES: &str = "identities.json";

const PAYLOADS: &str = "payloads";

const SUFFIX: &str = ".livepatch";

/// More than any of them has.
const MOST_BYTES: u64 = 16 << 20;

/// The place in which it is kept. Best effort: where that can't be read or written, the tool works without it.
pub(crate) struct Memory {
    directory: PathBuf,
    files: KeptFiles,
    boot: Option<String>,
    target: Option<Target>,
    identities: Option<KnownIdentities>,
}

impl Memory {
    /// Of this machine's Xen, or of a simulated one.
    pub(crate) fn new(simulated: Option<&Path>) -> Self {
        let directory = directory(simulated);
        // A simulated Xen is never booted again.
        let boot = if simulated.is_some() { Some("simulated".to_owned()) } else { guard::boot_id().ok() };
        let target = read(&directory.join(TARGET)).as_ref().and_then(target);
        let found = read(&directory.join(IDENTITIES));
        let identities = found.and_then(|value| identities(&value, boot.as_deref()?));
        Self { files: KeptFiles::of(simulated), directory, boot, target, identities }
    }

    /// A builder that knows what is known.
    pub(crate) fn recall(&self, builder: ClientBuilder) -> ClientBuilder {
        let builder = match &self.target {
            Some(target) => builder.known_target(target.clone()),
            None => builder,
        };
        match &self.identities {
            Some(identities) => builder.known_identities(identities.clone()),
            None => builder,
        }
    }

    /// Keeps the knowledge that a client has gained on the way, and drops the files of payloads that are no longer loaded.
    pub(crate) fn keep(&self, client: &LivepatchClient) {
        // What could not be kept is found out again.
        let _ = self.keep_target(client);
        let _ = self.keep_identities(client);
        if !self.files.all().is_empty() {
            let _ = self.prune(client);
        }
    }

    /// Drops everything that is known.
    pub(crate) fn clear(&self) {
        for (id, _) in self.files.all() {
            self.files.forget(&id);
        }
        for file in [TARGET, IDENTITIES] {
            let _ = fs::remove_file(self.directory.join(file));
        }
    }

    fn keep_target(&self, client: &LivepatchClient) -> io::Result<()> {
        let Some(target) = client.known_target().filter(|target| target.known_build_id().is_some()) else {
            return Ok(());
        };
        let same = |found: &Target| {
            found.known_build_id() == target.known_build_id() && found.known_points() == target.known_points()
        };
        if self.target.as_ref().is_some_and(same) {
            return Ok(());
        }
        let (major, minor) = target.release();
        let (least, most) = target.known_points();
        let build_id = target.known_build_id().map(ToString::to_string);
        self.write(
            TARGET,
            &json!({
                "build_id": build_id, "major": major, "minor": minor, "least_point": least, "most_point": most,
            }),
        )
    }

    fn keep_identities(&self, client: &LivepatchClient) -> io::Result<()> {
        let (Some(boot), Some(known)) = (&self.boot, client.known_identities()) else { return Ok(()) };
        if self.identities.as_ref() == Some(&known) {
            return Ok(());
        }
        let lines: Vec<String> = known.to_string().lines().map(str::to_owned).collect();
        self.write(IDENTITIES, &json!({ "boot": boot, "identities": lines }))
    }

    /// Drops the files of payloads that are surely no longer loaded.
    fn prune(&self, client: &LivepatchClient) -> Result<(), xen_livepatch::Error> {
        let Some(known) = client.known_identities() else { return Ok(()) };
        let identified: Vec<_> = known.payloads().filter_map(|(name, id)| Some((name, id?))).collect();
        let rows = client.list()?;
        let all = rows.iter().all(|row| identified.iter().any(|(name, _)| **name == row.name));
        if all && client.known_identities().is_some_and(|again| again == known) {
            let gone = |id: &BuildId| !identified.iter().any(|(_, loaded)| *loaded == id);
            self.files.all().iter().filter(|(id, _)| gone(id)).for_each(|(id, _)| self.files.forget(id));
        }
        Ok(())
    }

    fn write(&self, file: &str, value: &Value) -> io::Result<()> {
        create(&self.directory)?;
        write(&self.directory, file, 0o644, format!("{value}\n").as_bytes())
    }
}

/// The kept files of loaded payloads.
pub(crate) struct KeptFiles {
    /// The directory that theirs is in.
    directory: PathBuf,
}

impl KeptFiles {
    /// Those of this machine's Xen, or of a simulated one.
    pub(crate) fn of(simulated: Option<&Path>) -> Self {
        Self { directory: directory(simulated) }
    }

    /// Keeps the file of a payload that was uploaded, whole or not at all.
    ///
    /// # Errors
    /// If it can't be written, and for a payload without a build-id.
    pub(crate) fn keep(&self, payload: &Payload) -> io::Result<()> {
        let id = payload.build_id().ok_or(io::ErrorKind::InvalidInput)?;
        create(&self.directory)?;
        let directory = self.directory.join(PAYLOADS);
        create(&directory)?;
        write(&directory, &format!("{id}{SUFFIX}"), 0o600, payload.bytes())
    }

    /// The payloads whose files were kept, in no particular order. A file that can't be read, or that others might have
    /// written, is left out.
    pub(crate) fn payloads(&self) -> Vec<Payload> {
        let payload = |(id, path): (BuildId, PathBuf)| {
            let payload = Payload::parse(&bytes(&path)?).ok()?;
            (payload.build_id() == Some(&id)).then_some(payload)
        };
        self.all().into_iter().filter_map(payload).collect()
    }

    /// Drops the file of a payload that is no longer loaded.
    fn forget(&self, id: &BuildId) {
        let _ = fs::remove_file(self.directory.join(PAYLOADS).join(format!("{id}{SUFFIX}")));
    }

    /// The files of payloads, by the build-ids that they are named after.
    fn all(&self) -> Vec<(BuildId, PathBuf)> {
        let directory = self.directory.join(PAYLOADS);
        if !fs::symlink_metadata(&directory).is_ok_and(|about| about.is_dir() && is_ours(&about)) {
            return Vec::new();
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let file = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
            Some((id, entry.path()))
        };
        entries.filter_map(file).collect()
    }
}

/// The host's own is root's alone, and empty after a boot.
fn directory(simulated: Option<&Path>) -> PathBuf {
    simulated.map_or_else(|| lock::DIRECTORY.into(), Path::to_path_buf)
}

/// Nobody else may decide on what a payload is checked for, or on which payload is which.
fn is_ours(about: &fs::Metadata) -> bool {
    [0, nix::unistd::geteuid().as_raw()].contains(&about.uid()) && about.mode() & 0o022 == 0
}

/// The contents of a file that nobody else can have written.
fn bytes(path: &Path) -> Option<Vec<u8>> {
    // Neither through a link nor out of a pipe.
    let file = OpenOptions::new().read(true).custom_flags(libc_flags()).open(path).ok()?;
    let about = file.metadata().ok()?;
    let mut bytes = Vec::new();
    let fits = about.is_file() && is_ours(&about) && about.len() <= MOST_BYTES;
    fits.then(|| file.take(MOST_BYTES).read_to_end(&mut bytes).ok())??;
    Some(bytes)
}

fn libc_flags() -> i32 {
    use nix::fcntl::OFlag;
    (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&bytes(path)?).ok()
}

fn target(value: &Value) -> Option<Target> {
    let number = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
    let build_id = value.get("build_id")?.as_str()?.parse().ok()?;
    let target = Target::new((number("major")?, number("minor")?)).build_id(build_id);
    let least = number("least_point")?;
    Some(match number("most_point") {
        Some(most) => target.points(least..=most),
        None => target.points(least..),
    })
}

fn identities(value: &Value, boot: &str) -> Option<KnownIdentities> {
    let lines: Option<Vec<&str>> = value.get("identities")?.as_array()?.iter().map(Value::as_str).collect();
    (value.get("boot")?.as_str()? == boot).then(|| lines?.join("\n").parse().ok())?
}

fn create(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    Ok(())
}

/// Whole or not at all, and never through somebody's link.
fn write(directory: &Path, name: &str, permissions: u32, contents: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = directory.join(format!(".{name}.{}.{count}", std::process::id()));
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(permissions).open(&new)?;
    let written = file.write_all(contents).and_then(|()| fs::rename(&new, directory.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use xen_livepatch::sim::{Call, FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{Action, Flags, PayloadName, Release};

    use super::*;

    fn payload(xen: &SimulatedXen, id: &str) -> Payload {
        let builder = PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", id));
        Payload::parse(&builder.build()).unwrap()
    }

    fn name(text: &str) -> PayloadName {
        PayloadName::new(text).unwrap()
    }

    /// The work of one call of the tool.
    fn call<T>(xen: &SimulatedXen, memory: &Memory, work: impl FnOnce(&LivepatchClient) -> T) -> T {
        let client = memory.recall(LivepatchClient::builder()).connect(xen.clone()).unwrap();
        let done = work(&client);
        memory.keep(&client);
        done
    }

    #[test]
    fn a_call_on_a_host_on_which_nothing_moved_presses_no_key() {
        let xen = SimulatedXen::new(Release::V4_17);
        for id in ["a", "b"] {
            xen.other_upload(id, payload(&xen, id).bytes()).unwrap();
        }
        let place = tempfile::tempdir().unwrap();
        let inventory = |memory: &Memory| call(&xen, memory, |client| client.inventory().unwrap());
        let first = inventory(&Memory::new(Some(place.path())));
        for _ in 0..3 {
            assert_eq!(inventory(&Memory::new(Some(place.path()))), first);
        }
        assert_eq!(xen.calls().of(Call::DebugKeys), 1);
        xen.other_action("a", Action::Unload, Flags::empty()).unwrap();
        inventory(&Memory::new(Some(place.path())));
        inventory(&Memory::new(Some(place.path())));
        assert_eq!(xen.calls().of(Call::DebugKeys), 2);
        // Another boot, and a file that somebody else may have written.
        let file = place.path().join(IDENTITIES);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("simulated", "another boot")).unwrap();
        assert!(Memory::new(Some(place.path())).identities.is_none());
        fs::write(&file, &text).unwrap();
        assert!(Memory::new(Some(place.path())).identities.is_some());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(Memory::new(Some(place.path())).identities.is_none());
        fs::remove_file(&file).unwrap();
        fs::write(place.path().join("elsewhere"), &text).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(Memory::new(Some(place.path())).identities.is_none(), "a link");
        fs::remove_file(&file).unwrap();
        fs::write(&file, text.replace("payload", "payloads")).unwrap();
        assert!(Memory::new(Some(place.path())).identities.is_none());
    }

    #[test]
    fn files_are_kept_while_their_payloads_are_loaded() {
        let xen = SimulatedXen::new(Release::V4_17);
        let place = tempfile::tempdir().unwrap();
        let memory = || Memory::new(Some(place.path()));
        let ids = || {
            let mut ids: Vec<_> =
                memory().files.payloads().iter().filter_map(|payload| payload.build_id().cloned()).collect();
            ids.sort();
            ids
        };
        let (a, b) = (payload(&xen, "a"), payload(&xen, "b"));
        for (id, payload) in [("a", &a), ("b", &b)] {
            let memory = memory();
            call(&xen, &memory, |client| {
                client.upload(&name(id), payload.bytes()).unwrap();
                memory.files.keep(payload).unwrap();
            });
        }
        let mut both: Vec<_> = [&a, &b].into_iter().filter_map(|payload| payload.build_id().cloned()).collect();
        both.sort();
        assert_eq!(ids(), both);
        let file = place.path().join(PAYLOADS).join(format!("{}{SUFFIX}", a.build_id().unwrap()));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        // A damaged one, and one under another's name, are none.
        fs::write(file.with_file_name(format!("00{SUFFIX}")), b"no ELF").unwrap();
        fs::copy(&file, file.with_file_name(format!("01{SUFFIX}"))).unwrap();
        assert_eq!(ids(), both);
        call(&xen, &memory(), |client| client.unload(&name("a"), Flags::empty()).unwrap());
        assert_eq!(ids(), [b.build_id().unwrap().clone()]);
        assert_eq!(fs::read_dir(place.path().join(PAYLOADS)).unwrap().count(), 1);
        // While something is not identified, nothing is dropped.
        xen.other_upload("a", a.bytes()).unwrap();
        xen.on_debug_keys().always().fail(xen_livepatch::Errno::EPERM);
        call(&xen, &memory(), |client| client.inventory().map(drop).unwrap());
        assert_eq!(ids(), [b.build_id().unwrap().clone()]);
        memory().clear();
        assert_eq!((ids().len(), memory().identities), (0, None));
    }
}
