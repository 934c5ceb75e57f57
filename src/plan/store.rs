//! The payload files of a directory.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

mod chain;
mod file_name;
mod membership;
mod problem;
mod scan;

pub use problem::{Ambiguity, StoreFault, StoreProblem};

use membership::Membership;

use crate::error::{Error, Result};
use crate::loader::Finding;
use crate::payload::Payload;
use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;
use crate::xen::target::Target;

/// The payload files of a directory and its sub-directories.
///
/// Files count if their names end in `.livepatch`; others are ignored, and so is everything whose name begins with a dot. A
/// directory may be flat, or have one sub-directory for each build of Xen, as `/usr/lib/xen-livepatch/BUILD-ID/*.livepatch`.
/// The names of directories have no meaning. Links to files are followed; out of the directory only by
/// [`read_following_links`](Self::read_following_links). Links to directories are never followed. Several files with the
/// same contents are one.
///
/// A symbolic link `livepatch.livepatch` chooses the payload to use on the Xen that the payload is for. Without one, all
/// payloads for a Xen have to make one chain, each depending on the one before. The link chooses among the payloads in its
/// own directory, below it, and beside the chosen one. If one directory has payloads for two builds of Xen, a link for only
/// one of the builds is a problem for the other: give each build a directory.
///
/// # Membership
/// For a given Xen, a file is for this Xen, for another one, or damaged. It is for the Xen whose build-id it names
/// ([`Payload::xen_depends`]). If it names none (payloads for Xen 4.13 and older need not), it is for the Xen that it
/// depends on, directly or by way of others. It is damaged if it could not be read to its end, changed meanwhile, lacks a
/// build-id, contradicts itself, fails the check, or was not [verified](Self::verified_by). A file for this Xen is checked for
/// this Xen; any other has to pass for at least one release. Damaged files are [problems](crate::Wanted::problems), in
/// whichever directory they are. Findings that are only [possible](crate::Severity) for this Xen are left to the plan, where
/// they can be accepted.
///
/// ```
/// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
/// use xen_livepatch::{BuildId, PayloadStore, Target};
///
/// let directory = std::env::temp_dir().join(format!("payload-store-{}", std::process::id()));
/// std::fs::create_dir_all(&directory)?;
/// let xen = BuildId::new([0xab; 20]);
/// let named = |name| PayloadBuilder::named(name, &xen).function(FunctionPatch::returning("xen_extra_version", "-1"));
/// let (first, second) = (named("first"), named("second"));
/// std::fs::write(directory.join("b.livepatch"), first.build())?;
/// std::fs::write(directory.join("a.livepatch"), second.depends_on(first.build_id()).build())?;
///
/// let store = PayloadStore::read(&directory)?;
/// let target = Target::new((4, 20)).build_id(xen);
/// let wanted = store.wanted_for(&target)?;
/// assert!(wanted.problems().is_empty());
/// let names: Vec<_> = wanted.names().map(|name| name.to_string()).collect();
/// assert_eq!(names, ["b", "a"]);
///
/// // Half a file is neither absent nor for another Xen.
/// std::fs::write(directory.join("a.livepatch"), b"\x7fELF")?;
/// let wanted = PayloadStore::read(&directory)?.wanted_for(&target)?;
/// assert_eq!((wanted.names().count(), wanted.problems().len()), (1, 1));
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PayloadStore {
    payloads: Vec<StoredPayload>,
    problems: Vec<StoreProblem>,
    #[cfg_attr(feature = "serde", serde(skip))]
    links: Vec<Link>,
}

/// A payload of a [`PayloadStore`], or of a single file.
#[derive(Clone, Debug)]
pub struct StoredPayload {
    path: PathBuf,
    name: PayloadName,
    payload: Arc<Payload>,
    /// Other files with the same contents.
    copies: Vec<(PathBuf, PayloadName)>,
    /// The files of these that links `livepatch.livepatch` lead to.
    chosen: Vec<PathBuf>,
    /// The finding if no release accepts it, once it was looked for.
    damage: OnceLock<Option<Finding>>,
}

