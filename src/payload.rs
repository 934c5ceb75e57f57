//! Payload files, read and checked without Xen.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, fstat};

mod display;
mod footprint;
mod funcs;
mod hooks;
#[cfg(feature = "serde")]
mod report;

pub use crate::loader::{
    Finding, FunctionProblem, NoteProblem, PointerProblem, Problem, ProblemKind, RelocationProblem,
    RelocationSectionProblem, Severity, SymbolProblem, SymbolTableProblem, TableProblem, UnknownProblemKind,
};
pub use crate::xen::format::{HookKind, PayloadVersion};
pub use crate::xen::{Architecture, SymbolName, Target};
pub(crate) use footprint::Footprint;
pub use funcs::{Address, Expectation, Function};
pub use hooks::Hook;
#[cfg(feature = "serde")]
pub use report::{FindingReport, FunctionReport, PayloadReport};

use crate::error::{Error, ErrorKind, Result};
use crate::loader::{self, Checked, NewSymbol, ProblemKinds};
use crate::types::{BuildId, Identity, Metadata, to_u64};
use crate::xen::elf::{self, Elf, LE, Outline, UNNAMED};
use crate::xen::format::{MAX_SIZE, SectionName};
use crate::xen::{Release, rules};

/// Xen's reaction to a second apply of a reverted payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reapply {
    /// Xen applies it.
    Allowed,
    /// Xen refuses it, since its data may have changed: unload it and upload it again.
    NeedsReupload,
    /// Xen applies it although its data may have changed, since Xen 4.7 does not check that. Unload it and upload it again
    /// instead.
    Unguarded,
}

impl Reapply {
    /// The reaction to a payload with these writable sections.
    fn of<'n>(writable: impl Iterator<Item = &'n [u8]>, release: Release) -> Self {
        let looks = rules::REAPPLY_GUARDED.holds_in(release);
        let allowed = rules::allows_reapply(writable, !looks || rules::READ_ONLY_REAPPLIES.holds_in(release));
        match (allowed, looks) {
            (true, _) => Self::Allowed,
            (false, true) => Self::NeedsReupload,
            (false, false) => Self::Unguarded,
        }
    }
}

/// A payload file, read without Xen: its contents, and the check for a Xen.
///
/// Damaged and hostile files are read as far as possible; [`check_against`](Self::check_against) finds their faults. The payload
/// keeps its [`bytes`](Self::bytes): upload those instead of the file, so that Xen gets the checked ones.
///
/// ```no_run
/// use xen_livepatch::{Payload, Target};
///
/// let payload = Payload::read("xsa-500.livepatch")?;
/// println!("{payload}");
/// for finding in payload.check_against(&Target::new((4, 17)).build_id("8a7d1e03".parse()?)) {
///     println!("{}: {finding}", finding.severity);
/// }
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone)]
pub struct Payload {
    bytes: Box<[u8]>,
    outline: Outline,
    build_id: Option<BuildId>,
    depends: Option<BuildId>,
    xen_depends: Option<BuildId>,
    version: Option<PayloadVersion>,
    functions: Vec<Function>,
    hooks: Vec<Hook>,
    metadata: Metadata,
    writable: Vec<SymbolName>,
}

impl Payload {
    /// The largest payload in bytes that any release takes: 2 MiB.
    pub const MAX_SIZE: usize = MAX_SIZE;

    /// The largest file in bytes that [`read`](Self::read) reads: 64 MiB, for files with debug sections, which Xen does not
    /// need.
    pub const MAX_FILE: usize = 64 << 20;

