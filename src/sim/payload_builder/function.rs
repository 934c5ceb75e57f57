//! The functions in a payload: entries of `.livepatch.funcs`, and the code that replaces them.

use super::object_file::{Relocation, Section, Target};
use crate::payload::PayloadVersion;
use crate::sim::machine::Machine;
use crate::types::to_u64;

/// Enough for an `endbr64` and a jump, which take nine bytes.
const DEFAULT_OLD_SIZE: u32 = 16;

#[derive(Clone, Debug)]
enum Body {
    /// Code that returns the address of this text.
    Text(Vec<u8>),
    Code(Vec<u8>),
    /// As many no-operations, written over the beginning of the old function.
    Nop(u32),
}

/// A function to replace, and its replacement. ([`Function`](crate::payload::Function) is one that is read from a file.)
///
/// Xen finds the function by its name, unless [`at`](Self::at) is used.
#[derive(Clone, Debug)]
#[must_use]
pub struct FunctionPatch {
    pub(super) name: Option<String>,
    body: Body,
    address: u64,
    old_size: u32,
    expectation: Vec<u8>,
}

impl FunctionPatch {
    /// Makes the function return the address of this text, to which a NUL is appended.
    ///
    /// The text of `xen_extra_version` is visible in dom0, in `/sys/hypervisor/version/extra`.
    pub fn returning(name: impl Into<String>, text: impl AsRef<[u8]>) -> Self {
        Self::new(name, Body::Text(text.as_ref().into()))
    }

    /// Replaces the function by this machine code.
    pub fn with_code(name: impl Into<String>, code: impl Into<Vec<u8>>) -> Self {
        Self::new(name, Body::Code(code.into()))
    }

    /// Replaces the first `size` bytes of the function by no-operations (`new_addr` is 0). The rest of it is run as before.
    ///
    /// Xen accepts at most 31 bytes, and on Arm a multiple of 4. From 4.14.5 on an `endbr64` at the beginning is left in
    /// place. **Fewer than 4 bytes of a function that begins with one crash a real Xen** (seen on 4.14, 4.17 and 4.20).
    pub fn nop(name: impl Into<String>, size: u32) -> Self {
        // Xen accepts an old size as large as the no-operations, but a function has to go on after them.
        Self::new(name, Body::Nop(size)).old_size(DEFAULT_OLD_SIZE.max(size.saturating_add(4)))
    }

    fn new(name: impl Into<String>, body: Body) -> Self {
        let (name, old_size) = (Some(name.into()), DEFAULT_OLD_SIZE);
        Self { name, body, address: 0, old_size, expectation: Vec::new() }
    }

    /// Sets the address of the function, so Xen does not look up its name.
    ///
    /// **A real Xen reads the code there without checking that the address is mapped: it crashes where it isn't** (seen on
    /// 4.17 and 4.20).
    pub fn at(mut self, address: u64) -> Self {
        self.address = address;
        self
    }

    /// Sets the size of the function; 16 bytes by default. Xen refuses one without room for its jump.
    pub fn old_size(mut self, size: u32) -> Self {
        self.old_size = size;
        self
    }

    /// Sets the bytes at the beginning of the function in Xen. Xen refuses to apply the payload where they differ.
    ///
    /// At most 31 bytes, which the compiler checks. A [`PayloadVersion::V1`] payload has no room for it, and is built without.
    ///
    /// ```
    /// # use xen_livepatch::sim::FunctionPatch;
    /// let function = FunctionPatch::nop("mmio_write", 8).expecting(b"\x55\x48\x89\xe5");
    /// ```
    ///
    /// ```compile_fail
    /// # use xen_livepatch::sim::FunctionPatch;
    /// let function = FunctionPatch::nop("mmio_write", 8).expecting(&[0x90; 32]);
    /// ```
    pub fn expecting<const LEN: usize>(mut self, code: &[u8; LEN]) -> Self {
        const { assert!(LEN <= 31, "the length of an expectation is a field of five bits") };
        self.expectation = code.to_vec();
        self
    }

    /// Removes the name, so its pointer is NULL.
    ///
    /// **Without an address this crashes a real Xen**, which compares the name without checking the pointer (seen on 4.17 and
    /// 4.20).
    pub fn unnamed(mut self) -> Self {
        self.name = None;
        self
    }
}

/// The sections with the code of functions and hooks.
#[derive(Debug)]
pub(super) struct Code {
    machine: &'static Machine,
    pub(super) text: Section,
    pub(super) strings: Section,
    pub(super) funcs: Section,
}

/// The place of a piece of code in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Code {
    pub(super) fn new(machine: &'static Machine) -> Self {
        Self {
            machine,
            text: Section::executable(".text"),
            strings: Section::read_only(".rodata.str", 1, Vec::new()),
            funcs: Section::writable(".livepatch.funcs", 8, Vec::new()),
        }
    }

    pub(super) fn place(&mut self, code: &[u8]) -> Placed {
        let text = &mut self.text.contents;
        text.resize(text.len().next_multiple_of(16), self.machine.filler);
        let placed = Placed { offset: to_u64(text.len()), size: to_u64(code.len()) };
        text.extend_from_slice(code);
        placed
    }

    /// Appends a function: its code, its name, and its entry. Returns the place of the code, if there is any.
    pub(super) fn add(&mut self, function: &FunctionPatch, version: PayloadVersion) -> Option<Placed> {
        let code = match &function.body {
            Body::Text(text) => Some(self.place_return_of(text)),
            Body::Code(code) => Some(self.place(code)),
            Body::Nop(_) => None,
        };
        let entry = to_u64(self.funcs.contents.len());
        if let Some(name) = &function.name {
            let name = Target::Section(".rodata.str").plus(self.place_string(name.as_bytes()));
            self.funcs.relocations.push(Relocation::pointer(self.machine, entry, name));
        }
        if let Some(code) = code {
            let code = Target::Section(".text").plus(code.offset);
            self.funcs.relocations.push(Relocation::pointer(self.machine, entry + 8, code));
        }
        let new_size = match function.body {
            Body::Nop(size) => size,
            _ => code.map_or(0, |code| u32::try_from(code.size).unwrap_or(u32::MAX)),
        };
        let mut fields = [0; 16].to_vec();
        fields.extend(function.address.to_le_bytes());
        fields.extend(new_size.to_le_bytes());
        fields.extend(function.old_size.to_le_bytes());
        fields.push(version.number());
        if version != PayloadVersion::V1 && !function.expectation.is_empty() {
            // Bytes 33 to 71 belong to Xen, whose releases disagree about them, and are zero in all.
            fields.resize(72, 0);
            let len = u8::try_from(function.expectation.len()).expect("`expecting` takes at most 31 bytes");
            fields.push((len << 1) | 1);
            fields.extend(&function.expectation);
        }
        // A version that no release knows gets the newest layout.
        fields.resize(if version == PayloadVersion::V1 { 64 } else { 104 }, 0);
        self.funcs.contents.extend(fields);
        code
    }

    fn place_return_of(&mut self, text: &[u8]) -> Placed {
        let text = self.place_string(text);
        let code = self.place(self.machine.returning_address);
        for (at, kind, more) in self.machine.address {
            let (target, addend) = Target::Section(".rodata.str").plus(text);
            let relocation = Relocation::instruction(code.offset + at, *kind, (target, addend + more));
            self.text.relocations.push(relocation);
        }
        code
    }

    fn place_string(&mut self, string: &[u8]) -> u64 {
        let offset = to_u64(self.strings.contents.len());
        self.strings.contents.extend(string.iter().chain([&0]));
        offset
    }
}
