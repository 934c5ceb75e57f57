//! A loaded payload, as Xen keeps it.

use std::borrow::Cow;

use super::machine::Machine;
use super::xen_memory::Image;
use crate::loader::{ENDBR64, LinkedFunction, LinkedHooks};
use crate::types::Errno;

/// The reason why a hypercall isn't carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An error, with lines for the console.
    Refused(Errno, Vec<Vec<u8>>),
    /// A crash of a real host, or damage to its memory.
    Crashed(String),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno, Vec::new())
    }
}

/// A refusal with one line for the console.
pub(super) fn refuse<T>(errno: Errno, why: impl Into<Vec<u8>>) -> Result<T, Stop> {
    Err(Stop::Refused(errno, vec![why.into()]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Standing {
    Checked,
    Applied,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Function {
    pub(super) loaded: LinkedFunction<'static>,
    /// The address and the bytes that patching overwrote.
    saved: Option<(u64, Vec<u8>)>,
}

impl From<LinkedFunction<'_>> for Function {
    fn from(loaded: LinkedFunction<'_>) -> Self {
        let name = loaded.name.map(|name| Cow::Owned(name.into_owned()));
        Self { loaded: LinkedFunction { name, ..loaded }, saved: None }
    }
}

impl Function {
    /// Patches Xen. Code that isn't modelled is left unchanged.
    pub(super) fn patch(&mut self, machine: &Machine, image: &mut Image, endbr_aware: bool) {
        let LinkedFunction { old_address, new_address, new_size, .. } = self.loaded;
        let kept: u32 = if endbr_aware && image.read(old_address, 4) == Some(&ENDBR64) { 4 } else { 0 };
        let at = old_address.wrapping_add(kept.into());
        let new = if new_address == 0 {
            // Fewer than are kept crash a real Xen, which the loader reports.
            let len = new_size.saturating_sub(kept);
            let modelled = image.read(at, len.into()).is_some();
            if modelled { (machine.nops)(len) } else { return }
        } else {
            (machine.jump)(at, new_address)
        };
        self.saved = image.write(at, &new).map(|old| (at, old));
    }

    pub(super) fn restore(&mut self, image: &mut Image) {
        if let Some((address, old)) = self.saved.take() {
            image.write(address, &old);
        }
    }
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Payload {
    /// Unique on its host, also among payloads of one name that are loaded one after the other.
    pub(super) id: u64,
    pub(super) name: Vec<u8>,
    pub(super) standing: Standing,
    pub(super) rc: i32,
    pub(super) reverted: bool,
    pub(super) safe_to_reapply: bool,
    /// The address of its memory.
    pub(super) base: u64,
    pub(super) build_id: Vec<u8>,
    pub(super) depends: Vec<u8>,
    pub(super) functions: Vec<Function>,
    pub(super) hooks: LinkedHooks,
    /// The raw `.modinfo`.
    pub(super) metadata: Vec<u8>,
    /// The symbols that later payloads may refer to.
    pub(super) new_symbols: Vec<(Vec<u8>, u64)>,
}
