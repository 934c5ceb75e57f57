//! The problems of notes and tables.

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