/// The files of a store for a certain Xen.
pub(super) struct Selection<'s> {
    /// The payloads to have applied, from the bottom up, as far as they are whole and unambiguous.
    pub(super) stack: Vec<&'s StoredPayload>,
    /// All payloads for this Xen.
    pub(super) here: Vec<&'s StoredPayload>,
    pub(super) problems: Vec<StoreProblem>,
}

/// A link `livepatch.livepatch`.
#[derive(Clone, Debug)]
struct Link {
    path: PathBuf,
    /// The index of the payload that it leads to, where that could be read.
    target: Option<usize>,
}

/// The links of payload files that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Inside,
    Anywhere,
}

impl PayloadStore {
    /// The largest number of directory entries that are read. A directory that would exceed it is left out and reported,
    /// since the order of its entries is arbitrary.
    pub const MAX_ENTRIES: usize = 10_000;

    /// The depth to which sub-directories are read. Deeper ones are reported.
    pub const MAX_DEPTH: usize = 4;

    /// The most bytes of payloads that are kept in memory: 256 MiB. Further files are reported. A single file may have
    /// [`Payload::MAX_SIZE`].
    pub const MAX_BYTES: usize = 256 << 20;

    /// Reads the payloads of a directory and its sub-directories.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) when the directory itself can't be read. Everything else that can't be
    /// read is in [`problems`](Self::problems).
    pub fn read(directory: impl AsRef<Path>) -> Result<Self> {
        scan::read(directory.as_ref(), Links::Inside)
    }

    /// Reads the payloads of a directory as [`read`](Self::read) does, and follows links of payload files out of it, too.
    ///
    /// For directories of links, as package managers such as Nix make them. Anyone who can write to one of the directories
    /// on the way can choose the payloads.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_following_links(directory: impl AsRef<Path>) -> Result<Self> {
        scan::read(directory.as_ref(), Links::Anywhere)
    }

    /// Keeps only the payloads that `verify` accepts, by a signature for example. It sees the bytes that would be uploaded,
    /// and the paths of all files with them. The others are damaged files: [`problems`](Self::problems) of every Xen, with the
    /// returned reason ([`StoreFault::Untrusted`]), and nothing in them matters otherwise.
    #[must_use]
    pub fn verified_by(mut self, mut verify: impl FnMut(&StoredPayload) -> core::result::Result<(), String>) -> Self {
        let (mut verified, mut places) = (Vec::new(), Vec::new());
        for stored in self.payloads {
            let verdict = verify(&stored);
            places.push(verdict.is_ok().then_some(verified.len()));
            match verdict {
                Ok(()) => verified.push(stored),
                Err(reason) => self.problems.push(StoreProblem::new(stored.path, StoreFault::Untrusted { reason })),
            }
        }
        for link in &mut self.links {
            link.target = link.target.and_then(|target| *places.get(target)?);
        }
        self.problems.sort_by(|one, other| by_bytes(one.path(), other.path()));
        Self { payloads: verified, ..self }
    }

    /// All payloads that could be read, sorted by the bytes of their paths; some of them may be damaged.
    #[must_use]
    pub fn payloads(&self) -> &[StoredPayload] {
        &self.payloads
    }

    /// The files and directories that could not be read, or were not [verified](Self::verified_by), sorted by the bytes of
    /// their paths.
    ///
    /// [`Wanted::problems`](crate::Wanted::problems) has these, and those that depend on the Xen.
    #[must_use]
    pub fn problems(&self) -> &[StoreProblem] {
        &self.problems
    }

    /// The payloads that can be used on a Xen, sorted by the bytes of their paths; none if its build-id is not known.
    ///
    /// If this is empty, [`for_another`](Self::for_another) shows whether there are payloads at all.
    #[must_use]
    pub fn for_target(&self, target: &Target) -> Vec<&StoredPayload> {
        self.all(self.membership(target).here)
    }

    /// The payloads that are whole, but for another Xen than this one, sorted by the bytes of their paths; none if its
    /// build-id is not known.
    ///
    /// They are ignored on this Xen. Report them: an administrator may have meant one of them for it.
    #[must_use]
    pub fn for_another(&self, target: &Target) -> Vec<&StoredPayload> {
        self.all(self.membership(target).another)
    }

    /// Selects the files that matter to a Xen with this build-id.
    pub(super) fn select(&self, target: &Target, xen: &BuildId) -> Selection<'_> {
        let mut membership = Membership::of(&self.payloads, target, xen);
        let (stack, doubts) = chain::stack(&self.payloads, &self.links, xen, &membership);
        let mut problems = self.problems.clone();
        problems.append(&mut membership.problems);
        for doubt in doubts {
            // A link that leads nowhere was reported when it was followed.
            let known = |problem: &StoreProblem| problem.paths() == doubt.paths();
            if !matches!(doubt, Ambiguity::BrokenLink(_)) || !problems.iter().any(known) {
                problems.push(StoreProblem::ambiguous(doubt));
            }
        }
        problems.sort_by(|one, other| by_bytes(one.path(), other.path()));
        Selection { stack: self.all(stack), here: self.all(membership.here), problems }
    }

    /// The membership of all payloads; of none where the build-id of this Xen is not known.
    fn membership(&self, target: &Target) -> Membership {
        let membership = |xen| Membership::of(&self.payloads, target, xen);
        target.known_build_id().map_or_else(Membership::default, membership)
    }

    fn all(&self, indices: impl IntoIterator<Item = usize>) -> Vec<&StoredPayload> {
        let stored = |index| self.payloads.get(index).expect("members are places in this store");
        indices.into_iter().map(stored).collect()
    }
}

