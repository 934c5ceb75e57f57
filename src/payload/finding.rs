//! What the check of a payload can find.

use core::fmt;

use super::funcs::PayloadVersion;
use super::name::SymbolName;
use super::target::Architecture;
use crate::build_id::BuildId;

/// What a finding means for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Xen sees it too, and refuses to load or to apply the payload.
    Refused,
    /// Xen takes the payload and does not notice that it is not meant for it.
    Unnoticed,
    /// Xen takes the payload and is damaged by it, or crashes.
    Harmful,
}

/// Something that is wrong with a payload, for a certain Xen.
///
/// `Display` is one line that says what it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The file is larger than Xen takes.
    #[error(
        "it has {size} bytes, Xen takes 2097152 (2 MiB): leave out debug information and what the patch does not change"
    )]
    TooLarge {
        /// Its size in bytes.
        size: u64,
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
        "{section} claims {size} bytes at offset {offset} of a file of {file}: the file is cut off or damaged, get it again"
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
    /// The alignment of a section is no power of two.
    #[error("{section} has alignment {found}, which is no power of two: link it again")]
    Alignment {
        /// The section.
        section: SymbolName,
        /// Its alignment.
        found: u64,
    },
    /// The alignment of a section that is loaded is 0, and Xen then overwrites its own memory.
    #[error("{section} has alignment 0, with which Xen overwrites its own memory: give it alignment 1")]
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
    /// A section that Xen reads is not marked as loaded, and Xen follows a pointer to nowhere.
    #[error(
        "{section} is not allocatable, and Xen crashes when it reads it: set its SHF_ALLOC flag (\"a\" in assembly)"
    )]
    NotAllocated {
        /// The section.
        section: &'static str,
    },
    /// A note holds no build-id.
    #[error("{section} {problem}: it has to begin with one note of owner GNU and type 3, the build-id")]
    Note {
        /// The section.
        section: &'static str,
        /// What is wrong with it.
        problem: NoteProblem,
    },
    /// It was built for another Xen.
    #[error("it was built for the Xen with build-id {expected}, but this one is {found}{}", what_then(*.xen_compares))]
    BuiltForAnotherXen {
        /// The build-id of the Xen that it was built for.
        expected: BuildId,
        /// The build-id of this Xen.
        found: BuildId,
        /// Whether this Xen compares them itself (from 4.14).
        xen_compares: bool,
    },
    /// The functions are not a whole number of entries.
    #[error(
        ".livepatch.funcs has {size} bytes, which is no multiple of {entry_size}: build it with the tools of this release"
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
    /// The metadata are there, and empty.
    #[error(".modinfo is empty, and Xen then reads far outside of it: leave it out, or put a text there")]
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
    /// Sections of relocations share so much of the file that they were not all checked.
    #[error(
        "its relocation sections overlap, so not all of them were checked: no toolchain leaves that, build it again"
    )]
    Overlapping,
}

/// What is wrong with the symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolTableProblem {
    /// There is none.
    #[error("it has no symbol table")]
    Missing,
    /// There are several.
    #[error("it has more than one symbol table")]
    Several,
    /// There is nothing in it.
    #[error("its symbol table is empty")]
    Empty,
    /// Its strings are not there.
    #[error("its symbol table has no string table")]
    NoStrings,
    /// Its strings are said to be in section 0, to which Xen has no pointer.
    #[error("its symbol table has section 0 for a string table, on which Xen crashes")]
    NullStrings,
}

/// What is wrong with symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolProblem {
    /// The name is outside the string table.
    #[error("has its name outside the string table: the file is damaged, get it again")]
    Name,
    /// It is a common symbol.
    #[error("is a common symbol, for which Xen has no place: compile with -fno-common")]
    Common,
    /// It is in a section that ELF reserves for something that Xen does not know.
    #[error("is in a reserved section: Xen takes only absolute symbols there")]
    Reserved,
    /// It is in a section that there is not.
    #[error("is in a section that does not exist: the file is damaged, get it again")]
    NoSuchSection,
}

/// What is wrong with a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NoteProblem {
    /// It ends too early.
    #[error("is shorter than its note claims")]
    TooShort,
    /// It is a note of another type.
    #[error("has a note of type {found}")]
    Type {
        /// The type.
        found: u32,
    },
    /// It is a note of another owner.
    #[error("has a note of another owner")]
    Owner,
}

