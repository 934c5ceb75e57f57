//! Xen's loader, release by release: what it refuses of a payload, what it does not notice, and what hurts it.
//!
//! A pure function over the file, the rules of the release, and what is known of the host. What it meets it reports, in
//! Xen's order: the check before an upload collects everything, the simulated Xen stops where the real one would, and
//! otherwise goes on with what was linked. So there is one place for each rule, and comparing the simulated Xen with a
//! real one tests the check as well.
//!
//! Written from reading `common/livepatch.c`, `common/livepatch_elf.c` and the `livepatch.c` and `alternative.c` of x86 and
//! Arm, in every release from 4.7 to 4.22.

mod alternatives;
mod bounds;
mod details;
mod finding;
mod functions;
mod header;
mod hooks;
mod kind;
mod layout;
mod limits;
mod memory;
mod notes;
mod own;
mod problem;
mod relocation_types;
mod relocations;
mod report;
mod sections;
mod symbols;
mod tables;
mod traps;
mod writes;

use std::borrow::Cow;

use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{self, Elf, LE, Section};
use crate::xen::format::{MAX_SIZE, SectionName};
use crate::xen::release::Release;
use crate::xen::rules::{self, Rule};
use crate::xen::symbol_name::SymbolName;
use crate::xen::target::Target;
pub use details::{
    FunctionProblem, NoteProblem, PointerProblem, RelocationProblem, RelocationSectionProblem, SymbolProblem,
    SymbolTableProblem, TableProblem,
};
pub(crate) use finding::Listed;
pub use finding::{Finding, Severity};
#[cfg(feature = "sim")]
pub(crate) use functions::ENDBR64;
pub(crate) use functions::LoadedFunction;
pub(crate) use hooks::LoadedHooks;
pub(crate) use kind::ProblemKinds;
pub use kind::{ProblemKind, UnknownProblemKind};
#[cfg(feature = "sim")]
pub(crate) use limits::{image as image_of, payloads as payloads_of};
use memory::Memory;
pub use problem::Problem;
pub(crate) use report::{Sink, Stopped};

/// Something about the host that may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known<T> {
    Is(T),
    /// It is known that it does not exist.
    Absent,
    Unknown,
}

/// What a payload is loaded into, as far as it is known.
pub(crate) trait Host {
    /// The address of a symbol of Xen or of a loaded payload.
    fn symbol(&self, name: &[u8]) -> Known<u64>;

    /// Xen's own build-id.
    fn build_id(&self) -> Known<&[u8]>;

    /// Whether a payload with this build-id is loaded.
    fn is_loaded(&self, build_id: &[u8]) -> bool;

    /// Where there is room for a payload of this many bytes.
    ///
    /// # Errors
    /// Why there is none.
    fn room(&self, len: u64) -> Result<u64, NoRoom>;

    /// Whether the addresses of payloads and symbols are those of a running Xen.
    fn knows_addresses(&self) -> bool;

    /// Bytes of Xen's code; `None` where they are not known.
    fn code(&self, address: u64, len: u64) -> Option<&[u8]>;
}

/// Why there is no room for a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Xen does not have that much.
    OutOfMemory,
    /// It is more than is looked at.
    TooMuchToCheck,
}

/// A payload that Xen would take.
#[derive(Debug)]
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "the check before an upload wants to know what is wrong"))]
pub(crate) struct Loaded<'d> {
    pub(crate) memory: Memory<'d>,
    pub(crate) safe_to_reapply: bool,
    pub(crate) build_id: Cow<'d, [u8]>,
    pub(crate) depends: Cow<'d, [u8]>,
    pub(crate) functions: Vec<LoadedFunction<'d>>,
    pub(crate) hooks: LoadedHooks,
    /// The raw `.modinfo`.
    pub(crate) metadata: Cow<'d, [u8]>,
    /// What later payloads may refer to.
    pub(crate) new_symbols: Vec<(&'d [u8], u64)>,
}

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Checked<'d> {
    /// Everything that is wrong with the payload, in the order in which Xen would come upon it.
    pub(crate) findings: Vec<Finding>,
    /// The payload as the oldest of the releases in question would load it, as far as it can be linked.
    pub(crate) loaded: Option<Loaded<'d>>,
}

/// Checks a payload for a Xen of which only bounds on the release may be known.
pub(crate) fn check<'d>(elf: &Elf<'d>, target: &Target) -> Checked<'d> {
    bounds::check(elf, target)
}

/// The point releases that can take a payload: those for which nothing is wrong with it.
pub(crate) fn fit_for(elf: &Elf<'_>) -> Vec<Release> {
    bounds::fit_for(elf)
}

/// The payload as a release would load it, as far as it can be linked.
pub(crate) fn linked<'d>(elf: &Elf<'d>, release: Release) -> Option<Loaded<'d>> {
    load_offline(elf, release, &Target::from(release), &mut report::Ignored)
}