impl StoredPayload {
    /// Reads a single file, which need not be in a directory of payloads.
    ///
    /// For a link `livepatch.livepatch`, path and name are those of the file that it leads to.
    ///
    /// # Errors
    /// Those of [`Payload::read`]; [`ErrorKind::InvalidName`](crate::ErrorKind::InvalidName) when the file's name makes no
    /// name of a payload. Each contains the path.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = file_name::chosen_by(path.as_ref());
        let payload = Payload::read(&path)?;
        let name = file_name::name_of(&path).map_err(|error| Error::from(error).in_file(&path))?;
        Ok(Self::new(path, name, payload))
    }

    /// The path of the file: the directory as it was given, and the path from there, without links.
    ///
    /// Of several files with the same contents, the one that a link `livepatch.livepatch` leads to, or else the first.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, and those of other files with the same contents.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        core::iter::once(&*self.path).chain(self.copies.iter().map(|(path, _)| &**path))
    }

    /// The name to load it under: the file's own, without its suffix.
    ///
    /// A file that XAPI, the toolstack of XenServer and XCP-ng, would load has the name that XAPI gives it, so that XAPI
    /// finds the payload again: `lp_4.17.4-1.xs8-4.17.4-6.xs8` for `lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch`.
    #[must_use]
    pub fn name(&self) -> &PayloadName {
        &self.name
    }

    /// The contents of the file, shared with every [`Wanted`](crate::Wanted) and plan that has them.
    #[must_use]
    pub fn payload(&self) -> &Arc<Payload> {
        &self.payload
    }

    /// Returns true if a link `livepatch.livepatch` leads to it.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        !self.chosen.is_empty()
    }

    /// The finding if no release accepts it.
    fn damage(&self) -> Option<&Finding> {
        self.damage.get_or_init(|| membership::damage(&self.payload)).as_ref()
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    StoredPayload as |stored| {
        path: problem::shown(stored.path()),
        name: stored.name(),
        chosen: stored.is_chosen(),
        payload: **stored.payload(),
    }
}

/// The order of everything here.
fn by_bytes(one: &Path, other: &Path) -> core::cmp::Ordering {
    one.as_os_str().as_bytes().cmp(other.as_os_str().as_bytes())
}
