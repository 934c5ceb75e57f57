//! Knowledge of the host that calls of the tool pass on until the next boot.
//!
//! * Bounds on the point release of the running Xen, since a live patch may change the version text.
//! * The identities of loaded payloads, so that no debug key has to be pressed as long as nothing is uploaded or unloaded.
//!   They are valid for one boot of one Xen; the client also compares the version of Xen's list.
//! * The files of loaded payloads, with which a plan can put back payloads that it has to revert.
//! * The outcome of the last `ensure`, for metrics.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xen_livepatch::{BuildId, ClientBuilder, KnownIdentities, LivepatchClient, Payload, Target};

use crate::failure::Failure;
use crate::files::{self, RUN_DIRECTORY};
use crate::guard;
use crate::output::Done;

const TARGET: &str = "xen.json";

const IDENTITIES: &str = "identities.json";

const LAST_ENSURE: &str = "ensure.json";

const PAYLOADS: &str = "payloads";

const SUFFIX: &str = ".livepatch";

/// More than any of the files has.
const MOST_BYTES: u64 = 16 << 20;

/// The bounds on the point release of a Xen, as kept in a file.
#[derive(PartialEq, Serialize, Deserialize)]
struct KeptTarget {
    build_id: String,
    major: u16,
    minor: u16,
    least_point: u16,
    most_point: Option<u16>,
}

/// The identities of payloads, as kept in a file.
#[derive(Serialize, Deserialize)]
struct KeptIdentities {
    boot: String,
    /// The lines of [`KnownIdentities`] as text.
    identities: Vec<String>,
}

/// The knowledge of a host. Best effort: if it can't be read or written, the tool works without it.
pub(crate) struct Memory {
    directory: PathBuf,
    files: KeptFiles,
    boot: Option<String>,
    target: Option<KeptTarget>,
    identities: Option<KnownIdentities>,
}

impl Memory {
    /// The knowledge of this machine, or of a simulated Xen.
    pub(crate) fn new(simulated: Option<&Path>) -> Self {
        let directory = directory(simulated);
        // A simulated Xen never boots again.
        let boot = if simulated.is_some() { Some("simulated".to_owned()) } else { guard::boot_id().ok() };
        let target = read(&directory.join(TARGET));
        let kept: Option<KeptIdentities> = read(&directory.join(IDENTITIES));
        let identities = kept.filter(|kept| Some(&kept.boot) == boot.as_ref());
        let identities = identities.and_then(|kept| kept.identities.join("\n").parse().ok());
        Self { files: KeptFiles::of(simulated), directory, boot, target, identities }
    }

    /// Adds the knowledge to a builder.
    pub(crate) fn recall(&self, builder: ClientBuilder) -> ClientBuilder {
        let builder = match self.target.as_ref().and_then(KeptTarget::target) {
            Some(target) => builder.known_target(target),
            None => builder,
        };
        match &self.identities {
            Some(identities) => builder.known_identities(identities.clone()),
            None => builder,
        }
    }

    /// Keeps the knowledge of a client, and drops the files of payloads that are no longer loaded.
    pub(crate) fn keep(&self, client: &LivepatchClient) {
        // After an error the next call finds it out again.
        let _ = self.keep_target(client);
        let _ = self.keep_identities(client);
        if !self.files.all().is_empty() {
            let _ = self.prune(client);
        }
    }

    /// Drops all knowledge.
    pub(crate) fn clear(&self) {
        for (id, _) in self.files.all() {
            self.files.forget(&id);
        }
        for file in [TARGET, IDENTITIES, LAST_ENSURE] {
            let _ = fs::remove_file(self.directory.join(file));
        }
    }

    fn keep_target(&self, client: &LivepatchClient) -> io::Result<()> {
        let known = client.known_target().and_then(|target| KeptTarget::new(&target));
        match known {
            Some(known) if self.target.as_ref() != Some(&known) => self.write(TARGET, &known),
            _ => Ok(()),
        }
    }

    fn keep_identities(&self, client: &LivepatchClient) -> io::Result<()> {
        let (Some(boot), Some(known)) = (&self.boot, client.known_identities()) else { return Ok(()) };
        if self.identities.as_ref() == Some(&known) {
            return Ok(());
        }
        let identities = known.to_string().lines().map(str::to_owned).collect();
        self.write(IDENTITIES, &KeptIdentities { boot: boot.clone(), identities })
    }

    /// Drops the files of payloads that are certainly not loaded any more.
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

    fn write(&self, file: &str, value: &impl Serialize) -> io::Result<()> {
        files::create_private(&self.directory)?;
        files::replace(&self.directory.join(file), 0o644, format!("{}\n", serde_json::to_string(value)?).as_bytes())
    }
}

impl KeptTarget {
    /// `None` for a Xen without a build-id, which identifies it.
    fn new(target: &Target) -> Option<Self> {
        let build_id = target.known_build_id()?.to_string();
        let (major, minor) = target.release();
        let (least_point, most_point) = target.known_points();
        Some(Self { build_id, major, minor, least_point, most_point })
    }

    fn target(&self) -> Option<Target> {
        let target = Target::new((self.major, self.minor)).build_id(self.build_id.parse().ok()?);
        Some(match self.most_point {
            Some(most) => target.points(self.least_point..=most),
            None => target.points(self.least_point..),
        })
    }
}

/// The kept files of loaded payloads.
pub(crate) struct KeptFiles {
    /// The directory above theirs.
    directory: PathBuf,
}

