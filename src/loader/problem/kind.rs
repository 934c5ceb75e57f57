//! The kinds of problems, each with a name that stays the same.

use core::fmt;
use core::str::FromStr;

use super::Problem as P;
use super::contents::{NoteProblem as N, TableProblem as E};
use super::function::FunctionProblem as F;
use super::linking::{
    RelocationProblem as R, RelocationSectionProblem as S, SymbolProblem as Y, SymbolTableProblem as T,
};

macro_rules! kinds {
    ($($kind:ident $name:literal = $pattern:pat,)+) => {
        /// The kind of a [`Problem`](crate::Problem), by which findings are accepted or counted.
        ///
        /// `Display`, `FromStr` and `serde` use its [`name`](Self::name), such as `read-only-funcs`.
        ///
        /// ```
        /// use xen_livepatch::ProblemKind;
        ///
        /// assert_eq!("read-only-funcs".parse(), Ok(ProblemKind::ReadOnlyFunctions));
        /// assert_eq!(ProblemKind::ReadOnlyFunctions.to_string(), "read-only-funcs");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)+
        }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The name, which stays the same from version to version.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }

        impl P {
            /// The kind, without the details.
            #[must_use]
            pub const fn kind(&self) -> ProblemKind {
                match self {
                    $($pattern => ProblemKind::$kind,)+
                }
            }
        }
    };
}

