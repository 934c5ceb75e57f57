//! The problems that a payload can have.

pub(super) mod contents;
pub(super) mod function;
pub(super) mod kind;
pub(super) mod linking;

use self::contents::{NoteProblem, TableProblem};
use self::function::{FunctionProblem, PointerProblem};
use self::linking::{RelocationProblem, RelocationSectionProblem, SymbolProblem, SymbolTableProblem};
use super::symbols::is_local_label;
use crate::types::build_id::BuildId;
use crate::xen::architecture::Architecture;
use crate::xen::elf::{Smaller, fits};
use crate::xen::format::PayloadVersion;
use crate::xen::symbol_name::SymbolName;

/// Something that is wrong with a payload.
///
/// `Display` says what it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than Xen takes.
    #[error("it has {size} bytes, Xen takes 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// About the size that it would have without debug sections, where it has any.
        without_debug: Option<u64>,
    },
    /// It is not a file that can be read at all.
    #[error("{reason}: get the file again")]
    NotElf {
        /// Why not.
        reason: &'static str,
    },
    /// A field of the ELF header is not as Xen wants it.
    #[error(
        "the ELF header has {field} {found}, Xen wants {expected}: build it with ld -r, and do not strip or pack it after that"
    )]
    Header {
        /// The field.
        field: &'static str,
        /// What Xen wants there.
        expected: &'static str,
        /// What is there.
        found: u64,
    },
    /// It is for another processor.
    #[error("it is for {found}, but {}: build it for the host's architecture", wanted(*.expected))]
    Architecture {
        /// What this Xen runs on, where that is known.
        expected: Option<Architecture>,
        /// What it is for.
        found: Architecture,
    },
    /// A section is outside the file.
    #[error(
        "{section} claims {size} bytes at offset {offset} of a file of {file}: the file is truncated or damaged, get it again"
    )]
    SectionOutside {
        /// The section.
        section: SymbolName,
        /// Where it is said to begin.
        offset: u64,
        /// How long it is said to be.
        size: u64,
        /// The size of the file.
        file: u64,
    },
    /// A section is so large that its end wraps around at 64 bits, which Xen takes for an end inside the file.
    #[error(
        "{section} claims {size} bytes, more than 64 bits can count from its offset: the file is damaged, get it again"
    )]
    SectionWraps {
        /// The section.
        section: SymbolName,
        /// How long it is said to be.
        size: u64,
    },
    /// The alignment of a section is not a power of two.
    #[error("{section} has alignment {found}, which is not a power of two: link it again")]
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
    #[error(
        "{section} has address {address:#x}, which is not aligned to {alignment}: link it again, without addresses"
    )]
    Misaligned {
        /// The section.
        section: SymbolName,
        /// Its address.
        address: u64,
        /// Its alignment.
        alignment: u64,
    },
    /// A section of zeros is larger than Xen takes.
    #[error("{section} has {size} bytes of zeros, Xen takes 2097152 (2 MiB): allocate the memory in a hook instead")]
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
    /// Its sizes and alignments add up to more than 64 bits can count.
    #[error("{section} is aligned so high, or is so large, that the size of the whole wraps around: link it again")]
    MemoryWraps {
        /// The section with which it does.
        section: SymbolName,
    },
    /// It takes more memory than there is room for.
    #[error("it takes {needed} bytes of memory: link it again, with smaller alignments and fewer zeros")]
    TooMuchMemory {
        /// How much it takes.
        needed: u64,
    },
    /// A name of a section is outside the table of names.
    #[error(
        "section {index} has its name at {offset}, which is outside the section names: the file is damaged, get it again"
    )]
    SectionName {
        /// Which section, counted from 0.
        index: usize,
        /// Where its name is said to be.
        offset: u64,
    },
    /// The table of section names is not usable.
    #[error("its table of section names does not begin and end with a NUL byte: the file is damaged, get it again")]
    SectionNames,
    /// The symbol table is not usable.
    #[error("{problem}: build it with ld -r, and do not strip it")]
    SymbolTable {
        /// Why not.
        problem: SymbolTableProblem,
    },
    /// Some symbols are not usable.
    #[error("symbol {first}{} {problem}", and_more(*.count))]
    Symbols {
        /// What is wrong with them.
        problem: SymbolProblem,
        /// The number of the first.
        first: usize,
        /// How many there are.
        count: usize,
    },
    /// A symbol is needed that neither Xen nor a loaded payload has.
    #[error("it needs symbol {symbol}, {}", undefined(symbol))]
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
    /// There is neither a function nor a hook.
    #[error("it has neither .livepatch.funcs nor hooks: there is nothing to patch")]
    NothingToPatch,
    /// A section that Xen reads is not marked as loaded.
    #[error(
        "{section} is not allocatable, so that Xen reads it where it is not: set its SHF_ALLOC flag (\"a\" in assembly)"
    )]
    NotAllocated {
        /// The section.
        section: &'static str,
    },
    /// A note does not hold a build-id.
    #[error("{section} {problem}: it has to begin with one note of owner GNU and type 3, the build-id")]
    Note {
        /// The section.
        section: &'static str,
        /// What is wrong with it.
        problem: NoteProblem,
    },
    /// It was built for another Xen.
    #[error("it was built for the Xen with build-id {expected}, but this one is {found}: get the payload for this Xen")]
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
    /// Functions have another version than this Xen takes.
    #[error("{function} has payload version {found}, this Xen takes {expected}: {}", releases_of(*.found))]
    Version {
        /// The first such function, or the section.
        function: SymbolName,
        /// What this Xen takes.
        expected: PayloadVersion,
        /// What is there.
        found: PayloadVersion,
    },
    /// Xen keeps its state in `.livepatch.funcs`, which is not writable.
    #[error(".livepatch.funcs is not writable, but Xen writes to it: set its SHF_WRITE flag (\"w\" in assembly)")]
    ReadOnlyFunctions,
    /// Something is wrong with a function.
    #[error("function {index} ({function}): {problem}")]
    Function {
        /// Which one, counted from 0.
        index: usize,
        /// Its name, or its address.
        function: SymbolName,
        /// What is wrong with it.
        problem: FunctionProblem,
    },
    /// A section of hooks has a wrong size.
    #[error("{section} has {size} bytes, it takes {}: one pointer of 8 bytes for each hook", if *.several { "a multiple of 8" } else { "just 8" })]
    HookSize {
        /// The section.
        section: &'static str,
        /// Its size.
        size: u64,
        /// Whether there may be several hooks of this kind.
        several: bool,
    },
    /// The pointer to a hook leads to where there is no code.
    #[error("{section}: hook {index} {problem}")]
    Hook {
        /// The section.
        section: &'static str,
        /// Which one, counted from 0.
        index: usize,
        /// Where it leads.
        problem: PointerProblem,
    },
    /// The code of a hook has an entry in a table that Xen reads on a trap, and runs while Xen does not know that code.
    #[error(
        "{hook}: its code has an entry in {table}, and a trap there is fatal: Xen does not know the payload's code yet, or no longer"
    )]
    TrapInHook {
        /// The section of the hook.
        hook: &'static str,
        /// The table.
        table: &'static str,
    },
    /// A function of live patching itself is replaced.
    #[error("{function} is part of live patching itself, which runs while it is patched")]
    PatchesLivePatching {
        /// The function.
        function: SymbolName,
    },
    /// A table that Xen reads is wrong.
    #[error("{section}{}: {problem}", entry(*.index))]
    Table {
        /// The section.
        section: &'static str,
        /// Which entry, counted from 0, where it is one.
        index: Option<usize>,
        /// What is wrong.
        problem: TableProblem,
    },
    /// The metadata are there, and empty.
    #[error(".modinfo is empty, and Xen then reads far outside it: leave it out, or put a text there")]
    EmptyMetadata,
    /// The metadata do not end with a NUL.
    #[error(".modinfo does not end with a NUL byte: each entry has to")]
    UnterminatedMetadata,
    /// Some relocations can't be done.
    #[error("{section}: relocation {first}{} {problem}", and_more(*.count))]
    Relocations {
        /// The section of relocations.
        section: SymbolName,
        /// What is wrong with them.
        problem: RelocationProblem,
        /// The number of the first.
        first: usize,
        /// How many there are.
        count: usize,
    },
    /// A section of relocations is of a kind that Xen does not take.
    #[error("{section} {problem}")]
    RelocationSection {
        /// The section of relocations.
        section: SymbolName,
        /// What is wrong with it.
        problem: RelocationSectionProblem,
    },
    /// Parts of the file overlap that Xen writes to and reads from.
    #[error("{what} overlap in the file: no toolchain leaves that, build it again")]
    Overlapping {
        /// Which.
        what: &'static str,
    },
}

