//! The problems that a payload can have.

pub(super) mod contents;
pub(super) mod function;
pub(super) mod kind;
pub(super) mod linking;

use self::contents::{NoteProblem, TableProblem};
use self::function::{FunctionProblem, PointerProblem};
use self::linking::{RelocationProblem, RelocationSectionProblem, SymbolProblem, SymbolTableProblem};
use crate::types::build_id::BuildId;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{Smaller, fits};
use crate::xen::format::PayloadVersion;
use crate::xen::release::Release;
use crate::xen::rules;
use crate::xen::symbol_name::{SymbolName, is_local_label};

/// A problem of a payload.
///
/// `Display` is the problem and its remedy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than Xen takes.
    #[error("it has {size} bytes, but Xen accepts at most 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The approximate size without debug sections, if it has any.
        without_debug: Option<u64>,
    },
    /// The file is no ELF file that Xen can read.
    #[error("{reason}: obtain a fresh copy of the file")]
    NotElf {
        /// The reason.
        reason: &'static str,
    },
    /// A field of the ELF header does not have the value that Xen requires.
    #[error(
        "the ELF header has {field} {found}, but Xen requires {expected}: build it with ld -r, and do not strip or pack it after that"
    )]
    Header {
        /// The field.
        field: &'static str,
        /// The required value.
        expected: &'static str,
        /// The value in the file.
        found: u64,
    },
    /// The payload is for another architecture.
    #[error("it is for {found}, but {}: build it for the host's architecture", wanted(*.expected))]
    Architecture {
        /// The architecture of this Xen, if it is known.
        expected: Option<Architecture>,
        /// The architecture of the payload.
        found: Architecture,
    },
    /// A section is outside the file.
    #[error(
        "{section} claims {size} bytes at offset {offset} of a file of {file}: the file is truncated or damaged, obtain a fresh copy"
    )]
    SectionOutside {
        /// The section.
        section: SymbolName,
        /// Its offset in the section table.
        offset: u64,
        /// Its size in the section table.
        size: u64,
        /// The size of the file.
        file: u64,
    },
    /// A section is so large that its end wraps around at 64 bits, to one inside the file.
    #[error(
        "{section} claims {size} bytes, more than 64 bits can count from its offset: the file is damaged, obtain a fresh copy"
    )]
    SectionWraps {
        /// The section.
        section: SymbolName,
        /// Its size in the section table.
        size: u64,
    },
    /// The alignment of a section is not a power of two.
    #[error("{section} has alignment {found}, which is not a power of two: relink it")]
    Alignment {
        /// The section.
        section: SymbolName,
        /// Its alignment.
        found: u64,
    },
    /// A section with alignment 0 is placed on top of those before it.
    #[error("{section} has alignment 0, with which it overlaps the sections before it: give it alignment 1")]
    ZeroAlignment {
        /// The section.
        section: SymbolName,
    },
    /// The address of a section does not have its alignment.
    #[error("{section} has address {address:#x}, which is not aligned to {alignment}: relink it, without addresses")]
    Misaligned {
        /// The section.
        section: SymbolName,
        /// Its address.
        address: u64,
        /// Its alignment.
        alignment: u64,
    },
    /// A section of zeros is larger than Xen takes.
    #[error(
        "{section} has {size} bytes of zeros, but Xen accepts at most 2097152 (2 MiB): allocate the memory in a hook instead"
    )]
    ZeroedTooLarge {
        /// The section.
        section: SymbolName,
        /// Its size.
        size: u64,
    },
    /// A section is both writable and executable.
    #[error("{section} is both writable and executable: split it into code and data")]
    WritableCode {
        /// The section.
        section: SymbolName,
    },
    /// The sizes and alignments add up to more than 64 bits can count.
    #[error("{section} is aligned so high, or is so large, that the size of the whole wraps around: relink it")]
    MemoryWraps {
        /// The section at which the sum wraps around.
        section: SymbolName,
    },
    /// The payload needs more memory than Xen has for it.
    #[error("it takes {needed} bytes of memory: relink it, with smaller alignments and fewer zeros")]
    TooMuchMemory {
        /// The number of bytes.
        needed: u64,
    },
    /// A name of a section is outside the table of names.
    #[error(
        "section {index} has its name at {offset}, which is outside the section names: the file is damaged, obtain a fresh copy"
    )]
    SectionName {
        /// The number of the section, from 0.
        index: usize,
        /// The offset of its name.
        offset: u64,
    },
    /// The table of section names is not usable.
    #[error(
        "its table of section names does not begin and end with a NUL byte: the file is damaged, obtain a fresh copy"
    )]
    SectionNames,
    /// The symbol table is not usable.
    #[error("{problem}: build it with ld -r, and do not strip it")]
    SymbolTable {
        /// The problem.
        problem: SymbolTableProblem,
    },
    /// Some symbols are not usable.
    #[error("symbol {first}{} {problem}", and_more(*.count))]
    Symbols {
        /// The problem.
        problem: SymbolProblem,
        /// The number of the first.
        first: usize,
        /// The number of symbols or relocations with the problem.
        count: usize,
    },
    /// Neither Xen nor a loaded payload has a symbol that the payload needs.
    #[error("it needs {}", undefined(symbol))]
    UnknownSymbol {
        /// The symbol.
        symbol: SymbolName,
    },
    /// A new symbol has the name of one that Xen or a loaded payload has.
    #[error("it defines symbol {symbol}, which Xen or a loaded payload has already: rename it, or make it local")]
    DuplicateSymbol {
        /// The symbol.
        symbol: SymbolName,
    },
    /// A section is missing that Xen requires.
    #[error("{section} is missing, which this Xen requires: build the payload with the tools of this release")]
    MissingSection {
        /// The section.
        section: &'static str,
    },
    /// A section that Xen reads is empty.
    #[error("{section} is empty, which this Xen refuses: leave it out or fill it")]
    EmptySection {
        /// The section.
        section: &'static str,
    },
    /// The payload has neither a function nor a hook.
    #[error("it has neither .livepatch.funcs nor hooks: there is nothing to patch")]
    NothingToPatch,
    /// A section that Xen reads is not marked as loaded.
    #[error(
        "{section} is not allocatable, so that Xen reads other memory in its place: set its SHF_ALLOC flag (\"a\" in assembly)"
    )]
    NotAllocated {
        /// The section.
        section: &'static str,
    },
    /// A note does not contain a build-id.
    #[error("{section} {problem}: it has to begin with one note of owner GNU and type 3, the build-id")]
    Note {
        /// The section.
        section: &'static str,
        /// The problem.
        problem: NoteProblem,
    },
    /// The payload was built for another Xen.
    #[error(
        "it was built for the Xen with build-id {expected}, but this one is {found}: obtain the payload for this Xen"
    )]
    BuiltForAnotherXen {
        /// The build-id of the Xen that it was built for.
        expected: BuildId,
        /// The build-id of this Xen.
        found: BuildId,
    },
    /// This Xen was linked without a build-id.
    #[error("this Xen has no build-id to compare with: it has to be linked with one")]
    XenWithoutBuildId,
    /// A payload with the same build-id is loaded.
    #[error("a payload with build-id {build_id} is loaded already: unload that first")]
    AlreadyLoaded {
        /// The build-id of both.
        build_id: BuildId,
    },
    /// The functions are not a whole number of entries.
    #[error(
        ".livepatch.funcs has {size} bytes, which is not a multiple of {entry_size}: build it with the tools of this release"
    )]
    FunctionsSize {
        /// The size of the section.
        size: u64,
        /// The size of an entry.
        entry_size: u64,
    },
    /// Functions do not have the version of this Xen.
    #[error("{function} has payload version {found}, but this Xen takes {expected}: {}", releases_of(*.found))]
    Version {
        /// The first such function, or the section.
        function: SymbolName,
        /// The version of this Xen.
        expected: PayloadVersion,
        /// The version of the function.
        found: PayloadVersion,
    },
    /// Xen keeps its state in `.livepatch.funcs`, which is not writable.
    #[error(".livepatch.funcs is not writable, but Xen writes to it: set its SHF_WRITE flag (\"w\" in assembly)")]
    ReadOnlyFunctions,
    /// A function has a problem.
    #[error("function {index} ({function}): {problem}")]
    Function {
        /// Its number, from 0.
        index: usize,
        /// Its name, or its address.
        function: SymbolName,
        /// The problem.
        problem: FunctionProblem,
    },
    /// A section of hooks has a wrong size.
    #[error("{section} has {size} bytes, it takes {}: one pointer of 8 bytes for each hook", if *.several { "a multiple of 8" } else { "just 8" })]
    HookSize {
        /// The section.
        section: &'static str,
        /// Its size.
        size: u64,
        /// True if there may be several hooks of this kind.
        several: bool,
    },
    /// The pointer to a hook does not lead to code.
    #[error("{section}: hook {index} {problem}")]
    Hook {
        /// The section.
        section: &'static str,
        /// Its number, from 0.
        index: usize,
        /// The problem.
        problem: PointerProblem,
    },
    /// The code of a hook has an entry in a table that Xen reads on a trap, but runs while the code is not registered.
    #[error(
        "{hook}: its code has an entry in {table}, and a trap there is fatal while the payload's code is not registered with Xen"
    )]
    TrapInHook {
        /// The section of the hook.
        hook: &'static str,
        /// The table.
        table: &'static str,
    },
    /// A function of live patching itself is replaced.
    #[error("{function} is part of live patching, which runs during the patch: do not patch it")]
    PatchesLivePatching {
        /// The function.
        function: SymbolName,
    },
    /// A table has a problem.
    #[error("{section}{}: {problem}", entry(*.index))]
    Table {
        /// The section.
        section: &'static str,
        /// The number of the entry, from 0, unless it is a problem of the whole table.
        index: Option<usize>,
        /// The problem.
        problem: TableProblem,
    },
    /// The section of metadata is empty.
    #[error(".modinfo is empty, and Xen then reads far outside it: leave it out, or put a text there")]
    EmptyMetadata,
    /// The metadata do not end with a NUL.
    #[error(".modinfo does not end with a NUL byte: each entry has to")]
    UnterminatedMetadata,
    /// Some relocations can't be applied.
    #[error("{section}: relocation {first}{} {problem}", and_more(*.count))]
    Relocations {
        /// The section of relocations.
        section: SymbolName,
        /// The problem.
        problem: RelocationProblem,
        /// The number of the first.
        first: usize,
        /// The number of symbols or relocations with the problem.
        count: usize,
    },
    /// A section of relocations has a problem.
    #[error("{section} {problem}")]
    RelocationSection {
        /// The section of relocations.
        section: SymbolName,
        /// The problem.
        problem: RelocationSectionProblem,
    },
    /// Parts of the file overlap that Xen writes and reads.
    #[error("{what} overlap in the file: no toolchain produces this; rebuild it")]
    Overlapping {
        /// The parts.
        what: &'static str,
    },
}

