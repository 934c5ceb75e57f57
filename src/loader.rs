//! Xen's loader, release by release and architecture by architecture: the payloads that it refuses, accepts although they are
//! unsuitable, or is harmed by.
//!
//! The loader is a pure function over the file, the rules of the release, the row of the architecture, and what is known of
//! the host. It reports its findings in Xen's order: the check before an upload collects all of them, the simulated Xen stops
//! where the real one would, and otherwise continues with the linked payload. Each rule is written once, so comparing the
//! simulated Xen with a real one tests the check as well.
//!
//! Written from reading `common/livepatch.c`, `common/livepatch_elf.c` and the `livepatch.c` and `alternative.c` of x86 and
//! Arm, in every release from 4.7 to 4.22.

mod alternatives;
mod bounds;
mod finding;
mod functions;
mod header;
mod hooks;
mod layout;
mod livepatch_functions;
mod machine;
mod memory;
mod metadata;
mod notes;
mod offline;
mod problem;
mod relocations;
mod sections;
mod symbols;
mod tables;
mod traps;
mod writes;

use std::borrow::Cow;

#[cfg(feature = "sim")]
use object::elf::ELFMAG;

use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{self, Elf, LE, Section};
use crate::xen::format::{MAX_SIZE, SectionName};
use crate::xen::release::Release;
use crate::xen::rules::{self, Rule};
use crate::xen::symbol_name::SymbolName;
use crate::xen::target::Target;
pub(crate) use bounds::{check, fit_for};
pub(crate) use finding::Listed;
pub use finding::{Finding, Severity};
#[cfg(feature = "sim")]
pub(crate) use functions::ENDBR64;
pub(crate) use functions::LinkedFunction;
pub(crate) use hooks::LinkedHooks;
use machine::Machine;
#[cfg(feature = "sim")]
pub(crate) use machine::{image_of, payloads_of};
use memory::Memory;
pub(crate) use notes::build_id_of_note;
pub use problem::Problem;
pub use problem::contents::{NoteProblem, TableProblem};
pub use problem::function::{FunctionProblem, PointerProblem};
pub(crate) use problem::kind::ProblemKinds;
pub use problem::kind::{ProblemKind, UnknownProblemKind};
pub use problem::linking::{RelocationProblem, RelocationSectionProblem, SymbolProblem, SymbolTableProblem};
use symbols::SymbolValue;

/// A receiver of findings, in the order in which Xen would come upon them. It fails to stop the run.
pub(crate) type Sink<'s> = dyn FnMut(Finding) -> Progress + 's;

/// The sink wanted no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// The result of a part of the run: the sink may stop it.
pub(crate) type Progress<T = ()> = Result<T, Stopped>;

/// The result of looking something up in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    Found(T),
    /// It is known that it does not exist.
    Absent,
    Unknown,
}

/// The host into which a payload is loaded, as far as it is known.
pub(crate) trait HostView {
    /// The address of a symbol of Xen or of a loaded payload.
    fn symbol(&self, name: &[u8]) -> Lookup<u64>;

    /// Xen's own build-id.
    fn build_id(&self) -> Lookup<&[u8]>;

    /// Returns true if a payload with this build-id is loaded.
    fn is_loaded(&self, build_id: &[u8]) -> bool;

    /// The address of a place for a payload of this many bytes.
    ///
    /// # Errors
    /// When there is none.
    fn room(&self, len: u64) -> Result<u64, NoRoom>;

    /// Returns true if the addresses of payloads and symbols are those of a running Xen.
    fn knows_addresses(&self) -> bool;

    /// Bytes of Xen's code; `None` where they are not known.
    fn code(&self, address: u64, len: u64) -> Option<&[u8]>;
}

/// The reason why there is no place for a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Xen does not have that much.
    OutOfMemory,
    /// It is more than the check examines.
    TooMuchToCheck,
}

/// A payload as Xen links it.
#[derive(Debug)]
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "the check before an upload needs the findings alone"))]
pub(crate) struct LinkedPayload<'d> {
    pub(crate) memory: Memory<'d>,
    pub(crate) safe_to_reapply: bool,
    pub(crate) build_id: Cow<'d, [u8]>,
    pub(crate) depends: Cow<'d, [u8]>,
    pub(crate) functions: Vec<LinkedFunction<'d>>,
    pub(crate) hooks: LinkedHooks,
    /// The raw `.modinfo`.
    pub(crate) metadata: Cow<'d, [u8]>,
    /// The symbols that later payloads may refer to.
    pub(crate) new_symbols: Vec<NewSymbol<'d>>,
}

/// The name and the value of a symbol.
pub(crate) type NewSymbol<'d> = (&'d [u8], u64);

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Checked<'d> {
    /// Everything that is wrong with the payload, in the order in which Xen would come upon it.
    pub(crate) findings: Vec<Finding>,
    /// The symbols that later payloads may refer to, in the oldest of the possible releases; empty if it can't be linked.
    pub(crate) new_symbols: Vec<NewSymbol<'d>>,
}

