//! A loaded payload, as Xen keeps it.

use super::image::{Image, jump};

/// What a hypercall comes to when it isn't done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is refused with this number, as a positive one; the lines say why, on the console.
    Refused(crate::errno::Errno, Vec<Vec<u8>>),
    /// It would have brought a real host down, or damaged its memory.
    Crashed(String),
}

impl From<crate::errno::Errno> for Stop {
    fn from(errno: crate::errno::Errno) -> Self {
        Self::Refused(errno, Vec::new())
    }
}

/// A refusal with one line for the console.
pub(super) fn refuse<T>(errno: crate::errno::Errno, why: impl Into<Vec<u8>>) -> Result<T, Stop> {
    Err(Stop::Refused(errno, vec![why.into()]))
}

/// Where a payload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Checked,
    Applied,
}

/// A function to be replaced.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) old_address: u64,
    /// Empty where the payload gives none.
    pub(super) name: Vec<u8>,
    /// 0 for NOPs.
    pub(super) new_address: u64,
    pub(super) new_size: u32,
    pub(super) old_size: u32,
    /// First byte: bit 0 enabled, bits 1 to 5 length, bits 6 and 7 reserved. Then what the old code should be.
    pub(super) expectation: Vec<u8>,
    /// What patching overwrote, and where.
    pub(super) saved: Option<(u64, Vec<u8>)>,
}

impl Function {
    /// Patches Xen. Code that isn't modelled is left alone.
    fn patch(&mut self, image: &mut Image, endbr_aware: bool) {
        let endbr = endbr_aware && image.has_endbr(self.old_address);
        let at = if endbr { self.old_address.wrapping_add(4) } else { self.old_address };
        let new = if self.new_address == 0 {
            vec![0x90; usize::try_from(self.new_size).unwrap_or_default()]
        } else {
            jump(at, self.new_address).to_vec()
        };
        self.saved = image.write(at, &new).map(|old| (at, old));
    }

    fn restore(&mut self, image: &mut Image) {
        if let Some((address, old)) = self.saved.take() {
            image.write(address, &old);
        }
    }
}

/// Addresses of hooks; 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hooks {
    pub(super) before_apply: u64,
    pub(super) instead_of_apply: u64,
    pub(super) after_apply: u64,
    pub(super) before_revert: u64,
    pub(super) instead_of_revert: u64,
    pub(super) after_revert: u64,
}

impl Hooks {
    /// Whether one of them can veto, or must see how an action ended; those forbid REPLACE.
    pub(super) fn surround_actions(&self) -> bool {
        [self.before_apply, self.after_apply, self.before_revert, self.after_revert].iter().any(|hook| *hook != 0)
    }
}

#[derive(Debug)]
pub(super) struct Payload {
    /// Tells payloads of one name apart that were loaded one after the other.
    pub(super) id: u64,
    pub(super) name: Vec<u8>,
    pub(super) standing: Standing,
    pub(super) rc: i32,
    pub(super) reverted: bool,
    pub(super) safe_to_reapply: bool,
    /// Where its memory begins.
    pub(super) base: u64,
    pub(super) build_id: Vec<u8>,
    pub(super) depends: Vec<u8>,
    pub(super) functions: Vec<Function>,
    pub(super) hooks: Hooks,
    /// The raw `.modinfo`.
    pub(super) metadata: Vec<u8>,
    /// What later payloads may refer to.
    pub(super) new_symbols: Vec<(Vec<u8>, u64)>,
}

impl Payload {
    pub(super) fn patch(&mut self, image: &mut Image, endbr_aware: bool) {
        self.functions.iter_mut().for_each(|function| function.patch(image, endbr_aware));
    }

    pub(super) fn restore(&mut self, image: &mut Image) {
        self.functions.iter_mut().for_each(|function| function.restore(image));
    }

    pub(super) fn symbol(&self, name: &[u8]) -> Option<u64> {
        self.new_symbols.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }
}