impl Problem {
    /// Returns true if it is no problem any more once the debug sections are removed.
    pub(super) fn ends_with_debug_sections(&self) -> bool {
        matches!(self, Self::TooLarge { without_debug: Some(size), .. } if fits(*size))
    }

    /// Whether Xen has nothing to look for pointers in where it refuses this.
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

    /// The number of entries that it is about, where those are counted.
    fn count(&mut self) -> Option<&mut usize> {
        match self {
            Self::Symbols { count, .. } | Self::Relocations { count, .. } => Some(count),
            _ => None,
        }
    }

    /// The same problem of one entry, whichever that is.
    pub(super) fn of_one(mut self) -> Self {
        if let Self::Symbols { first, count, .. } | Self::Relocations { first, count, .. } = &mut self {
            (*first, *count) = (0, 1);
        }
        self
    }

    /// Counts another one in that differs in nothing but the entry that it is about.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        let same = match (&*self, other) {
            (Self::Symbols { problem, .. }, Self::Symbols { problem: same, .. }) => problem == same,
            (
                Self::Relocations { section, problem, .. },
                Self::Relocations { section: same_section, problem: same, .. },
            ) => problem == same && section == same_section,
            _ => false,
        };
        match self.count().filter(|_| same) {
            Some(count) => {
                *count = count.saturating_add(1);
                true
            }
            None => false,
        }
    }
}

fn wanted(expected: Option<Architecture>) -> String {
    expected.map_or_else(
        || "Xen live-patches x86-64 and AArch64 alone".into(),
        |architecture| format!("this Xen takes {architecture}"),
    )
}

fn undefined(symbol: &SymbolName) -> &'static str {
    if is_local_label(symbol.as_bytes()) {
        "a compiler's local label, which no Xen has: build it again, with the section that this label is in"
    } else {
        "which neither Xen nor a loaded payload has: load what defines it first"
    }
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    }
}

fn entry(index: Option<usize>) -> String {
    index.map(|index| format!(" entry {index}")).unwrap_or_default()
}

const fn releases_of(version: PayloadVersion) -> &'static str {
    match version {
        PayloadVersion::V1 => "it is for Xen 4.7 to 4.13, build it for this one",
        PayloadVersion::V2 => "it is for Xen 4.14 and newer, build it for this one",
        PayloadVersion::Unknown(_) => "build it for this Xen",
    }
}
