//! The payload files of a folder.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

mod ambiguity;
mod problem;
mod reading;
#[cfg(feature = "serde")]
mod serialize;
mod stack;

pub use ambiguity::Ambiguity;
pub use problem::StoreProblem;

use crate::build_id::BuildId;
use crate::error::{Error, Result};
use crate::name::PayloadName;
use crate::payload::Payload;

/// The payload files of a folder and its sub-folders.
///
/// Files count whose names end in `.livepatch`; others are ignored, and so is what begins with a dot. A folder may be flat, or have one sub-folder for each
/// build of Xen, as `/usr/lib/xen-livepatch/BUILD-ID/*.livepatch`. A symbolic link `livepatch.livepatch` chooses the payload
/// to use on the Xen that this one is for. Links are followed only to files inside the folder, and never to folders; a file
/// that is reached more than once counts once, under its own name and not that of a link.
///
/// What can't be read is in [`problems`](Self::problems): a stack may be shorter than it was meant to be if a payload of it
/// is missing there. Folders that hold too much are no error either, but reported there.
///
/// ```
/// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
/// use xen_livepatch::{BuildId, PayloadStore};
///
/// let folder = std::env::temp_dir().join(format!("payload-store-{}", std::process::id()));
/// std::fs::create_dir_all(&folder)?;
/// let xen = BuildId::new([0xab; 20]);
/// let first = PayloadBuilder::named("first", &xen).function(FunctionPatch::returning("xen_extra_version", "-1"));
/// let second = PayloadBuilder::named("second", &xen).depends_on(first.build_id());
/// std::fs::write(folder.join("b.livepatch"), first.build())?;
/// std::fs::write(folder.join("a.livepatch"), second.build())?;
///
/// let store = PayloadStore::read(&folder)?;
/// assert!(store.problems().is_empty());
/// let stack = store.stack_for(&xen)?;
/// let names: Vec<_> = stack.iter().map(|stored| stored.name().to_string()).collect();
/// assert_eq!(names, ["b", "a"]);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PayloadStore {
    payloads: Vec<StoredPayload>,
    problems: Vec<(PathBuf, Error)>,
    links: Vec<Link>,
}

/// A payload of a [`PayloadStore`].
#[derive(Clone, Debug)]
pub struct StoredPayload {
    path: PathBuf,
    name: PayloadName,
    payload: Payload,
    chosen: bool,
}

/// A link `livepatch.livepatch`.
#[derive(Clone, Debug)]
struct Link {
    path: PathBuf,
    /// The index of the payload that it leads to, where that could be read.
    target: Option<usize>,
}

impl PayloadStore {
    /// The most directory entries that are looked at. A folder that exceeds what is left of them is left out and reported:
    /// which of its entries come first is chance.
    pub const MAX_ENTRIES: usize = 10_000;

    /// How many folders deep sub-folders are read. Deeper ones are reported.
    pub const MAX_DEPTH: usize = 4;

    /// The most bytes of payloads that are kept in memory: 256 MiB. Files beyond are reported. One file may have
    /// [`Payload::MAX_SIZE`].
    pub const MAX_BYTES: usize = 256 << 20;

    /// Reads the payloads of a folder and its sub-folders.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::ErrorKind::File) when the folder itself can't be read. Everything else that can't be read
    /// is in [`problems`](Self::problems).
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        reading::read(folder.as_ref())
    }

    /// All that could be read, sorted by the bytes of their paths.
    #[must_use]
    pub fn payloads(&self) -> &[StoredPayload] {
        &self.payloads
    }

    /// What could not be read and why, sorted by the bytes of the paths.
    #[must_use]
    pub fn problems(&self) -> &[(PathBuf, Error)] {
        &self.problems
    }

    /// Those that are for the Xen with this build-id, sorted by the bytes of their paths: those that say so
    /// ([`Payload::xen_depends`]), and of those that do not say which Xen they are for, as payloads for Xen 4.13 and older
    /// need not, those that go on this Xen or on another that is for it. One that doesn't say, and goes on what isn't here,
    /// is for no Xen.
    #[must_use]
    pub fn for_xen(&self, xen: &BuildId) -> Vec<&StoredPayload> {
        stack::members(&self.payloads, xen).into_iter().filter_map(|index| self.payloads.get(index)).collect()
    }

    /// What to have applied on the Xen with this build-id, from the bottom up: what a link `livepatch.livepatch` chooses,
    /// with what that goes on; where there is no such link, all that are for this Xen, if they make one chain.
    ///
    /// What could not be read is missing from it: **look at [`problems`](Self::problems) first**, lest a host be brought down to
    /// what is left.
    ///
    /// It is empty if none is for this Xen; if [`payloads`](Self::payloads) is empty too, there are none at all.
    ///
    /// # Errors
    /// [`Ambiguity`] where it would take a guess.
    pub fn stack_for(&self, xen: &BuildId) -> core::result::Result<Vec<&StoredPayload>, Ambiguity> {
        let stack = stack::stack(&self.payloads, &self.links, xen)?;
        Ok(stack.into_iter().filter_map(|index| self.payloads.get(index)).collect())
    }
}

impl StoredPayload {
    /// The file: the folder as it was given, and the way from there, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name to load it under: the file's own, less its suffix.
    #[must_use]
    pub fn name(&self) -> &PayloadName {
        &self.name
    }

    /// What the file contains.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Whether a link `livepatch.livepatch` leads to it.
    #[must_use]
    pub const fn is_chosen(&self) -> bool {
        self.chosen
    }
}

/// The order of everything here.
fn by_bytes(one: &Path, other: &Path) -> core::cmp::Ordering {
    one.as_os_str().as_bytes().cmp(other.as_os_str().as_bytes())
}
