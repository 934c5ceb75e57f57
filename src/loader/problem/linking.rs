//! The problems of symbols and relocations.

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
