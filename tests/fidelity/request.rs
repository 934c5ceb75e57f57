//! Requests that no client makes.

use super::random::Random;
use super::recipe::{Ingredients, Recipe};
use crate::prelude::*;

/// The value of the list's version before the hypercall, which remains if Xen does not write it.
const UNTOUCHED: u32 = 0xdead_beef;
/// The offset of the list's version.
pub const LIST_VERSION: usize = 16;

pub const ACTION_TIMEOUT: u32 = 2_000_000_000;
/// For an action that may be kept from its end by something beside it.
pub const UNLOADING_TIMEOUT: u32 = 50_000_000;

#[derive(Clone, Debug)]
pub struct Request {
    /// Added to the right interface version.
    pub interface: u32,
    pub flags: u32,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Upload {
        name: Name,
        recipe: Box<Recipe>,
        size: Option<u64>,
    },
    Get(Name),
    List {
        start: u32,
        rows: u32,
        pad: u32,
        totals: [u32; 2],
        room: Room,
    },
    Act {
        name: Name,
        command: u32,
        timeout: u32,
        flags: u32,
        pad: u32,
    },
    /// No operation of any release.
    Other(u32),
    /// `readconsole`: incremental or not, how many bytes, and whether there is memory for them. The contents of the log differ.
    Console {
        incremental: bool,
        count: u32,
        room: bool,
        pad: u16,
    },
}

/// A name as it goes over, its NUL among the bytes or not.
#[derive(Clone, Debug)]
pub struct Name {
    pub bytes: Vec<u8>,
    pub size: Option<u16>,
    pub pad: [u16; 3],
}

/// The memory for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// None at all: null.
    None,
    /// At most this many bytes of the array of this number, before a page that can't be accessed. Numbers are not cut
    /// in two: of such a one 4.14 and 4.17 write nothing, 4.20 what fits.
    Short(usize, usize),
}

/// Payloads that are ever loaded together, and bytes of metadata that one has at most.
const PAYLOADS: usize = 16;
const METADATA: usize = 512;
/// The offsets of the addresses of status, name, len, metadata and its len, and the bytes of each in a row.
const ARRAYS: [(usize, usize); 5] = [(40, 8), (48, 128), (56, 4), (64, METADATA), (72, 4)];
/// The same before 4.14, without metadata.
const OLD_ARRAYS: [(usize, usize); 3] = [(32, 8), (40, 128), (48, 4)];

/// Bytes of an array that are written at once.
const WHOLE: [usize; 5] = [8, 1, 4, 1, 4];

impl Name {
    /// A right one.
    pub fn of(name: &[u8]) -> Self {
        Self { bytes: [name, &[0]].concat(), size: None, pad: [0; 3] }
    }

    /// Right or wrong, of a name.
    pub fn random(random: &mut Random, name: &[u8]) -> Self {
        let good = Self::of(name);
        if random.percent(60) {
            return good;
        }
        match random.below(8) {
            0 => Self { size: Some(0), ..good },
            1 => Self { size: Some(129), ..good },
            2 => Self { size: Some(128), ..good },
            3 => Self { bytes: name.to_vec(), ..good },
            4 => Self { bytes: [name, b"\0more\0"].concat(), ..good },
            5 => {
                let mut pad = [0; 3];
                pad[random.below(3)] = random.of(&[1, 0x8000]);
                Self { pad, ..good }
            }
            6 => Self { bytes: vec![0], ..good },
            _ => Self { bytes: [&[b'x'; 127][..], &random.of(&[[0], [b'x']])].concat(), ..good },
        }
    }
}

impl Body {
    /// An action with time enough, and nothing unusual about it.
    pub fn action(name: Name, command: u32) -> Self {
        Self::Act { name, command, timeout: ACTION_TIMEOUT, flags: 0, pad: 0 }
    }
}

impl Request {
    pub fn new(body: Body) -> Self {
        Self { interface: 0, flags: 0, body }
    }

    /// Returns true for an action that works after its hypercall.
    pub fn may_begin_work(&self) -> bool {
        matches!(self.body, Body::Act { command: 2..=4, .. })
    }