/// The symbols that later payloads may refer to, in this release; empty if the payload can't be linked.
pub(crate) fn new_symbols<'d>(elf: &Elf<'d>, release: Release) -> Vec<NewSymbol<'d>> {
    let linked = link_offline(elf, release, &Target::from(release), &mut |_| Ok(()));
    linked.map(|linked| linked.new_symbols).unwrap_or_default()
}

/// Checks a payload for one release. Findings that differ only in their entry are one.
fn check_for<'d>(elf: &Elf<'d>, release: Release, target: &Target) -> Checked<'d> {
    // There are fewer kinds of problems with one thing.
    const COMPARED: usize = 16;
    let mut findings: Vec<Finding> = Vec::new();
    let linked = link_offline(elf, release, target, &mut |finding| {
        if !findings.iter_mut().rev().take(COMPARED).any(|known| known.absorb(&finding)) {
            findings.push(finding);
        }
        Ok(())
    });
    Checked { findings, new_symbols: linked.map(|linked| linked.new_symbols).unwrap_or_default() }
}

/// Returns true if nothing is wrong with a payload for one release, once debug sections are removed.
fn is_fit_for(elf: &Elf<'_>, release: Release) -> bool {
    let mut fit = true;
    link_offline(elf, release, &Target::from(release), &mut |finding| {
        fit &= finding.problem.ends_with_debug_sections();
        if fit { Ok(()) } else { Err(Stopped) }
    });
    fit
}

fn link_offline<'d>(
    elf: &Elf<'d>,
    release: Release,
    target: &Target,
    sink: &mut Sink<'_>,
) -> Option<LinkedPayload<'d>> {
    let known = target.known_architecture();
    let base = Machine::of(known.unwrap_or_else(|| architecture_of(elf))).payloads(release).start;
    let host = offline::Offline { build_id: target.known_build_id(), base };
    link_elf(elf, release, known, &host, sink).ok().flatten()
}

/// Links the bytes of a payload as a Xen of this release does when it loads them, and reports its findings.
///
/// `None` for a payload so damaged that there is nothing to link.
///
/// # Errors
/// When the sink wants no more.
#[cfg(feature = "sim")]
pub(crate) fn load<R>(
    file: &[u8],
    release: Release,
    architecture: Architecture,
    host: &dyn HostView,
    sink: &mut Sink<'_>,
    with: impl FnOnce(LinkedPayload<'_>) -> R,
) -> Result<Option<R>, Stopped> {
    match header_for(file, Some(architecture)) {
        Ok(header) => {
            let outline = elf::Outline::of(file, header);
            Ok(link_elf(&Elf::new(file, &outline), release, Some(architecture), host, sink)?.map(with))
        }
        Err(reason) => {
            let of_another_kind = file.len() >= size_of::<elf::Header>() && file.starts_with(&ELFMAG);
            let errno = if of_another_kind { Errno::EOPNOTSUPP } else { Errno::EINVAL };
            sink(Finding::refused(errno, Problem::NotElf { reason })).map(|()| None)
        }
    }
}

/// Links a file whose header can be read.
fn link_elf<'d>(
    elf: &Elf<'d>,
    release: Release,
    architecture: Option<Architecture>,
    host: &dyn HostView,
    sink: &mut Sink<'_>,
) -> Result<Option<LinkedPayload<'d>>, Stopped> {
    let found = architecture_of(elf);
    let known = architecture.or((release.series() < (4, 8)).then_some(Architecture::X86_64));
    let machine = Machine::of(known.unwrap_or(found));
    let (memory, values) = (Memory::default(), Vec::new());
    let mut linker = Linker { elf, release, machine, host, sink, unlinkable: false, memory, values };
    if elf.data.len() > MAX_SIZE {
        let without_debug = elf.size_without_debug();
        linker.refuse(Errno::EINVAL, Problem::TooLarge { size: to_u64(elf.data.len()), without_debug })?;
        // A file that Xen would take once stripped is checked; others could take long.
        if !without_debug.is_some_and(elf::fits) {
            return Ok(None);
        }
    }
    header::check(&mut linker, known, found)?;
    sections::check(&mut linker)?;
    // Without names, every section would be reported as missing.
    if elf.has_section_names() { linker.link() } else { Ok(None) }
}

/// Reads the header of a file for a Xen on this architecture.
///
/// # Errors
/// The kind of file that it is instead.
pub(crate) fn header_for(file: &[u8], architecture: Option<Architecture>) -> Result<elf::Header, &'static str> {
    let in_any_order = architecture.is_some_and(|known| !Machine::of(known).checks_byte_order);
    if in_any_order { elf::header_in_any_order(file) } else { elf::header(file) }
}