    /// Reads a payload from its bytes, which it copies.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyPayload`] when there are none, [`ErrorKind::InvalidPayload`] when they are not a little-endian 64-bit
    /// ELF file. [`check_against`](Self::check_against) finds all other faults.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::new(bytes.into()).map_err(|reason| {
            let empty = bytes.is_empty();
            Error::new(if empty { ErrorKind::EmptyPayload } else { ErrorKind::InvalidPayload { reason, xen: None } })
        })
    }

    /// Reads a payload from a file of up to [`MAX_FILE`](Self::MAX_FILE) bytes.
    ///
    /// A file of more than [`MAX_SIZE`](Self::MAX_SIZE) is read, but can't be uploaded. If debug sections are the reason,
    /// [`size_without_debug`](Self::size_without_debug) is the size after `strip -S`.
    ///
    /// # Errors
    /// Each contains the path ([`Error::file`]).
    /// [`ErrorKind::File`] when there is no such file, when it is not a regular file (a directory, a pipe) or can't be read,
    /// when it changed while it was read, or when it is not a little-endian 64-bit ELF file; [`ErrorKind::EmptyPayload`],
    /// [`ErrorKind::PayloadTooLarge`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        read_file(path).map_err(|error| error.in_file(path))
    }

    fn new(bytes: Box<[u8]>) -> core::result::Result<Self, &'static str> {
        let outline = Outline::of(&bytes, elf::header(&bytes)?);
        let elf = Elf::new(&bytes, &outline);
        let note = |name| note(&elf, name).map(BuildId::new);
        Ok(Self {
            build_id: note(SectionName::BuildId),
            depends: note(SectionName::Depends),
            xen_depends: note(SectionName::XenDepends),
            version: funcs::version(&elf),
            functions: funcs::functions(&elf),
            hooks: hooks::hooks(&elf),
            metadata: metadata(&elf),
            writable: writable(&elf).map(SymbolName::new).collect(),
            outline,
            bytes,
        })
    }

    fn elf(&self) -> Elf<'_> {
        Elf::new(&self.bytes, &self.outline)
    }

    /// The header and sections of its file.
    pub(crate) const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// Returns true if it was built for this very Xen, by its build-id, and so with that Xen's source at hand.
    pub(crate) fn is_made_for(&self, target: &Target) -> bool {
        is_of(self.xen_depends().map(BuildId::as_bytes), target)
    }

    /// The findings that keep it from this Xen: see [`Finding::keeps_out`].
    pub(crate) fn objections(&self, target: &Target, accepted: ProblemKinds, full: bool) -> Vec<Finding> {
        let made_for_it = self.is_made_for(target);
        let findings = self.check_against(target).into_iter();
        findings.filter(|finding| finding.keeps_out(made_for_it, accepted, full)).collect()
    }

    /// The section of a build-id that Xen needs to identify it, if that is missing or unreadable.
    pub(crate) fn unreadable_build_id(&self) -> Option<&'static str> {
        let section = match () {
            () if self.build_id.is_none() => SectionName::BuildId,
            () if self.depends.is_none() => SectionName::Depends,
            () if self.xen_depends.is_none() => {
                self.elf().section(SectionName::XenDepends).map(|_| SectionName::XenDepends)?
            }
            () => return None,
        };
        Some(section.text())
    }

    /// The bytes that it was read from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// An estimate of the size in bytes after `strip -S`, too large rather than too small; `None` without debug sections.
    #[must_use]
    pub fn size_without_debug(&self) -> Option<u64> {
        self.elf().size_without_debug()
    }

    /// The size, and the size without debug sections, if it is larger than Xen takes.
    pub(crate) fn excess(&self) -> Option<(u64, Option<u64>)> {
        (self.bytes.len() > MAX_SIZE).then(|| (to_u64(self.bytes.len()), self.size_without_debug()))
    }

    /// The payload's own build-id, if it has one.
    #[must_use]
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// The build-id on which it depends, another payload's or Xen's, if it names one.
    #[must_use]
    pub fn depends(&self) -> Option<&BuildId> {
        self.depends.as_ref()
    }

    /// The build-id of the Xen for which it was built, if it names one. Payloads for Xen 4.13 and older need not.
    #[must_use]
    pub fn xen_depends(&self) -> Option<&BuildId> {
        self.xen_depends.as_ref()
    }

    /// The version of its functions; `None` without functions.
    #[must_use]
    pub const fn version(&self) -> Option<PayloadVersion> {
        self.version
    }

    /// The architecture of its code.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        Architecture::from_raw(self.elf().header.e_machine.get(LE).0)
    }

    /// The functions that it replaces.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Its hooks, by kind.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// The metadata in its `.modinfo`.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The sections that are writable and not empty.
    #[must_use]
    pub fn writable_sections(&self) -> &[SymbolName] {
        &self.writable
    }

    /// The reaction of a Xen of this release to a second apply, after a revert.
    ///
    /// # Xen
    /// 4.7 always applies it. Newer releases do so only if `.livepatch.funcs` is the only writable section, from 4.10 on also if
    /// there is none, whether or not the section was written to. `replace` does not check this.
    #[must_use]
    pub fn reapply(&self, release: (u16, u16)) -> Reapply {
        Reapply::of(self.writable.iter().map(SymbolName::as_bytes), Release::of(release.1, 0))
    }

    /// Returns true if none of its hooks makes Xen refuse `replace`. Hooks of an applied payload can make Xen refuse it as
    /// well.
    ///
    /// # Xen
    /// Before 4.14 such hooks do not exist, and Xen ignores them.
    #[must_use]
    pub fn is_replaceable(&self) -> bool {
        !self.hooks.iter().any(|hook| hook.kind.forbids_replace())
    }

    /// The known point releases that can take it: the check finds nothing for these.
    ///
    /// A file that is too large only because of its debug sections counts as if it had none.
    #[must_use]
    pub fn releases(&self) -> Vec<Release> {
        match self.excess() {
            Some((_, without_debug)) if !without_debug.is_some_and(elf::fits) => Vec::new(),
            _ => loader::fit_for(&self.elf()),
        }
    }

    /// Finds the faults of the payload for this Xen, as far as the file shows them, in the order of Xen's own checks.
    ///
    /// A payload without findings can still be refused: Xen may lack a function or a symbol, or have a payload with the same
    /// build-id. [`Finding::severity`] separates the faults that Xen finds itself from those that would crash it, and
    /// certain faults from those in only some of the possible point releases.
    #[must_use]
    pub fn check_against(&self, target: &Target) -> Vec<Finding> {
        loader::check(&self.elf(), target).findings
    }
}

