//! Requests written by hand, byte by byte at literal offsets, and the answers of each release.

use super::*;
use crate::payload::{HookKind, PayloadVersion};

mod actions;
mod arm;
mod faults;
mod forks;
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

/// A sysctl in the making, with the memory that it points into.
struct Request {
    block: HypercallBuffer,
    memory: Vec<HypercallBuffer>,
}

impl Request {
    fn livepatch(xen: &SimulatedXen, operation: u32) -> Self {
        Self::sysctl(xen, 27).word(8, operation)
    }

    fn sysctl(xen: &SimulatedXen, command: u32) -> Self {
        let request = Self { block: HypercallBuffer::plain(4096, End::Guarded).unwrap(), memory: Vec::new() };
        request.word(0, command).word(4, xen.release().interface_version())
    }

    fn bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.block.as_mut_slice()[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn word(self, offset: usize, word: u32) -> Self {
        self.bytes(offset, &word.to_le_bytes())
    }

    fn long(self, offset: usize, long: u64) -> Self {
        self.bytes(offset, &long.to_le_bytes())
    }

    /// A name with its NUL, after the sysctl in the same page.
    fn name(self, name: &str) -> Self {
        let with_nul = [name.as_bytes(), &[0]].concat();
        let handle = self.block.address() + 512;
        self.bytes(512, &with_nul).long(16, handle).bytes(24, &u16::try_from(with_nul.len()).unwrap().to_le_bytes())
    }

    /// Memory with these bytes, whose handle goes to the offset.
    fn buffer(mut self, offset: usize, bytes: &[u8]) -> Self {
        let mut buffer = HypercallBuffer::plain(bytes.len(), End::Guarded).unwrap();
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let handle = buffer.address();
        self.memory.push(buffer);
        self.long(offset, handle)
    }

    fn send(&mut self, xen: &SimulatedXen) -> Result<u32, Errno> {
        let mut memory: Vec<_> = self.memory.iter_mut().collect();
        xen.sysctl(&mut Sysctl::new(&mut self.block, &mut memory))
    }

    fn out(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.block.as_slice()[offset..offset + 4].try_into().unwrap())
    }
}

fn upload(xen: &SimulatedXen, name: &str, payload: &[u8]) -> Result<u32, Errno> {
    Request::livepatch(xen, 0).name(name).long(32, u64::try_from(payload.len()).unwrap()).buffer(40, payload).send(xen)
}

/// State and rc.
fn get(xen: &SimulatedXen, name: &str) -> Result<(u32, i32), Errno> {
    let mut request = Request::livepatch(xen, 1).name(name);
    request.send(xen)?;
    Ok((request.out(32), i32::from_le_bytes(request.out(36).to_le_bytes())))
}

fn action(xen: &SimulatedXen, name: &str, command: u32) -> Result<u32, Errno> {
    Request::livepatch(xen, 3).name(name).word(32, command).send(xen)
}

fn action_with(xen: &SimulatedXen, name: &str, command: u32, timeout: u32, flags: u32) -> Result<u32, Errno> {
    Request::livepatch(xen, 3).name(name).word(32, command).word(36, timeout).word(40, flags).send(xen)
}

/// An action that has to be accepted, and its end.
fn done(xen: &SimulatedXen, name: &str, command: u32) -> (u32, i32) {
    assert_eq!(action(xen, name, command), Ok(0), "{name} {command}");
    xen.finish_action();
    get(xen, name).unwrap()
}

/// A payload of the version that the release takes, patching what `XENVER_extraversion` tells.
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
