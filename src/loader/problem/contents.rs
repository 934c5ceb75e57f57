//! The problems of notes and tables.

/// A problem of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NoteProblem {
    /// The section ends too early.
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
    /// It is a section of zeros, which Xen reads from the file.
    #[error("is a section without bytes in the file")]
    NotInFile,
    /// Relocations change it.
    #[error("is changed by relocations")]
    Relocated,
}

/// A problem of a table: of alternatives, exceptions, bug frames, or indirect calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// It is not a whole number of entries.
    #[error("its {size} bytes are not a multiple of {entry_size}: build it with the tools of this release")]
    Size {
        /// The size of the section.
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
    /// It refers to code outside the payload's.
    #[error("it refers to code outside the payload: relink it")]
    OriginalOutside,
    /// It refers to code of the payload, but not of the section that its address is relocated against.
    #[error("it refers to other code than its relocation does: the file is damaged, obtain a fresh copy")]
    OriginalStrays,
    /// The replacement is not in the payload.
    #[error("its replacement is outside .altinstr_replacement: relink it")]
    ReplacementOutside,
    /// The replacement is longer than the original.
    #[error("its replacement has {found} bytes, the original {room}: pad the original")]
    ReplacementTooLong {
        /// The size of the replacement.
        found: u32,
        /// The size of the original.
        room: u32,
    },
    /// The original is longer than Xen can replace.
    #[error("it replaces {found} bytes, but Xen accepts at most 254")]
    OriginalTooLong {
        /// The size of the original.
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
        "a branch in its replacement targets the payload's own code, which Xen cannot handle: branch inside the replacement or into Xen"
    )]
    BranchOutside,
    /// It does not refer to an indirect call through a pointer relative to the instruction.
    #[error("it does not refer to an indirect call (ff 15)")]
    NotACall,
    /// Xen can't read the pointer of the indirect call.
    #[error("the pointer of its indirect call is outside the payload: relink it")]
    CallPointer,
    /// It depends on relocations with an unknown result.
    #[error("relocations make its target unknown: relink it")]
    Relocated,
}
