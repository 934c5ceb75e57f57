//! The hooks of a payload: code of its own that Xen runs around an action.

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