impl Problem {
    /// Returns true if removing the debug sections resolves it.
    pub(super) fn ends_with_debug_sections(&self) -> bool {
        matches!(self, Self::TooLarge { without_debug: Some(size), .. } if fits(*size))
    }

    /// Returns true if Xen links no payload that it refuses for this.
    pub(super) fn keeps_from_linking(&self) -> bool {
        matches!(
            self,
            Self::Architecture { .. }
                | Self::SectionOutside { .. }
                | Self::SymbolTable { .. }
                | Self::Symbols { .. }
                | Self::UnknownSymbol { .. }
                | Self::WritableCode { .. }
                | Self::Relocations { .. }
                | Self::RelocationSection { .. }
        )
    }

    /// The problem without its entries.
    pub(super) fn of_one(mut self) -> Self {
        if let Self::Symbols { first, count, .. } | Self::Relocations { first, count, .. } = &mut self {
            (*first, *count) = (0, 1);
        }
        self
    }

    /// Counts another problem if it differs only in its entry.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        let count = match (self, other) {
            (Self::Symbols { problem, count, .. }, Self::Symbols { problem: same, .. }) if problem == same => count,
            (
                Self::Relocations { section, problem, count, .. },
                Self::Relocations { section: same_section, problem: same, .. },
            ) if problem == same && section == same_section => count,
            _ => return false,
        };
        *count = count.saturating_add(1);
        true
    }
}

fn wanted(expected: Option<Architecture>) -> String {
    expected.map_or_else(
        || "Xen supports live patching only on x86-64 and AArch64".into(),
        |architecture| format!("this Xen runs on {architecture}"),
    )
}

fn undefined(symbol: &SymbolName) -> String {
    match symbol.as_bytes() {
        [] => "a symbol without a name, which no Xen has: the file is damaged, obtain a fresh copy".into(),
        name if is_local_label(name) => format!(
            "symbol {symbol}, a compiler's local label, which no Xen has: rebuild it, with the section that this label is in"
        ),
        _ => format!("symbol {symbol}, which neither Xen nor a loaded payload has: load what defines it first"),
    }
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    }
}

fn entry(index: Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!(" entry {index}"))
}

fn releases_of(version: PayloadVersion) -> String {
    let ([oldest, ..], second) = (Release::ALL, rules::PAYLOAD_VERSION_2.first);
    match version {
        PayloadVersion::V1 => format!("it is for Xen 4.{} to 4.{}, build it for this one", oldest.minor(), second - 1),
        PayloadVersion::V2 => format!("it is for Xen 4.{second} and newer, build it for this one"),
        PayloadVersion::Unknown(_) => "build it for this Xen".into(),
    }
}
