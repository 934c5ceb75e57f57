//! The problems that a payload can have.

use crate::architecture::Architecture;
use crate::build_id::BuildId;
use crate::format::PayloadVersion;
use crate::symbol_name::SymbolName;

/// Something that is wrong with a payload.
///
/// `Display` says what it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than Xen takes.
    #[error(
        "it has {size} bytes, Xen takes 2097152 (2 MiB): leave out debug information and what the patch does not change"
    )]
    TooLarge {
        /// Its size in bytes.
        size: u64,
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
    #[error("it needs symbol {symbol}, which neither Xen nor a loaded payload has: load what defines it first")]
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
    #[error(".livepatch.funcs is not writable, but this Xen writes to it: set its SHF_WRITE flag (\"w\" in assembly)")]
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
    /// Its entries have a wrong size.
    #[error("its symbol table has entries of a wrong size")]
    EntrySize,
    /// Its strings are not there, or don't begin and end with a NUL.
    #[error("its symbol table has no usable string table")]
    NoStrings,
    /// Its strings are said to be in section 0, to which Xen has no pointer.
    #[error("its symbol table has section 0 for a string table")]
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
    /// It is in a section that does not exist.
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
    /// The build-id is empty.
    #[error("has an empty build-id")]
    Empty,
    /// The build-id goes on behind the end of the section, which Xen does not notice.
    #[error("has a build-id that goes on behind the end of the section")]
    PastEnd,
    /// Relocations change it.
    #[error("is changed by relocations")]
    Relocated,
}

/// Where a pointer to code must not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PointerProblem {
    /// Nowhere.
    #[error("is a NULL pointer, which Xen calls: point it at a function")]
    Null,
    /// It is a number in the file, not a symbol.
    #[error("is the bare address {0:#x}: it has to be relocated against a symbol")]
    Number(u64),
    /// To something that is not code of the payload.
    #[error(
        "does not point at code of the payload: its section has to be allocatable and executable (\"ax\" in assembly)"
    )]
    NotCode,
    /// To somewhere far from the symbol that it is relocated against.
    #[error("points far away from its symbol: the file is damaged, get it again")]
    Far,
    /// Several relocations make it up.
    #[error("is made up by several relocations: link it again")]
    Mangled,
    /// To where the instruction set allows no code.
    #[error("is not aligned to an instruction: link it again")]
    Unaligned,
}

/// What is wrong with a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionProblem {
    /// It has neither name nor address, and Xen reads a name at NULL.
    #[error("it has neither a name nor an address, and Xen crashes looking for it: give it one")]
    Nameless,
    /// The pointer to its name leads to where the payload has nothing, or to a text without an end.
    #[error("its name is not a text of the payload, and Xen reads wherever that leads: link it again")]
    StrayName,
    /// Neither Xen nor a loaded payload has a function of its name.
    #[error("neither Xen nor a loaded payload has it: check the name, or load what it goes on first")]
    Unknown,
    /// Its address is not one in Xen.
    #[error("its address {found:#x} is not inside Xen: leave it out, so that Xen looks for the name")]
    NotInXen {
        /// The address.
        found: u64,
    },
    /// The pointer to the old code is not usable.
    #[error("its old address {0}")]
    OldAddress(PointerProblem),
    /// It is the payload's own.
    #[error("its old address is in the payload itself: leave it out, so that Xen looks for the name")]
    OwnCode,
    /// The pointer to the new code is not usable.
    #[error("its new address {0}")]
    NewAddress(PointerProblem),
    /// The new code is too far from the old.
    #[error("its new code is too far from the old for a jump: let the linker place it, without fixed addresses")]
    TooFar,
    /// The payload patches the same code twice, and a revert then leaves half of that in place.
    #[error("function {first} patches the same code, and a revert would leave that patch in place: patch it once")]
    Twice {
        /// The other function, counted from 0.
        first: usize,
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
    /// The new code is said to go on behind the payload's, and this Xen reaches for all of it.
    #[error("its new size {found} is more than the payload has there: it is the size of the new function")]
    NewSize {
        /// What is there.
        found: u32,
    },
    /// More is to be overwritten with no-operations than Xen can keep.
    #[error("{found} bytes are to become no-operations, Xen takes 31: replace the function instead")]
    NopTooLong {
        /// What is there.
        found: u32,
    },
    /// Less is to be overwritten than the instruction takes that Xen leaves in place.
    #[error(
        "{found} bytes are to become no-operations, fewer than the 4 of the endbr64 with which the function may begin: take \
         more, or expect other code there"
    )]
    NopTooShort {
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
    #[error("{found} bytes are to become no-operations, which is not a multiple of 4, the size of an instruction")]
    NopPartial {
        /// How many are to be overwritten.
        found: u32,
    },
    /// The file claims that it is applied.
    #[error("it is marked as applied in the file, where Xen keeps that: leave bytes 33 to 71 of the entry zero")]
    MarkedAsApplied,
    /// Relocations change its sizes, its version or what Xen keeps there.
    #[error("relocations change more of it than its pointers: link it again")]
    Relocated,
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
        found: u32,
        /// How many there are.
        old_size: u32,
    },
}

