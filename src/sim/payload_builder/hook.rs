//! The hooks of a payload: code of its own that Xen runs around an action.

use super::machine::Machine;

/// The code of a hook.
#[derive(Clone, Debug)]
#[must_use]
pub struct HookCode(Code);

#[derive(Clone, Debug)]
enum Code {
    Returns(i32),
    Bytes(Vec<u8>),
}

impl HookCode {
    /// Does nothing and returns this number: 0 to agree, a negative error number to refuse.
    ///
    /// The code is `endbr64; mov $result,%eax; ret` on x86-64: Xen calls hooks through pointers, which on a CPU that tracks
    /// indirect branches must lead to an `endbr64`. On Arm it is `movz w0, #low; movk w0, #high, lsl #16; ret`. Where a
    /// hook returns nothing, the number is not looked at.
    pub fn returns(result: i32) -> Self {
        Self(Code::Returns(result))
    }

    /// This machine code, called as a C function with a pointer to Xen's `struct payload` (or, on load and unload,
    /// with nothing).
    pub fn from_code(code: impl Into<Vec<u8>>) -> Self {
        Self(Code::Bytes(code.into()))
    }

    pub(super) fn bytes(&self, machine: &Machine) -> Vec<u8> {
        match &self.0 {
            Code::Returns(result) => (machine.returning_number)(*result),
            Code::Bytes(bytes) => bytes.clone(),
        }
    }
}
