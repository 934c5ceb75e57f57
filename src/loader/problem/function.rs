//! The problems of functions, and of pointers to code.

/// A problem of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionProblem {
    /// It has neither name nor address, and Xen reads a name at NULL.
    #[error("it has neither a name nor an address, and Xen crashes looking for it: give it one")]
    Nameless,
    /// The pointer to its name does not lead to a text of the payload that ends with a NUL.
    #[error("its name is not a text of the payload, and Xen reads whatever is there: relink it")]
    StrayName,
    /// Neither Xen nor a loaded payload has a function of its name.
    #[error("neither Xen nor a loaded payload has it: check the name, or load the payload that it depends on first")]
    Unknown,
    /// Its address is not in Xen.
    #[error("its address {found:#x} is not inside Xen: leave it out, so that Xen looks up the name")]
    NotInXen {
        /// The address.
        found: u64,
    },
    /// The pointer to the old code is not usable.
    #[error("its old address {0}")]
    OldAddress(PointerProblem),
    /// The old code is the payload's own.
    #[error("its old address is in the payload itself: leave it out, so that Xen looks up the name")]
    OwnCode,
    /// The old code is another payload's, and this Xen is one on Arm.
    #[error("its old address is in another payload, which a Xen on Arm cannot patch: patch the function in Xen")]
    OtherPayload,
    /// The pointer to the new code is not usable.
    #[error("its new address {0}")]
    NewAddress(PointerProblem),
    /// The new code is too far from the old.
    #[error("its new code is too far from the old for a jump: let the linker place it, without fixed addresses")]
    TooFar,
    /// The payload patches the same code twice, so that a revert leaves a patch in place.
    #[error("function {first} patches the same code, and a revert would leave that patch in place: patch it once")]
    Twice {
        /// The number of the other function, from 0.
        first: usize,
    },
    /// The size of the old function is 0.
    #[error("its old size is 0: it is the size of the function in Xen")]
    NoOldSize,
    /// The old function has no room for a jump.
    #[error("its old size {found} leaves no room for a jump, which takes {needed} bytes: patch its callers instead")]
    OldSizeTooSmall {
        /// The size of the old function.
        found: u32,
        /// The size of the jump.
        needed: u32,
    },
    /// There is no new code, and this Xen does not overwrite functions with no-operations.
    #[error("it has no new code, which Xen accepts only from 4.8 on: give it an empty function")]
    NoNewCode,
    /// The size of the new code is 0, which this Xen refuses.
    #[error("its new size is 0, which Xen accepts only from 4.8 on: it is the size of the new function")]
    NoNewSize,
    /// The new code ends past the end of its section, so that Xen would run other bytes.
    #[error("its new size {found} is more than its section has there: it is the size of the new function")]
    NewSize {
        /// The number of bytes.
        found: u32,
    },
    /// More bytes are to be overwritten with no-operations than Xen can keep.
    #[error("{found} bytes are to become no-operations, but Xen accepts at most 31: replace the function instead")]
    NopTooLong {
        /// The number of bytes.
        found: u32,
    },
    /// Fewer bytes are to be overwritten than the `endbr64` has that Xen leaves in place.
    #[error(
        "{found} bytes are to become no-operations, fewer than the 4 of the endbr64 with which the function may begin: take \
         more, or expect other code there"
    )]
    NopTooShort {
        /// The number of bytes.
        found: u32,
    },
    /// More bytes are to be overwritten with no-operations than the function has.
    #[error("{found} bytes are to become no-operations, but its old size is {old_size}")]
    NopPastEnd {
        /// The number of bytes.
        found: u32,
        /// The size of the old function.
        old_size: u32,
    },
    /// An instruction is to be overwritten in part.
    #[error("{found} bytes are to become no-operations, which is not a multiple of 4, the size of an instruction")]
    NopPartial {
        /// The number of bytes.
        found: u32,
    },
    /// The file marks it as applied.
    #[error("it is marked as applied in the file: leave bytes 33 to 71 of the entry, Xen's own state, zero")]
    MarkedAsApplied,
    /// Relocations change its sizes, its version or Xen's state in it.
    #[error("relocations change more of it than its pointers: relink it")]
    Relocated,
    /// Reserved bits of the expectation are set.
    #[error("its expectation has reserved bits set ({found:#x}): Xen refuses to apply it")]
    ExpectationReserved {
        /// The bits.
        found: u8,
    },
    /// More bytes are expected than the function has.
    #[error("it expects {found} bytes, but its old size is {old_size}: Xen refuses to apply it")]
    ExpectationPastEnd {
        /// The number of expected bytes.
        found: u32,
        /// The size of the old function.
        old_size: u32,
    },
}

/// A problem of a pointer to code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PointerProblem {
    /// It is NULL.
    #[error("is a NULL pointer, which Xen calls: point it at a function")]
    Null,
    /// It is a number in the file, not a symbol.
    #[error("is the bare address {0:#x}: it has to be relocated against a symbol")]
    Number(u64),
    /// It does not lead to code of the payload.
    #[error(
        "does not point at code of the payload: its section has to be allocatable and executable (\"ax\" in assembly)"
    )]
    NotCode,
    /// It leads far away from the symbol that it is relocated against.
    #[error("points far away from its symbol: the file is damaged, obtain a fresh copy")]
    Far,
    /// It is assembled from several relocations.
    #[error("is assembled from several relocations; relink the payload")]
    Mangled,
    /// It is not aligned to an instruction.
    #[error("is not aligned to an instruction: relink it")]
    Unaligned,
}