/// What is wrong with a table that Xen reads besides: alternatives, exceptions, bug frames, indirect calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// It is not a whole number of entries.
    #[error("its {size} bytes are not a multiple of {entry_size}: build it with the tools of this release")]
    Size {
        /// Its size.
        size: u64,
        /// The size of an entry.
        entry_size: u64,
    },
    /// It is empty, which this Xen refuses.
    #[error("it is empty, which this Xen refuses: leave it out")]
    Empty,
    /// The architecture has no such table.
    #[error("Xen does not take it on this architecture: leave it out")]
    Unsupported,
    /// The payload has no code, or no replacements.
    #[error("the payload has no code, or no .altinstr_replacement: build it with the tools of this release")]
    NothingToReplace,
    /// It is about code outside the payload's.
    #[error("it is about code outside the payload: link it again")]
    OriginalOutside,
    /// The replacement is not in the payload.
    #[error("its replacement is outside .altinstr_replacement: link it again")]
    ReplacementOutside,
    /// The replacement is longer than what it replaces.
    #[error("its replacement has {found} bytes, what it replaces {room}: pad the original")]
    ReplacementTooLong {
        /// How long it is.
        found: u32,
        /// How much room there is.
        room: u32,
    },
    /// The original is longer than Xen can replace.
    #[error("it replaces {found} bytes, Xen takes 254 at the most")]
    OriginalTooLong {
        /// How long it is.
        found: u32,
    },
    /// The processor feature does not exist.
    #[error("it names processor feature {found}, which this Xen does not know: build it for this Xen")]
    NoSuchFeature {
        /// The feature.
        found: u32,
    },
    /// It is not an indirect call through a pointer relative to the instruction.
    #[error("it is not about an indirect call (ff 15)")]
    NotACall,
    /// The pointer of an indirect call is nowhere that Xen could read.
    #[error("the pointer of its indirect call is outside the payload: link it again")]
    CallPointer,
    /// Relocations leave open what is in it.
    #[error("relocations leave open where it points: link it again")]
    Relocated,
}

/// What is wrong with relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationProblem {
    /// They are against symbol 0.
    #[error("is against symbol 0: build it again, what it needs was discarded")]
    NullSymbol,
    /// They are against a symbol that does not exist.
    #[error("is against a symbol that does not exist: the file is damaged, get it again")]
    NoSuchSymbol,
    /// They are against a symbol in a section that is not loaded.
    #[error("is against a symbol in a section that is not loaded: make that section allocatable")]
    SymbolNotLoaded,
    /// They are for a place outside the section.
    #[error("is for a place outside its section: the file is damaged, get it again")]
    Outside,
    /// Xen does not know their type.
    #[error("has type {found}, which Xen does not know: compile with the options of Xen's own build")]
    Type {
        /// The type.
        found: u32,
    },
    /// What they refer to is too far away.
    #[error("refers to something more than 2 GiB away: link it again, without fixed addresses")]
    Overflow,
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
    #[error("has entries of {found} bytes: link it again")]
    EntrySize {
        /// The size of an entry.
        found: u64,
    },
    /// It is for section 0, to which Xen has no pointer.
    #[error("is for section 0: link it again, as a relocatable file (ld -r)")]
    NullSection,
    /// It has relocations without addends, which Xen does not do.
    #[error("has relocations without addends (SHT_REL), which Xen does not do: build it with SHT_RELA")]
    WithoutAddends,
    /// It is itself loaded and relocated.
    #[error("is itself changed by relocations: link it again")]
    Relocated,
}

impl Problem {
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

    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Symbols { problem, count, .. }, Self::Symbols { problem: same, .. }) if problem == same => {
                *count = count.saturating_add(1);
                true
            }
            (
                Self::Relocations { section, problem, count, .. },
                Self::Relocations { section: same_section, problem: same, .. },
            ) if problem == same && section == same_section => {
                *count = count.saturating_add(1);
                true
            }
            _ => false,
        }
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