/// The architecture that a file names.
fn architecture_of(elf: &Elf<'_>) -> Architecture {
    Architecture::from_raw(elf.header.e_machine.get(LE).0)
}

/// A run of the loader over one payload.
struct Linker<'a, 'd> {
    elf: &'a Elf<'d>,
    release: Release,
    /// The architecture of this Xen; if that is not known, the payload's.
    machine: &'static Machine,
    host: &'a dyn HostView,
    sink: &'a mut Sink<'a>,
    /// True if Xen has refused something without which the payload can't be linked, so that the values of its pointers are
    /// unknown.
    unlinkable: bool,
    memory: Memory<'d>,
    /// The values of the payload's symbols, by number.
    values: Vec<SymbolValue>,
}

impl<'d> Linker<'_, 'd> {
    fn link(mut self) -> Progress<Option<LinkedPayload<'d>>> {
        sections::check_names(&mut self)?;
        symbols::check_names(&mut self)?;
        notes::check_xen_first(&mut self)?;
        let Some(safe_to_reapply) = layout::place(&mut self)? else { return Ok(None) };
        symbols::resolve(&mut self)?;
        if !self.unlinkable {
            relocations::relocate(&mut self)?;
        }
        sections::check_required(&mut self)?;
        let linkable = !self.unlinkable;
        let functions = if linkable { functions::read(&mut self)? } else { Vec::new() };
        let hooks = hooks::read(&mut self)?;
        let ids = notes::read(&mut self)?;
        if linkable {
            tables::check_bug_frames(&mut self)?;
            alternatives::check(&mut self)?;
            tables::check(&mut self)?;
            traps::check(&mut self)?;
        }
        let metadata = metadata::read(&mut self)?;
        notes::check_xen_last(&mut self, &ids)?;
        let replacing = functions.iter().map(|function| function.new_address).collect();
        let new_symbols = symbols::check_new(&mut self, replacing)?;
        let (memory, build_id, depends) = (self.memory, ids.own, ids.depends);
        Ok(Some(LinkedPayload { memory, safe_to_reapply, build_id, depends, functions, hooks, metadata, new_symbols }))
    }

    fn has(&self, rule: &Rule) -> bool {
        rule.holds_in(self.release)
    }

    /// Reports that Xen refuses the upload.
    fn refuse(&mut self, errno: Errno, problem: Problem) -> Progress {
        self.unlinkable |= problem.keeps_from_linking();
        (self.sink)(Finding::refused(errno, problem))
    }

    /// Reports that Xen takes the upload, and refuses to apply the payload.
    fn refuse_to_apply(&mut self, errno: Errno, problem: Problem) -> Progress {
        (self.sink)(Finding { at_upload: false, ..Finding::refused(errno, problem) })
    }

    /// Reports that Xen does not notice, and is not damaged.
    fn unnoticed(&mut self, problem: Problem) -> Progress {
        (self.sink)(Finding::new(Severity::Unnoticed, None, problem))
    }

    /// Reports that Xen is damaged, or crashes.
    fn harm(&mut self, problem: Problem) -> Progress {
        (self.sink)(Finding::new(Severity::Harmful, None, problem))
    }

    /// Reports that Xen may be damaged or crash, which the file alone does not decide.
    fn may_harm(&mut self, problem: Problem) -> Progress {
        (self.sink)(Finding::new(Severity::PossiblyHarmful, None, problem))
    }

    /// Reports that Xen refuses the upload if it checks for the problem, and is damaged otherwise.
    fn refuse_or_harm(&mut self, checked: bool, errno: Errno, problem: Problem) -> Progress {
        if checked { self.refuse(errno, problem) } else { self.harm(problem) }
    }

    /// Returns true if Xen gives a section no memory: it is not allocatable, or in some releases empty.
    fn ignores(&self, section: &Section) -> bool {
        let empty_ignored = || self.has(&rules::EMPTY_SECTIONS_IGNORED) && !self.has(&rules::EMPTY_SECTIONS_PLACED);
        !section.is_allocated() || (section.size == 0 && empty_ignored())
    }

    /// The address and bytes of a section that Xen reads in the payload's memory. Reports one that is not there.
    fn loaded(&mut self, name: SectionName) -> Progress<Option<(u64, Cow<'d, [u8]>)>> {
        let Some(section) = self.elf.section(name) else { return Ok(None) };
        let Some(address) = self.memory.address_of(section.index) else {
            // An empty one has an address in some releases only, and is never read.
            if section.size > 0 && !section.is_allocated() {
                self.harm(Problem::NotAllocated { section: name.text() })?;
            }
            return Ok(None);
        };
        Ok(self.memory.at(address, section.size).map(|bytes| (address, bytes)))
    }

    /// A section of the payload, and the number of its bytes from an address on; `None` if the address is not in it.
    fn rest_of(&self, section: usize, address: u64) -> Option<(&'d Section, u64)> {
        let offset = address.checked_sub(self.memory.address_of(section)?)?;
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
