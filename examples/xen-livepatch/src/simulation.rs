//! A simulated Xen whose state is kept in a directory between calls.

use std::fs;
use std::path::{Path, PathBuf};

use xen_livepatch::sim::SimulatedXen;

use crate::failure::Failure;
use crate::files;
use crate::memory::Memory;
use crate::terminal::{command, shown};

/// The file with the state: a line with a checksum, and the state as JSON.
const STATE: &str = "xen.state";

/// The first line, before the checksum.
const HEADING: &str = "xen-livepatch simulation, checksum ";

/// Enough for a hundred of the largest payloads, whose bytes are kept as decimal numbers.
const MOST_BYTES: u64 = 1 << 30;

pub(crate) struct Simulation {
    file: PathBuf,
    xen: SimulatedXen,
    before: Vec<u8>,
}

impl Simulation {
    /// Makes a new directory, or takes one in which no simulated Xen is.
    pub(crate) fn create(directory: &Path, xen: &SimulatedXen) -> Result<(), Failure> {
        let file = directory.join(STATE);
        if file.exists() {
            return Err(Failure::new("exists", format_args!("{} is a simulated Xen already", shown(directory))));
        }
        fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))?;
        // Knowledge of a simulated Xen that was here before is of no use for this one.
        Memory::new(Some(directory)).clear();
        write(&file, &encode(xen)?)
    }

    /// The file to lock before [`open`](Self::open).
    pub(crate) fn lock_file(directory: &Path) -> Result<PathBuf, Failure> {
        if directory.join(STATE).exists() {
            return Ok(directory.join("lock"));
        }
        let (directory, command) = (shown(directory), command());
        let text = format!("{directory} is not a simulated Xen; make one: {command} simulate new {directory}");
        Err(Failure::new("no_simulation", text))
    }

    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let file = directory.join(STATE);
        let (before, _) = files::read(&file, MOST_BYTES).map_err(|error| Failure::file(&file, &error))?;
        let xen = decode(&before).map_err(|error| {
            let again = format!("make a new one: {} simulate new DIR", command());
            Failure::new("no_simulation", format_args!("{}: {error}; {again}", shown(&file)))
        })?;
        Ok(Self { file, xen, before })
    }

    pub(crate) fn xen(&self) -> &SimulatedXen {
        &self.xen
    }

    /// Saves the state for the next call, unless it has not changed. After an error the file has the state before.
    pub(crate) fn save(self) -> Result<(), Failure> {
        let state = encode(&self.xen)?;
        if state == self.before { Ok(()) } else { write(&self.file, &state) }
    }
}

fn encode(xen: &SimulatedXen) -> Result<Vec<u8>, Failure> {
    let state = serde_json::to_string(xen).map_err(|error| Failure::new("no_simulation", error))?;
    Ok(format!("{HEADING}{:016x}\n{state}", checksum(&state)).into_bytes())
}

fn decode(bytes: &[u8]) -> Result<SimulatedXen, String> {
    let text = core::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix(HEADING));
    let (sum, state) = text.and_then(|text| text.split_once('\n')).ok_or("this is no simulated Xen")?;
    if sum != format!("{:016x}", checksum(state)) {
        return Err("the simulated Xen is damaged: its checksum is wrong".into());
    }
    serde_json::from_str(state).map_err(|error| format!("the simulated Xen can't be used: {error}"))
}

/// FNV-1a: a change of any one byte changes the result.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::replace(file, 0o600, bytes).map_err(|error| Failure::file(file, &error))
}

#[cfg(test)]
mod tests {
    use xen_livepatch::Release;

    use super::*;

    #[test]
    fn every_damaged_byte_is_found() {
        let good = encode(&SimulatedXen::builder(Release::V4_17).console_size(100).build()).unwrap();
        assert!(decode(&good).is_ok());
        let error = |bytes: &[u8]| decode(bytes).map(drop).unwrap_err();
        for at in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                assert!(decode(&bytes).is_err(), "{flip:#x} at {at}");
            }
            assert!(decode(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(error(&[&good[..], b" "].concat()).contains("checksum"));
        assert!(error(&[&good[..], &good[..]].concat()).contains("checksum"));
        assert_eq!(error(b"something else"), "this is no simulated Xen");
    }

    #[test]
    fn other_formats_are_named() {
        let good = String::from_utf8(encode(&SimulatedXen::new(Release::V4_17)).unwrap()).unwrap();
        let (_, state) = good.split_once('\n').unwrap();
        let newer = state.replacen("\"format\":1", "\"format\":2", 1);
        let error = decode(format!("{HEADING}{:016x}\n{newer}", checksum(&newer)).as_bytes()).map(drop).unwrap_err();
        assert!(error.contains("saved in format 2") && error.contains("reads format 1"), "{error}");
    }
}