/// Checks a payload for one release.
fn check_for<'d>(elf: &Elf<'d>, release: Release, target: &Target) -> Checked<'d> {
    let mut all = report::Collected::default();
    let loaded = load_offline(elf, release, target, &mut all);
    Checked { findings: all.into_findings(), loaded }
}

/// Returns true if nothing is wrong with a payload for one release.
fn is_fit_for(elf: &Elf<'_>, release: Release) -> bool {
    let mut any = report::Any::default();
    // The sink knows whether it was stopped.
    drop(load_offline(elf, release, &Target::from(release), &mut any));
    !any.0
}

fn load_offline<'d>(elf: &Elf<'d>, release: Release, target: &Target, sink: &mut dyn Sink) -> Option<Loaded<'d>> {
    let known = target.known_architecture();
    let base = limits::payloads(release, known.unwrap_or_else(|| architecture_of(elf))).start;
    let host = report::Offline { build_id: target.known_build_id(), base };
    load_elf(elf, release, known, &host, sink).ok().flatten()
}

/// Loads the bytes of a payload into a Xen of this release, and reports what Xen would make of it.
///
/// `None` where there is so much wrong with it that there is nothing to load.
///
/// # Errors
/// When the sink has enough.
#[cfg(feature = "sim")]
pub(crate) fn load<R>(
    file: &[u8],
    release: Release,
    architecture: Architecture,
    host: &dyn Host,
    sink: &mut dyn Sink,
    with: impl FnOnce(Loaded<'_>) -> R,
) -> Result<Option<R>, Stopped> {
    match header_for(file, Some(architecture)) {
        Ok(header) => {
            let outline = elf::Outline::of(file, header);
            Ok(load_elf(&Elf::new(file, &outline), release, Some(architecture), host, sink)?.map(with))
        }
        Err(reason) => {
            let errno = if header::is_elf(file) { Errno::EOPNOTSUPP } else { Errno::EINVAL };
            sink.take(Finding::refused(errno, Problem::NotElf { reason }))?;
            Ok(None)
        }
    }
}

/// The same for a file whose header can be read.
fn load_elf<'d>(
    elf: &Elf<'d>,
    release: Release,
    architecture: Option<Architecture>,
    host: &dyn Host,
    sink: &mut dyn Sink,
) -> Result<Option<Loaded<'d>>, Stopped> {
    let found = architecture_of(elf);
    let known = architecture.or((release.series() < (4, 8)).then_some(Architecture::X86_64));
    let mut loading = Loading { elf, release, architecture: known.unwrap_or(found), host, sink, unlinkable: false };
    if elf.data.len() > MAX_SIZE {
        let without_debug = elf.size_without_debug();
        loading.refuse(Errno::EINVAL, Problem::TooLarge { size: to_u64(elf.data.len()), without_debug })?;
        // What Xen would take once stripped is checked; the rest could take long.
        if !without_debug.is_some_and(elf::fits) {
            return Ok(None);
        }
    }
    header::check(&mut loading, known, found)?;
    sections::check(&mut loading)?;
    // Without the names there is nothing of which to say that it is missing.
    if elf.has_section_names() { loading.link() } else { Ok(None) }
}

/// The header of a file that a Xen on this architecture can read.
///
/// # Errors
/// The reason why it can't.
pub(crate) fn header_for(file: &[u8], architecture: Option<Architecture>) -> Result<elf::Header, &'static str> {
    // On Arm Xen does not look at the byte order that a file claims to have.
    let arm = architecture == Some(Architecture::AArch64);
    if arm { elf::header_in_any_order(file) } else { elf::header(file) }
}

/// The architecture that a file names.
fn architecture_of(elf: &Elf<'_>) -> Architecture {
    Architecture::from_raw(elf.header.e_machine.get(LE).0)
}

/// The build-id in the first note of a section.
pub(crate) fn note(section: &[u8]) -> Option<&[u8]> {
    notes::parse(section).ok()
}

/// One payload on its way into Xen.
struct Loading<'a, 'd> {
    elf: &'a Elf<'d>,
    /// The release that loads it.
    release: Release,
    /// The architecture of this Xen; where that is not known, the payload's.
    architecture: Architecture,
    host: &'a dyn Host,
    sink: &'a mut dyn Sink,
    /// Xen has refused something without which the payload can't be linked, so that there is no knowing what its
    /// pointers would be.
    unlinkable: bool,
}

type Step<T = ()> = Result<T, Stopped>;

