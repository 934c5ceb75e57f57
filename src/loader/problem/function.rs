//! The problems of functions, and of pointers to code.

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
