//! The transcripts of the tool in `transcripts/`: the output and the exit status of each command.
//! `TRYCMD=overwrite cargo test --test transcripts` regenerates them.
#![cfg(test)]

use std::env;
use std::fs;
use std::path::Path;

use trycmd::TestCases;
use trycmd::schema::Bin;

// The only test of this program, since it changes the current directory.
#[test]
fn the_tool_does_what_its_transcripts_show() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let tool = Bin::Path(env!("CARGO_BIN_EXE_xen-livepatch").into());
    let mut transcripts: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    transcripts.sort();
    assert!(transcripts.len() > 5, "{transcripts:?}");
    for transcript in transcripts {
        let place = tempfile::tempdir().unwrap();
        env::set_current_dir(&place).unwrap();
        TestCases::new().register_bin("xen-livepatch", tool.clone()).case(transcript).run();
        env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    }
}
