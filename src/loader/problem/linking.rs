//! The problems of symbols and relocations.

/// A problem of the symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolTableProblem {
    /// It is missing.
    #[error("it has no symbol table")]
    Missing,
    /// There are several tables.
    #[error("it has more than one symbol table")]
    Several,
    /// It is empty.
    #[error("its symbol table is empty")]
    Empty,
    /// The entries have a wrong size.
    #[error("its symbol table has entries of a wrong size")]
    EntrySize,
    /// The string table is missing, or does not begin and end with a NUL.
    #[error("its symbol table has no usable string table")]
    NoStrings,
    /// The string table is section 0, to which Xen has no pointer.
    #[error("its symbol table has section 0 for a string table")]
    NullStrings,
}

/// A problem of symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolProblem {
    /// The name is outside the string table.
    #[error("has its name outside the string table: the file is damaged, obtain a fresh copy")]
    Name,
    /// It is a common symbol.
    #[error("is a common symbol, which Xen does not take: compile with -fno-common")]
    Common,
    /// It is in a reserved section of ELF that Xen does not know.
    #[error("is in a reserved section: Xen takes only absolute symbols there")]
    Reserved,
    /// It is in a section that does not exist.
    #[error("is in a section that does not exist: the file is damaged, obtain a fresh copy")]
    NoSuchSection,
    /// It begins or ends past the end of its section, so that Xen would run or read other bytes.
    #[error("runs past the end of its section: the file is damaged, obtain a fresh copy")]
    PastEnd,
}

/// A problem of relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationProblem {
    /// They are against symbol 0.
    #[error("is against symbol 0, since its own was discarded: rebuild the payload")]
    NullSymbol,
    /// They are against a symbol that does not exist.
    #[error("is against a symbol that does not exist: the file is damaged, obtain a fresh copy")]
    NoSuchSymbol,
    /// They are against a symbol in a section that is not loaded.
    #[error("is against a symbol in a section that is not loaded: make that section allocatable")]
    SymbolNotLoaded,
    /// They change bytes outside their section.
    #[error("changes bytes outside its section: the file is damaged, obtain a fresh copy")]
    Outside,
    /// Their type is unknown to Xen.
    #[error("has type {found}, which Xen does not know: compile with the options of Xen's own build")]
    Type {
        /// The type.
        found: u32,
    },
    /// The target is too far away.
    #[error("does not reach its target: relink the payload, without fixed addresses")]
    Overflow,
}

/// A problem of a section of relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RelocationSectionProblem {
    /// It belongs to another symbol table.
    #[error("belongs to section {found}, which is not the symbol table: relink it")]
    SymbolTable {
        /// The number of the section.
        found: u32,
    },
    /// The entries have a wrong size.
    #[error("has entries of {found} bytes: relink it")]
    EntrySize {
        /// The size of an entry.
        found: u64,
    },
    /// It changes section 0, to which Xen has no pointer.
    #[error("changes section 0: relink the payload as a relocatable file (ld -r)")]
    NullSection,
    /// The relocations have no addends, which Xen does not support.
    #[error("has relocations without addends (SHT_REL), which Xen does not support: build the payload with SHT_RELA")]
    WithoutAddends,
    /// It is itself loaded and changed by relocations.
    #[error("is itself changed by relocations: relink it")]
    Relocated,
}