kinds! {
    TooLarge "too-large" = P::TooLarge { .. },
    NotElf "not-elf" = P::NotElf { .. },
    Header "elf-header" = P::Header { .. },
    Architecture "architecture" = P::Architecture { .. },
    SectionOutside "section-outside-file" = P::SectionOutside { .. },
    SectionWraps "section-wraps" = P::SectionWraps { .. },
    Alignment "section-alignment" = P::Alignment { .. },
    ZeroAlignment "section-alignment-0" = P::ZeroAlignment { .. },
    Misaligned "section-misaligned" = P::Misaligned { .. },
    ZeroedTooLarge "zeros-too-large" = P::ZeroedTooLarge { .. },
    WritableCode "writable-code" = P::WritableCode { .. },
    MemoryWraps "memory-wraps" = P::MemoryWraps { .. },
    TooMuchMemory "too-much-memory" = P::TooMuchMemory { .. },
    SectionName "section-name" = P::SectionName { .. },
    SectionNames "section-names" = P::SectionNames,
    NoSymbolTable "no-symbol-table" = P::SymbolTable { problem: T::Missing },
    SeveralSymbolTables "several-symbol-tables" = P::SymbolTable { problem: T::Several },
    EmptySymbolTable "empty-symbol-table" = P::SymbolTable { problem: T::Empty },
    SymbolTableEntrySize "symbol-table-entry-size" = P::SymbolTable { problem: T::EntrySize },
    SymbolTableStrings "symbol-table-strings" = P::SymbolTable { problem: T::NoStrings },
    SymbolTableNullStrings "symbol-table-null-strings" = P::SymbolTable { problem: T::NullStrings },
    SymbolName "symbol-name" = P::Symbols { problem: Y::Name, .. },
    CommonSymbol "common-symbol" = P::Symbols { problem: Y::Common, .. },
    ReservedSymbol "reserved-symbol" = P::Symbols { problem: Y::Reserved, .. },
    SymbolSection "symbol-section" = P::Symbols { problem: Y::NoSuchSection, .. },
    SymbolPastEnd "symbol-past-end" = P::Symbols { problem: Y::PastEnd, .. },
    UnknownSymbol "unknown-symbol" = P::UnknownSymbol { .. },
    DuplicateSymbol "duplicate-symbol" = P::DuplicateSymbol { .. },
    MissingSection "missing-section" = P::MissingSection { .. },
    EmptySection "empty-section" = P::EmptySection { .. },
    NothingToPatch "nothing-to-patch" = P::NothingToPatch,
    NotAllocated "not-allocated" = P::NotAllocated { .. },
    NoteTooShort "note-too-short" = P::Note { problem: N::TooShort, .. },
    NoteType "note-type" = P::Note { problem: N::Type { .. }, .. },
    NoteOwner "note-owner" = P::Note { problem: N::Owner, .. },
    NoteEmpty "note-empty" = P::Note { problem: N::Empty, .. },
    NotePastEnd "note-past-end" = P::Note { problem: N::PastEnd, .. },
    NoteNotInFile "note-not-in-file" = P::Note { problem: N::NotInFile, .. },
    NoteRelocated "note-relocated" = P::Note { problem: N::Relocated, .. },
    BuiltForAnotherXen "built-for-another-xen" = P::BuiltForAnotherXen { .. },
    XenWithoutBuildId "xen-without-build-id" = P::XenWithoutBuildId,
    AlreadyLoaded "already-loaded" = P::AlreadyLoaded { .. },
    FunctionsSize "funcs-size" = P::FunctionsSize { .. },
    PayloadVersion "payload-version" = P::Version { .. },
    ReadOnlyFunctions "read-only-funcs" = P::ReadOnlyFunctions,
    FunctionNameless "function-nameless" = P::Function { problem: F::Nameless, .. },
    FunctionName "function-name" = P::Function { problem: F::StrayName, .. },
    FunctionUnknown "function-unknown" = P::Function { problem: F::Unknown, .. },
    FunctionNotInXen "function-not-in-xen" = P::Function { problem: F::NotInXen { .. }, .. },
    FunctionOldAddress "function-old-address" = P::Function { problem: F::OldAddress(_), .. },
    FunctionOwnCode "function-own-code" = P::Function { problem: F::OwnCode, .. },
    FunctionOtherPayload "function-other-payload" = P::Function { problem: F::OtherPayload, .. },
    FunctionNewAddress "function-new-address" = P::Function { problem: F::NewAddress(_), .. },
    FunctionTooFar "function-too-far" = P::Function { problem: F::TooFar, .. },
    FunctionTwice "function-twice" = P::Function { problem: F::Twice { .. }, .. },
    FunctionNoOldSize "function-no-old-size" = P::Function { problem: F::NoOldSize, .. },
    FunctionOldSize "function-old-size" = P::Function { problem: F::OldSizeTooSmall { .. }, .. },
    FunctionNoNewCode "function-no-new-code" = P::Function { problem: F::NoNewCode, .. },
    FunctionNoNewSize "function-no-new-size" = P::Function { problem: F::NoNewSize, .. },
    FunctionNewSize "function-new-size" = P::Function { problem: F::NewSize { .. }, .. },
    NopTooLong "nop-too-long" = P::Function { problem: F::NopTooLong { .. }, .. },
    NopTooShort "nop-too-short" = P::Function { problem: F::NopTooShort { .. }, .. },
    NopPastEnd "nop-past-end" = P::Function { problem: F::NopPastEnd { .. }, .. },
    NopPartial "nop-partial" = P::Function { problem: F::NopPartial { .. }, .. },
    MarkedAsApplied "marked-as-applied" = P::Function { problem: F::MarkedAsApplied, .. },
    FunctionRelocated "function-relocated" = P::Function { problem: F::Relocated, .. },
    ExpectationReserved "expectation-reserved" = P::Function { problem: F::ExpectationReserved { .. }, .. },
    ExpectationPastEnd "expectation-past-end" = P::Function { problem: F::ExpectationPastEnd { .. }, .. },
    HookSize "hook-size" = P::HookSize { .. },
    HookPointer "hook-pointer" = P::Hook { .. },
    TrapInHook "trap-in-hook" = P::TrapInHook { .. },
    PatchesLivePatching "patches-live-patching" = P::PatchesLivePatching { .. },
    TableSize "table-size" = P::Table { problem: E::Size { .. }, .. },
    TableEmpty "table-empty" = P::Table { problem: E::Empty, .. },
    TableUnsupported "table-unsupported" = P::Table { problem: E::Unsupported, .. },
    NothingToReplace "nothing-to-replace" = P::Table { problem: E::NothingToReplace, .. },
    OriginalOutside "original-outside" = P::Table { problem: E::OriginalOutside, .. },
    OriginalStrays "original-strays" = P::Table { problem: E::OriginalStrays, .. },
    ReplacementOutside "replacement-outside" = P::Table { problem: E::ReplacementOutside, .. },
    ReplacementTooLong "replacement-too-long" = P::Table { problem: E::ReplacementTooLong { .. }, .. },
    OriginalTooLong "original-too-long" = P::Table { problem: E::OriginalTooLong { .. }, .. },
    UnknownFeature "unknown-feature" = P::Table { problem: E::NoSuchFeature { .. }, .. },
    BranchOutside "branch-outside" = P::Table { problem: E::BranchOutside, .. },
    NotACall "not-a-call" = P::Table { problem: E::NotACall, .. },
    CallPointer "call-pointer" = P::Table { problem: E::CallPointer, .. },
    TableRelocated "table-relocated" = P::Table { problem: E::Relocated, .. },
    EmptyMetadata "empty-metadata" = P::EmptyMetadata,
    UnterminatedMetadata "unterminated-metadata" = P::UnterminatedMetadata,
    RelocationNullSymbol "relocation-null-symbol" = P::Relocations { problem: R::NullSymbol, .. },
    RelocationNoSymbol "relocation-no-symbol" = P::Relocations { problem: R::NoSuchSymbol, .. },
    RelocationNotLoaded "relocation-not-loaded" = P::Relocations { problem: R::SymbolNotLoaded, .. },
    RelocationOutside "relocation-outside" = P::Relocations { problem: R::Outside, .. },
    RelocationType "relocation-type" = P::Relocations { problem: R::Type { .. }, .. },
    RelocationOverflow "relocation-overflow" = P::Relocations { problem: R::Overflow, .. },
    RelocationSymbols "relocations-symbol-table" = P::RelocationSection { problem: S::SymbolTable { .. }, .. },
    RelocationEntrySize "relocations-entry-size" = P::RelocationSection { problem: S::EntrySize { .. }, .. },
    RelocationNullSection "relocations-null-section" = P::RelocationSection { problem: S::NullSection, .. },
    RelocationWithoutAddends "relocations-without-addends" = P::RelocationSection { problem: S::WithoutAddends, .. },
    RelocationRelocated "relocations-relocated" = P::RelocationSection { problem: S::Relocated, .. },
    Overlapping "overlapping" = P::Overlapping { .. },
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that is not the name of a kind of problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a finding; `read-only-funcs` is one")]
pub struct UnknownProblemKind(String);

impl FromStr for ProblemKind {
    type Err = UnknownProblemKind;

    fn from_str(name: &str) -> Result<Self, UnknownProblemKind> {
        let known = Self::ALL.iter().find(|kind| kind.name() == name);
        known.copied().ok_or_else(|| UnknownProblemKind(name.into()))
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProblemKinds(u128);

const _: () = assert!(ProblemKind::ALL.len() <= 128, "a bit for each kind");

impl ProblemKinds {
    pub(crate) const ALL: Self = Self(u128::MAX);

    pub(crate) fn insert(&mut self, kind: ProblemKind) {
        self.0 |= Self::bit(kind);
    }

    pub(crate) fn contains(self, kind: ProblemKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    fn bit(kind: ProblemKind) -> u128 {
        // There are no more kinds than bits, as asserted above.
        1 << ProblemKind::ALL.iter().take_while(|known| **known != kind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        for (index, kind) in ProblemKind::ALL.iter().enumerate() {
            assert_eq!(kind.name().parse(), Ok(*kind));
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(kind.name().chars().all(plain), "{kind}");
            assert!(ProblemKind::ALL.iter().skip(index + 1).all(|other| other.name() != kind.name()), "{kind}");
        }
        assert!("".parse::<ProblemKind>().is_err() && "Read-Only-Funcs".parse::<ProblemKind>().is_err());
    }

    #[test]
    fn sets_have_what_was_put_into_them() {
        let mut set = ProblemKinds::default();
        let (first, last) = (ProblemKind::TooLarge, ProblemKind::Overlapping);
        set.insert(last);
        assert!(set.contains(last) && !set.contains(first));
        set.insert(first);
        assert!(ProblemKind::ALL.iter().filter(|kind| set.contains(**kind)).eq(&[first, last]));
    }
}
