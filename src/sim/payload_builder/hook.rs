//! The hooks of a payload: code of its own that Xen runs around an action.

/// When Xen runs a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Hook {
    /// On every apply, with all CPUs held (from 4.8). A payload may have several.
    Load,
    /// On every revert, with all CPUs held (from 4.8). A payload may have several.
    Unload,
    /// Before an apply, in the hypercall; what it returns, unless 0, forbids the apply (from 4.14).
    PreApply,
    /// **In place of** the apply (from 4.14). It has to patch every function itself.
    ///
    /// One that returns 0 without having done so leaves Xen with a payload that is applied and functions that are
    /// not: **a real Xen notices and panics, and the host goes down.** Give it to a payload without functions.
    Apply,
    /// After an apply, whether it worked or not (from 4.14).
    PostApply,
    /// Before a revert, in the hypercall; what it returns, unless 0, forbids the revert (from 4.14).
    PreRevert,
    /// **In place of** the revert (from 4.14); as dangerous as [`Apply`](Self::Apply), and in the same way.
    Revert,
    /// After a revert, whether it worked or not (from 4.14).
    PostRevert,
}

impl Hook {
    /// All kinds, in the order in which a payload's sections list them.
    pub(super) const ALL: [Self; 8] = [
        Self::Load,
        Self::Unload,
        Self::PreApply,
        Self::Apply,
        Self::PostApply,
        Self::PreRevert,
        Self::Revert,
        Self::PostRevert,
    ];

    /// The section that points at hooks of this kind.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Load => ".livepatch.hooks.load",
            Self::Unload => ".livepatch.hooks.unload",
            Self::PreApply => ".livepatch.hooks.preapply",
            Self::Apply => ".livepatch.hooks.apply",
            Self::PostApply => ".livepatch.hooks.postapply",
            Self::PreRevert => ".livepatch.hooks.prerevert",
            Self::Revert => ".livepatch.hooks.revert",
            Self::PostRevert => ".livepatch.hooks.postrevert",
        }
    }
}

/// The code of a hook.
#[derive(Clone, Debug)]
#[must_use]
pub struct HookCode(Vec<u8>);

impl HookCode {
    /// Does nothing and returns this number: 0 to agree, a negative error number to refuse.
    ///
    /// The code is `endbr64; mov $result,%eax; ret`: Xen calls hooks through pointers, which on a CPU that tracks
    /// indirect branches must lead to an `endbr64`. Where a hook returns nothing, the number is not looked at.
    pub fn returns(result: i32) -> Self {
        let mut code = b"\xf3\x0f\x1e\xfa\xb8".to_vec();
        code.extend(result.to_le_bytes());
        code.push(0xc3);
        Self(code)
    }

    /// This machine code, called as a C function with a pointer to Xen's `struct payload` (or, on load and unload,
    /// with nothing).
    pub fn from_code(code: impl Into<Vec<u8>>) -> Self {
        Self(code.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
