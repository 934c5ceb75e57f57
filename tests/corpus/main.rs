//! The inputs of the fuzz targets: each covers a path of its own, or failed once. Lists and dumps are tried in `src/fuzzing.rs`,
//! which has access to their decoders.
#![cfg(test)]

mod payload;

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_committed_file_is_read_without_surprise() {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/inputs/payload");
    let files: Vec<PathBuf> = inputs.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 200, "{}", files.len());
    for file in files {
        println!("{}", file.display());
        payload::check(&fs::read(file).unwrap());
    }
}