    /// The kind of request, in a word.
    pub fn kind(&self) -> String {
        match &self.body {
            Body::Upload { .. } => "UPLOAD".into(),
            Body::Get(_) => "GET".into(),
            Body::List { .. } => "LIST".into(),
            Body::Act { command, .. } => format!("ACTION {command}"),
            Body::Other(_) => "other request".into(),
            Body::Console { .. } => "readconsole".into(),
        }
    }

    /// The sysctl, for the host that this is of.
    pub fn sysctl(&self, release: Release, of: &Ingredients) -> RawSysctl {
        let operation = match self.body {
            Body::Upload { .. } | Body::Console { .. } => 0,
            Body::Get(_) => 1,
            Body::List { .. } => 2,
            Body::Act { .. } => 3,
            Body::Other(operation) => operation,
        };
        let interface = release.interface_version().wrapping_add(self.interface);
        if let Body::Console { incremental, count, room, pad } = self.body {
            let sysctl = RawSysctl::read_console(release).word(4, interface).bytes(9, &[incremental.into()]);
            let sysctl = sysctl.bytes(10, &pad.to_le_bytes()).word(24, count);
            return if room { sysctl.memory(16, vec![0; count as usize]) } else { sysctl };
        }
        let sysctl = RawSysctl::livepatch(release, operation).word(4, interface).word(12, self.flags);
        match &self.body {
            Body::Upload { name, recipe, size } => {
                let file = recipe.build(of);
                let size = size.unwrap_or(file.len() as u64);
                with_name(sysctl, name).bytes(32, &size.to_le_bytes()).memory(40, file)
            }
            Body::Get(name) => with_name(sysctl, name),
            Body::List { start, rows, pad, totals, room } => {
                let sysctl = sysctl.word(LIST_VERSION, UNTOUCHED).word(20, *start).word(24, *rows).word(28, *pad);
                let (mut sysctl, arrays) = if release < Release::V4_14.at(0) {
                    (sysctl, &OLD_ARRAYS[..])
                } else {
                    (sysctl.word(32, totals[0]).word(36, totals[1]), &ARRAYS[..])
                };
                let count = PAYLOADS.min(*rows as usize);
                for (array, &(offset, row)) in arrays.iter().enumerate() {
                    let len = match room {
                        Room::None => continue,
                        Room::Short(short, len) if *short == array => (row * count).min(len - len % WHOLE[array]),
                        _ => row * count,
                    };
                    sysctl = sysctl.memory(offset, vec![0; len]);
                }
                sysctl
            }
            Body::Act { name, command, timeout, flags, pad } => {
                let sysctl = with_name(sysctl, name).word(32, *command).word(36, *timeout);
                sysctl.word(40, *flags).word(44, *pad)
            }
            Body::Other(_) | Body::Console { .. } => sysctl,
        }
    }

    /// Counts the list's version from that of another time, and leaves out what the log says.
    pub fn since(&self, version: u32, mut answer: RawAnswer) -> RawAnswer {
        if matches!(self.body, Body::Console { .. }) {
            answer.block.fill(0);
            answer.memory.clear();
            return answer;
        }
        let now = word(&answer, LIST_VERSION);
        if matches!(self.body, Body::List { .. }) && now != UNTOUCHED {
            answer.block[LIST_VERSION..LIST_VERSION + 4].copy_from_slice(&now.wrapping_sub(version).to_le_bytes());
        }
        answer
    }

    /// Returns true if Xen stopped early, as it may when the CPU is needed, and has to be called again.
    pub fn is_cut_short(&self, answer: &RawAnswer) -> bool {
        let Body::List { rows: wanted @ 1.., .. } = self.body else { return false };
        answer.result.is_ok_and(|rows| rows < wanted && word(answer, 24) > 0)
    }
}

pub fn word(answer: &RawAnswer, offset: usize) -> u32 {
    u32::from_le_bytes(answer.block[offset..offset + 4].try_into().unwrap())
}

fn with_name(sysctl: RawSysctl, name: &Name) -> RawSysctl {
    let mut sysctl = sysctl.name(&name.bytes);
    if let Some(size) = name.size {
        sysctl = sysctl.bytes(24, &size.to_le_bytes());
    }
    let pad: Vec<u8> = name.pad.iter().flat_map(|pad| pad.to_le_bytes()).collect();
    sysctl.bytes(26, &pad)
}