impl KeptFiles {
    /// The files of this machine, or of a simulated Xen.
    pub(crate) fn of(simulated: Option<&Path>) -> Self {
        Self { directory: directory(simulated) }
    }

    /// Keeps the file of an uploaded payload.
    ///
    /// # Errors
    /// If it can't be written, and for a payload without a build-id.
    pub(crate) fn keep(&self, payload: &Payload) -> io::Result<()> {
        let id = payload.build_id().ok_or(io::ErrorKind::InvalidInput)?;
        files::create_private(&self.directory)?;
        let directory = self.directory.join(PAYLOADS);
        files::create_private(&directory)?;
        files::replace(&directory.join(format!("{id}{SUFFIX}")), 0o600, payload.bytes())
    }

    /// The payloads whose files were kept, in no particular order. Unreadable files, and files that other users may have
    /// written, are skipped.
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
        if !fs::symlink_metadata(&directory).is_ok_and(|about| about.is_dir() && files::exposure(&about).is_none()) {
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

/// The outcome of the last `ensure` of this boot that was no dry run.
#[derive(Serialize, Deserialize)]
pub(crate) struct LastEnsure {
    /// The seconds since 1970.
    pub(crate) time: u64,
    /// The exit status.
    pub(crate) status: u8,
    /// The kind of its error, or `none`.
    pub(crate) kind: String,
}

impl LastEnsure {
    /// An outcome of now.
    pub(crate) fn new(outcome: &Result<Done, Failure>) -> Self {
        let (status, failure) = match outcome {
            Ok(done) => (done.status, done.flaw.as_ref()),
            Err(failure) => (failure.status, Some(failure)),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kind = failure.map_or("none", Failure::kind).to_owned();
        Self { time: now.as_secs(), status: status.number(), kind }
    }

    pub(crate) fn read(simulated: Option<&Path>) -> Option<Self> {
        read(&directory(simulated).join(LAST_ENSURE))
    }

    pub(crate) fn keep(&self, simulated: Option<&Path>) -> io::Result<()> {
        let directory = directory(simulated);
        if simulated.is_none() {
            files::create_private(&directory)?;
        }
        files::replace(&directory.join(LAST_ENSURE), 0o644, serde_json::to_string(self)?.as_bytes())
    }
}

fn directory(simulated: Option<&Path>) -> PathBuf {
    simulated.map_or_else(|| RUN_DIRECTORY.into(), Path::to_path_buf)
}

/// The contents of a file that no other user can have written: another user must not decide which payload is which, or
/// which Xen payloads are checked for.
fn bytes(path: &Path) -> Option<Vec<u8>> {
    let (bytes, about) = files::read(path, MOST_BYTES).ok()?;
    files::exposure(&about).is_none().then_some(bytes)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&bytes(path)?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{Flags, PayloadName, Release};

    use super::*;

    fn payload(xen: &SimulatedXen, id: &str) -> Payload {
        let builder = PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", id));
        Payload::parse(&builder.build()).unwrap()
    }

    fn name(text: &str) -> PayloadName {
        PayloadName::new(text).unwrap()
    }

    /// Does the work of one call of the tool.
    fn call<T>(xen: &SimulatedXen, memory: &Memory, work: impl FnOnce(&LivepatchClient) -> T) -> T {
        let client = memory.recall(LivepatchClient::builder()).connect(xen.clone()).unwrap();
        let done = work(&client);
        memory.keep(&client);
        done
    }

    #[test]
    fn identities_are_known_to_the_next_call_unless_their_file_is_not_to_be_trusted() {
        let xen = SimulatedXen::new(Release::V4_17);
        xen.other_upload("a", payload(&xen, "a").bytes()).unwrap();
        let place = tempfile::tempdir().unwrap();
        call(&xen, &Memory::new(Some(place.path())), |client| client.inventory().map(drop).unwrap());
        // Another boot, damage, a file that another user may have written, and a link.
        let file = place.path().join(IDENTITIES);
        let text = fs::read_to_string(&file).unwrap();
        let is_known = || Memory::new(Some(place.path())).identities.is_some();
        for (from, to, known) in
            [("simulated", "another boot", false), ("simulated", "simulated", true), ("payload", "payloads", false)]
        {
            fs::write(&file, text.replace(from, to)).unwrap();
            assert_eq!(is_known(), known, "{to}");
        }
        fs::write(&file, &text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(!is_known(), "others may write to it");
        fs::remove_file(&file).unwrap();
        fs::write(place.path().join("elsewhere"), &text).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(!is_known(), "a link");
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
        // A damaged file, and one with another's name, are skipped.
        fs::write(file.with_file_name(format!("00{SUFFIX}")), b"no ELF").unwrap();
        fs::copy(&file, file.with_file_name(format!("01{SUFFIX}"))).unwrap();
        assert_eq!(ids(), both);
        call(&xen, &memory(), |client| client.unload(&name("a"), Flags::empty()).unwrap());
        assert_eq!(ids(), [b.build_id().unwrap().clone()]);
        assert_eq!(fs::read_dir(place.path().join(PAYLOADS)).unwrap().count(), 1);
        // While a payload is not identified, nothing is dropped.
        xen.other_upload("a", a.bytes()).unwrap();
        xen.on_debug_keys().always().fail(xen_livepatch::Errno::EPERM);
        call(&xen, &memory(), |client| client.inventory().map(drop).unwrap());
        assert_eq!(ids(), [b.build_id().unwrap().clone()]);
        memory().clear();
        assert_eq!((ids().len(), memory().identities), (0, None));
    }
}
