//! What can be wrong with the parts of a payload.

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
    /// It begins or runs past the end of its section, where Xen would run or read what is there.
    #[error("runs past the end of its section: the file is damaged, get it again")]
    PastEnd,
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
    /// The build-id runs past the end of the section, which Xen does not notice.
    #[error("has a build-id that runs past the end of the section")]
    PastEnd,
    /// It is a section of zeros, which Xen reads in the file.
    #[error("is a section without bytes in the file")]
    NotInFile,
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
    /// It is another payload's, and this Xen is one on Arm.
    #[error("its old address is in another payload, where a Xen on Arm does not find it: patch what that one patches")]
    OtherPayload,
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
    /// The new code is said to run past the end of its section, where Xen would run what is there.
    #[error("its new size {found} is more than its section has there: it is the size of the new function")]
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
    #[error("it is empty, which Xen refuses: leave it out")]
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
    /// It is about code of the payload, but not of the section that its place is relocated against.
    #[error("it is about other code than its relocation is against: the file is damaged, get it again")]
    OriginalStrays,
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
    #[error("it names processor feature {found}, which Xen does not know: build it for this Xen")]
    NoSuchFeature {
        /// The feature.
        found: u32,
    },
    /// A branch in the replacement leads out of it, and not to Xen's code.
    #[error(
        "a branch in its replacement leads to code of the payload, over which Xen gives up: let it call Xen's code, or stay inside"
    )]
    BranchOutside,
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
    #[error("refers to something farther away than it reaches: link it again, without fixed addresses")]
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