/// What is wrong with a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionProblem {
    /// It has neither name nor address, and Xen reads a name at NULL.
    #[error("it has neither a name nor an address, and Xen crashes looking for it: give it one")]
    Nameless,
    /// The pointer to its name leads to where the payload has nothing.
    #[error("its name is where the payload has nothing, and Xen reads wherever that leads: link it again")]
    StrayName,
    /// Its address is none in Xen.
    #[error("its address {found:#x} is none in Xen{}: leave it out, so that Xen looks for the name", crashes(*.crashes_xen))]
    NotInXen {
        /// The address.
        found: u64,
        /// Whether this Xen may be one that reads the code there before it knows whether there is any.
        crashes_xen: bool,
    },
    /// The size of the old function is 0.
    #[error("its old size is 0: it is the size of the function in Xen")]
    NoOldSize,
    /// The old function has no room for a jump.
    #[error("its old size {found} leaves no room for a jump, which takes {needed} bytes: patch its callers instead")]
    OldSizeTooSmall {
        /// What is there.
        found: u32,
        /// What the jump takes.
        needed: u32,
    },
    /// There is no new code, and this Xen overwrites nothing with no-operations.
    #[error("it has no new code, which Xen takes from 4.8 on: give it an empty function")]
    NoNewCode,
    /// The size of the new code is 0, which this Xen does not take.
    #[error("its new size is 0, which Xen takes from 4.8 on: it is the size of the new function")]
    NoNewSize,
    /// More is to be overwritten with no-operations than Xen can keep.
    #[error("{found} bytes are to become no-operations, Xen takes 31: replace the function instead")]
    NopTooLong {
        /// What is there.
        found: u32,
    },
    /// More is to be overwritten with no-operations than the function has.
    #[error("{found} bytes are to become no-operations, but its old size is {old_size}")]
    NopPastEnd {
        /// How many are to be overwritten.
        found: u32,
        /// How many there are.
        old_size: u32,
    },
    /// Instructions are to be overwritten in part.
    #[error("{found} bytes are to become no-operations, which is no multiple of 4, the size of an instruction")]
    NopPartial {
        /// How many are to be overwritten.
        found: u32,
    },
    /// Reserved bits of the expectation are set.
    #[error("its expectation has reserved bits set ({found:#x}): Xen refuses to apply it")]
    ExpectationReserved {
        /// The bits.
        found: u8,
    },
    /// More is expected than the function has.
    #[error("it expects {found} bytes, but its old size is {old_size}: Xen refuses to apply it")]
    ExpectationPastEnd {
        /// How many are expected.
        found: usize,
        /// How many there are.
        old_size: u32,
    },
}

/// What is wrong with relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationProblem {
    /// They are against symbol 0.
    #[error("is against symbol 0{}: build it again, what it needs was discarded", crashes(*.crashes_xen))]
    NullSymbol {
        /// Whether this Xen may be one that follows the NULL pointer.
        crashes_xen: bool,
    },
    /// They are against a symbol that there is not.
    #[error("is against a symbol that does not exist{}: the file is damaged, get it again", crashes(*.crashes_xen))]
    NoSuchSymbol {
        /// Whether this Xen may be one that reads past the symbols.
        crashes_xen: bool,
    },
    /// They are against a symbol in a section that is not loaded.
    #[error("is against a symbol in a section that is not loaded: make that section allocatable")]
    SymbolNotLoaded,
    /// They are for a place outside the section.
    #[error("is for a place outside its section: the file is damaged, get it again")]
    Outside,
}

/// What is wrong with a section of relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationSectionProblem {
    /// It belongs to another symbol table.
    #[error("belongs to section {found}, which is not the symbol table: link it again")]
    SymbolTable {
        /// Where it says that its symbols are.
        found: u32,
    },
    /// Its entries have a wrong size.
    #[error("has entries of {found} bytes instead of 24: link it again")]
    EntrySize {
        /// The size of an entry.
        found: u64,
    },
    /// It is for section 0, to which Xen has no pointer.
    #[error("is for section 0, on which Xen crashes: link it again, as a relocatable file (ld -r)")]
    NullSection,
    /// It has relocations without addends, which Xen does not do on x86.
    #[error("has relocations without addends (SHT_REL), which Xen does not do: build it with SHT_RELA")]
    WithoutAddends,
}

impl Finding {
    /// What it means for the host.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        use RelocationProblem::{NoSuchSymbol, NullSymbol};
        match self {
            Self::ZeroAlignment { .. }
            | Self::NotAllocated { .. }
            | Self::EmptyMetadata
            | Self::Overlapping
            | Self::SymbolTable { problem: SymbolTableProblem::NullStrings }
            | Self::RelocationSection { problem: RelocationSectionProblem::NullSection, .. }
            | Self::Function {
                problem:
                    FunctionProblem::Nameless
                    | FunctionProblem::StrayName
                    | FunctionProblem::NotInXen { crashes_xen: true, .. },
                ..
            }
            | Self::Relocations {
                problem: NullSymbol { crashes_xen: true } | NoSuchSymbol { crashes_xen: true },
                ..
            } => Severity::Harmful,
            Self::BuiltForAnotherXen { xen_compares: false, .. } => Severity::Unnoticed,
            _ => Severity::Refused,
        }
    }

    /// Whether Xen would be damaged by it, or crash.
    #[must_use]
    pub const fn hurts_xen(&self) -> bool {
        matches!(self.severity(), Severity::Harmful)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Unnoticed => "unnoticed",
            Self::Harmful => "harmful",
        })
    }
}

fn wanted(expected: Option<Architecture>) -> String {
    expected.map_or_else(
        || "Xen live-patches x86-64 and AArch64 alone".into(),
        |architecture| format!("this Xen takes {architecture}"),
    )
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    }
}

const fn what_then(xen_compares: bool) -> &'static str {
    if xen_compares {
        ": get the payload for this Xen"
    } else {
        ", and this Xen would patch itself with it all the same: get the payload for this Xen"
    }
}

const fn releases_of(version: PayloadVersion) -> &'static str {
    match version {
        PayloadVersion::V1 => "it is for Xen 4.7 to 4.13, build it for this one",
        PayloadVersion::V2 => "it is for Xen 4.14 and newer, build it for this one",
        PayloadVersion::Unknown(_) => "build it for this Xen",
    }
}

const fn crashes(may: bool) -> &'static str {
    if may { ", on which some point releases of this Xen crash" } else { "" }
}
