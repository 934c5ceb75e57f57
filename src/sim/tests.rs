//! Requests written by hand, byte by byte at literal offsets, and the answers of each release.

use super::*;
use crate::payload::{HookKind, PayloadVersion};

mod actions;
mod arm;
mod faults;
mod lists;
mod nonsense;
mod requests;
mod saved;
mod uploads;
mod words;

const NODEPS: u32 = 1;
const UNLOAD: u32 = 1;
const REVERT: u32 = 2;
const APPLY: u32 = 3;
const REPLACE: u32 = 4;

impl RawSysctl {
    fn long(self, offset: usize, long: u64) -> Self {
        self.bytes(offset, &long.to_le_bytes())
    }

    /// Sends it with all its addresses, also with those that are not of given memory.
    fn answer(&self, xen: &SimulatedXen) -> RawAnswer {
        let mut prepared = self.place(xen).unwrap();
        let result = prepared.send();
        prepared.answer(result)
    }

    fn result(&self, xen: &SimulatedXen) -> Result<u32, Errno> {
        self.answer(xen).result
    }
}

impl RawAnswer {
    fn word(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.block[offset..offset + 4].try_into().unwrap())
    }
}

fn livepatch(xen: &SimulatedXen, operation: u32) -> RawSysctl {
    RawSysctl::livepatch(xen.release(), operation)
}

/// With a name and its NUL.
fn named(xen: &SimulatedXen, operation: u32, name: &str) -> RawSysctl {
    livepatch(xen, operation).name(&[name.as_bytes(), &[0]].concat())
}

fn upload(xen: &SimulatedXen, name: &str, payload: &[u8]) -> Result<u32, Errno> {
    named(xen, 0, name).long(32, u64::try_from(payload.len()).unwrap()).memory(40, payload).result(xen)
}

/// State and rc.
fn get(xen: &SimulatedXen, name: &str) -> Result<(u32, i32), Errno> {
    let answer = named(xen, 1, name).answer(xen);
    answer.result.map(|_| (answer.word(32), i32::from_le_bytes(answer.word(36).to_le_bytes())))
}

fn action(xen: &SimulatedXen, name: &str, command: u32) -> Result<u32, Errno> {
    action_with(xen, name, command, 0, 0)
}

fn action_with(xen: &SimulatedXen, name: &str, command: u32, timeout: u32, flags: u32) -> Result<u32, Errno> {
    named(xen, 3, name).word(32, command).word(36, timeout).word(40, flags).result(xen)
}

/// An action that has to be accepted, and its end.
fn done(xen: &SimulatedXen, name: &str, command: u32) -> (u32, i32) {
    assert_eq!(action(xen, name, command), Ok(0), "{name} {command}");
    xen.finish_action();
    get(xen, name).unwrap()
}

/// A payload of the version that the release takes, patching what `XENVER_extraversion` reports.
fn builder(xen: &SimulatedXen, name: &str) -> PayloadBuilder {
    bare(xen, name).function(FunctionPatch::returning("xen_extra_version", format!("-{name}")))
}

/// A payload that does nothing yet.
fn bare(xen: &SimulatedXen, name: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, name)
}

/// Uploads payloads that each go on top of the one before.
fn stack(xen: &SimulatedXen, names: &[&str]) {
    let mut below = xen.build_id().unwrap();
    for name in names {
        let payload = builder(xen, name).depends_on(&below);
        below = payload.build_id().clone();
        assert_eq!(upload(xen, name, &payload.build()), Ok(0), "{name}");
    }
}

fn extra_version(xen: &SimulatedXen) -> String {
    let mut buffer = xen.allocate(16, End::Guarded).unwrap();
    buffer.as_mut_slice()[..17].fill(0xaa);
    assert_eq!(xen.xen_version(1, Some(&mut buffer)), Ok(0));
    let text = buffer.as_slice();
    assert_eq!((text[15], text[16]), (0, 0xaa), "16 bytes, the last a NUL");
    String::from_utf8(text.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
}

fn names(names: &[PayloadName]) -> Vec<&str> {
    names.iter().map(|name| name.to_str().unwrap()).collect()
}

/// Every release on each architecture, and whether it is at least the given one.
fn since(first: Release) -> impl Iterator<Item = (SimulatedXen, bool)> {
    let on = |architecture| move |release| SimulatedXen::builder(release).architecture(architecture).build();
    let x86 = Release::ALL.into_iter().map(on(Architecture::X86_64));
    // On Arm there is none in 4.7.
    let arm = Release::ALL.into_iter().skip(1).map(on(Architecture::AArch64));
    x86.chain(arm).map(move |xen| {
        let holds = xen.release() >= first;
        (xen, holds)
    })
}