fn read_file(path: &Path) -> Result<Payload> {
    let failed = |error: io::Error| Error::of_io(path, &error);
    // A pipe would make a plain open wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let before = state_of(&file).map_err(failed)?;
    let Some(size) = size_of_regular(&before) else {
        return Err(Error::of_file(path, "it is not a regular file"));
    };
    check_up_to(Payload::MAX_FILE, to_u64(size), || None)?;
    let bytes = read_at_most(&file, Payload::MAX_FILE.saturating_add(1)).map_err(failed)?;
    if bytes.len() != size || has_changed(&before, &state_of(&file).map_err(failed)?) {
        return Err(Error::of_file(path, CHANGED));
    }
    Payload::new(bytes.into()).map_err(|reason| Error::of_file(path, reason))
}

/// The state of an open file. That of its path costs more, for each directory on the way.
pub(crate) fn state_of(file: &File) -> io::Result<FileStat> {
    Ok(fstat(file)?)
}

/// The size in bytes of a regular file; `None` for a pipe or a directory. One that is no `usize` is too large in any case.
pub(crate) fn size_of_regular(state: &FileStat) -> Option<usize> {
    let is_regular = SFlag::from_bits_truncate(state.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    is_regular.then(|| usize::try_from(state.st_size).unwrap_or(usize::MAX))
}

/// Returns true if a file was written, or lost a name, between two states. One that is being written looks damaged, and one that
/// lost its name to another file, or was deleted, is no longer the file. A new name, as of a backup, changes nothing; nor does a
/// move, after which the contents are still those that were asked for.
pub(crate) fn has_changed(before: &FileStat, after: &FileStat) -> bool {
    let contents = |state: &FileStat| (state.st_size, state.st_mtime, state.st_mtime_nsec);
    contents(before) != contents(after) || after.st_nlink < before.st_nlink
}

/// A checked payload, without a copy of its bytes.
pub(crate) struct Inspection<'d> {
    elf: Elf<'d>,
    release: Release,
    /// The faults of the payload for the Xen for which it was checked.
    pub(crate) findings: Vec<Finding>,
    new_symbols: Vec<NewSymbol<'d>>,
    /// True if it was built for the Xen for which it was checked, and so with that Xen's source at hand.
    pub(crate) made_for_it: bool,
}

impl<'d> Inspection<'d> {
    /// Checks a payload for a Xen, if one is given. Its footprint is that in the release.
    pub(crate) fn of(elf: Elf<'d>, target: Option<&Target>, release: Release) -> Self {
        let Checked { findings, new_symbols } = match target {
            Some(target) => loader::check(&elf, target),
            None => Checked { findings: Vec::new(), new_symbols: loader::new_symbols(&elf, release) },
        };
        let made_for_it = target.is_some_and(|target| is_of(note(&elf, SectionName::XenDepends), target));
        Self { elf, release, findings, new_symbols, made_for_it }
    }

    pub(crate) fn identity(&self) -> Identity {
        let note = |name| note(&self.elf, name).map(BuildId::new);
        Identity { build_id: note(SectionName::BuildId), depends: note(SectionName::Depends) }
    }

    pub(crate) fn footprint(&self) -> Footprint {
        Footprint::of(&self.elf, self.release, &self.new_symbols)
    }

    /// Returns true if the file has the names of all its sections.
    pub(crate) fn has_names(&self) -> bool {
        self.elf.has_section_names() && self.elf.names_all_sections()
    }

    /// Returns true if it has a section for hooks of this kind.
    pub(crate) fn has_hooks(&self, kind: HookKind) -> bool {
        self.elf.section(kind.section_name()).is_some()
    }
}

