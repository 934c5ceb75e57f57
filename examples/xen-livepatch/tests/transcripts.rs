//! The transcripts of the tool in `transcripts/`: the output and the exit status of each command.
//! `TRYCMD=overwrite cargo test --test transcripts` regenerates them.
#![cfg(test)]

#[path = "cli/place.rs"]
mod place;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use trycmd::TestCases;
use trycmd::schema::Bin;

use place::place;

/// Other programs of the transcripts.
const PROGRAMS: [&str; 9] = ["chmod", "cmp", "cp", "ln", "ls", "mkdir", "rm", "sed", "truncate"];

// The only test of this program, since it changes the current directory.
#[test]
fn the_tool_does_what_its_transcripts_show() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_xen-livepatch"));
    let own = [
        ("xen-livepatch", tool),
        ("xen-livepatch-tool", "xen-livepatch-tool".into()),
        ("end-boot", package.join("tests/end-boot")),
    ];
    let programs: Vec<_> =
        own.into_iter().chain(PROGRAMS.map(|name| (name, Path::new("/usr/bin").join(name)))).collect();
    let mut transcripts: Vec<_> =
        fs::read_dir(package.join("transcripts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    transcripts.sort();
    assert!(transcripts.len() > 5, "{transcripts:?}");
    for transcript in transcripts {
        let (place, path) = place();
        env::set_current_dir(&place).unwrap();
        let bins = programs.iter().map(|(name, path)| (*name, Bin::Path(path.clone())));
        TestCases::new().env("PATH", path).register_bins(bins).case(transcript).run();
        env::set_current_dir(package).unwrap();
    }
}