impl<'d> Loading<'_, 'd> {
    /// From the sections to a payload.
    fn link(mut self) -> Step<Option<Loaded<'d>>> {
        sections::check_names(&mut self)?;
        symbols::check_names(&mut self)?;
        notes::check_xen_first(&mut self)?;
        let Some(placed) = layout::place(&mut self)? else { return Ok(None) };
        let (mut memory, safe_to_reapply) = placed;
        let values = symbols::resolve(&mut self, &memory)?;
        if !self.unlinkable {
            relocations::relocate(&mut self, &mut memory, &values)?;
        }
        sections::check_required(&mut self)?;
        let linkable = !self.unlinkable;
        let functions = if linkable { functions::read(&mut self, &memory, &values)? } else { Vec::new() };
        let hooks = hooks::read(&mut self, &memory)?;
        let ids = notes::read(&mut self, &memory)?;
        if linkable {
            tables::check_bug_frames(&mut self, &memory)?;
            alternatives::check(&mut self, &memory)?;
            tables::check(&mut self, &memory)?;
            traps::check(&mut self, &memory)?;
        }
        let metadata = tables::metadata(&mut self, &memory)?;
        notes::check_xen_last(&mut self, &ids)?;
        let replacing = functions.iter().map(|function| function.new_address).collect();
        let new_symbols = symbols::check_new(&mut self, &values, replacing)?;
        let (build_id, depends) = (ids.own, ids.depends);
        Ok(Some(Loaded { memory, safe_to_reapply, build_id, depends, functions, hooks, metadata, new_symbols }))
    }

    fn has(&self, rule: &Rule) -> bool {
        rule.holds_in(self.release)
    }

    fn is_x86(&self) -> bool {
        self.architecture == Architecture::X86_64
    }

    /// Xen refuses the upload.
    fn refuse(&mut self, errno: Errno, problem: Problem) -> Step {
        self.unlinkable |= problem.keeps_from_linking();
        self.sink.take(Finding::refused(errno, problem))
    }

    /// Xen takes the upload, and refuses to apply the payload.
    fn refuse_to_apply(&mut self, errno: Errno, problem: Problem) -> Step {
        self.sink.take(Finding { at_upload: false, ..Finding::refused(errno, problem) })
    }

    /// Xen does not notice, and is not damaged.
    fn unnoticed(&mut self, problem: Problem) -> Step {
        self.sink.take(Finding::new(Severity::Unnoticed, None, problem))
    }

    /// Xen is damaged, or crashes.
    fn harm(&mut self, problem: Problem) -> Step {
        self.sink.take(Finding::new(Severity::Harmful, None, problem))
    }

    /// Xen may be damaged or crash: the file does not show whether it comes to that.
    fn may_harm(&mut self, problem: Problem) -> Step {
        self.sink.take(Finding::new(Severity::PossiblyHarmful, None, problem))
    }

    /// Xen refuses where it looks, and is damaged where it may not.
    fn refuse_or_harm(&mut self, looks: bool, errno: Errno, problem: Problem) -> Step {
        if looks { self.refuse(errno, problem) } else { self.harm(problem) }
    }

    /// Whether Xen gives a section no memory: it is not allocatable, or in some releases empty.
    fn ignores(&self, section: &Section) -> bool {
        let empty_ignored = || self.has(&rules::EMPTY_SECTIONS_IGNORED) && !self.has(&rules::EMPTY_SECTIONS_PLACED);
        !section.is_allocated() || (section.size == 0 && empty_ignored())
    }

    /// The bytes of a section that Xen reads where it was loaded, and their address. Reports it if it was not.
    fn loaded<'m>(&mut self, name: SectionName, memory: &Memory<'m>) -> Step<Option<(u64, Cow<'m, [u8]>)>> {
        let Some(section) = self.elf.section(name) else { return Ok(None) };
        let Some(address) = memory.address_of(section.index) else {
            // An empty one has an address in some releases only, and nobody reads from it.
            if section.size > 0 && !section.is_allocated() {
                self.harm(Problem::NotAllocated { section: name.text() })?;
            }
            return Ok(None);
        };
        Ok(memory.at(address, section.size).map(|bytes| (address, bytes)))
    }

    /// A section of the payload, and how much of it there is from an address on; `None` if the address is not in it.
    fn rest_of(&self, memory: &Memory<'_>, section: usize, address: u64) -> Option<(&'d Section, u64)> {
        let offset = address.checked_sub(memory.address_of(section)?)?;
        let section = self.elf.sections.get(section)?;
        section.size.checked_sub(offset).filter(|rest| *rest > 0).map(|rest| (section, rest))
    }

    /// The name of a section in a finding.
    #[cold]
    fn name_of(&self, section: &Section) -> SymbolName {
        let name = self.elf.name(section).filter(|name| !name.is_empty());
        SymbolName::new(name.unwrap_or(b"(a section without a name)"))
    }
}

fn id(bytes: &[u8]) -> BuildId {
    BuildId::new(bytes)
}