/// Finds the sections of a file for a Xen on this architecture, if it is known.
///
/// # Errors
/// The kind of file that it is instead of an ELF file.
pub(crate) fn outline(bytes: &[u8], architecture: Option<Architecture>) -> core::result::Result<Outline, &'static str> {
    loader::header_for(bytes, architecture).map(|header| Outline::of(bytes, header))
}

/// The metadata in the bytes of a payload; `None` if they are no ELF file.
pub(crate) fn metadata_of(bytes: &[u8]) -> Option<Metadata> {
    let outline = Outline::of(bytes, elf::header_in_any_order(bytes).ok()?);
    Some(metadata(&Elf::new(bytes, &outline)))
}

/// Returns true if a build-id is that of a Xen whose build-id is known.
fn is_of(build_id: Option<&[u8]>, target: &Target) -> bool {
    build_id.is_some() && build_id == target.known_build_id().map(BuildId::as_bytes)
}

fn metadata(elf: &Elf<'_>) -> Metadata {
    Metadata::new(elf.section(SectionName::Modinfo).map_or(&[][..], |section| elf.bytes(section)))
}

/// The build-id in a note.
fn note<'d>(elf: &Elf<'d>, name: SectionName) -> Option<&'d [u8]> {
    loader::build_id_of_note(elf.bytes(elf.section(name)?))
}

/// The names of the sections that are writable and not empty.
fn writable<'d>(elf: &Elf<'d>) -> impl Iterator<Item = &'d [u8]> {
    let elf = *elf;
    let sections = elf.sections.iter().skip(1);
    let writable = sections.filter(|section| section.is_allocated() && section.is_writable() && section.size > 0);
    writable.map(move |section| elf.name(section).unwrap_or(UNNAMED))
}

/// The reason of the failure to read a file that changed meanwhile.
pub(crate) const CHANGED: &str = "it changed while it was read";

/// Refuses a size in bytes that no release takes.
pub(crate) fn check_size(size: usize) -> Result<()> {
    check_up_to(MAX_SIZE, to_u64(size), || None)
}

/// Refuses bytes that are more than any release takes. The error contains the size without debug sections.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<()> {
    check_up_to(MAX_SIZE, to_u64(bytes.len()), || size_without_debug(bytes))
}

/// Refuses a file that is larger than any release takes. It is read for its size without debug sections.
pub(crate) fn check_file(file: &File, size: usize) -> Result<()> {
    // The size is reported also if the file can't be read.
    let read = || if size <= Payload::MAX_FILE { read_at_most(file, size).ok() } else { None };
    check_up_to(MAX_SIZE, to_u64(size), || size_without_debug(&read()?))
}

fn check_up_to(most: usize, size: u64, without_debug: impl FnOnce() -> Option<u64>) -> Result<()> {
    match size {
        0 => Err(Error::new(ErrorKind::EmptyPayload)),
        _ if size <= to_u64(most) => Ok(()),
        _ => Err(Error::new(ErrorKind::PayloadTooLarge { size, without_debug: without_debug() })),
    }
}

fn size_without_debug(bytes: &[u8]) -> Option<u64> {
    let outline = Outline::of(bytes, elf::header(bytes).ok()?);
    Elf::new(bytes, &outline).size_without_debug()
}

fn read_at_most(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(to_u64(most)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl fmt::Debug for Payload {
    /// Formats everything, with the number of bytes in place of the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("size", &self.bytes.len())
            .field("architecture", &self.architecture())
            .field("build_id", &self.build_id)
            .field("depends", &self.depends)
            .field("xen_depends", &self.xen_depends)
            .field("version", &self.version)
            .field("functions", &self.functions)
            .field("hooks", &self.hooks)
            .field("metadata", &self.metadata)
            .field("writable_sections", &self.writable)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_or_replaced_file_is_another() {
        let path = std::env::temp_dir().join(format!("xen-livepatch-changed-{}", std::process::id()));
        fs::write(&path, b"one").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let look = || state_of(&file).unwrap();
        let before = look();
        assert!(!has_changed(&before, &look()));
        // The same size, written again.
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let touched = look();
        assert!(has_changed(&before, &touched));
        let backup = path.with_extension("old");
        fs::hard_link(&path, &backup).unwrap();
        assert!(!has_changed(&touched, &look()), "another name of it");
        fs::remove_file(&backup).unwrap();
        let copy = path.with_extension("new");
        fs::write(&copy, b"two").unwrap();
        fs::rename(&copy, &path).unwrap();
        assert!(has_changed(&touched, &look()), "another file under its name");
        fs::remove_file(&path).unwrap();
    }
}
