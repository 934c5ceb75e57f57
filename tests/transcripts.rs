//! The tool, as its transcripts in `examples/xen-livepatch/transcripts/` show it: what a command prints, and its exit
//! status. Written anew with `TRYCMD=overwrite cargo test --test transcripts`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "cli/tool.rs"]
mod tool;

use std::env;
use std::fs;
use std::path::Path;

use trycmd::TestCases;
use trycmd::schema::Bin;

/// The one test here, since each transcript has a folder to work in.
#[test]
fn the_tool_does_what_its_transcripts_show() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/xen-livepatch/transcripts");
    let tool = Bin::Path(tool::tool());
    let mut transcripts: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    transcripts.sort();
    assert!(transcripts.len() > 5, "{transcripts:?}");
    for transcript in transcripts {
        let place = tempfile::tempdir().unwrap();
        env::set_current_dir(&place).unwrap();
        TestCases::new().register_bin("xen-livepatch", tool.clone()).case(transcript).run();
        env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    }
}
