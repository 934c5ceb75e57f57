//! The inputs of the fuzz targets: each covers a path of its own, or failed once. Lists are tried in `src/fuzzing.rs`, which has
//! access to their decoder.
//!
//! `SEEDS=fuzz/corpus cargo test --test corpus` also writes the seeds of fuzzing into that directory.
#![cfg(test)]

mod payload;
mod seeds;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[test]
fn every_committed_file_is_read_without_surprise() {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/inputs/payload");
    let files: Vec<PathBuf> = inputs.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 100, "{}", files.len());
    for file in files {
        println!("{}", file.display());
        payload::check(&fs::read(file).unwrap());
    }
}

#[test]
fn every_seed_is_read_without_surprise() {
    for (name, bytes) in seeds::payloads() {
        println!("{name}");
        payload::check(&bytes);
    }
}

#[test]
fn seeds_are_small_and_have_names_of_their_own() {
    for (target, seeds) in [("payload", seeds::payloads()), ("list", seeds::lists()), ("dump", seeds::dumps())] {
        let to = env::var_os("SEEDS").map(|to| Path::new(&to).join(target));
        if let Some(to) = &to {
            fs::create_dir_all(to).unwrap();
        }
        let mut names = HashSet::new();
        for (name, bytes) in &seeds {
            assert!(names.insert(name) && bytes.len() <= 30_000, "{target}/{name}: {} bytes", bytes.len());
            if let Some(to) = &to {
                fs::write(to.join(name), bytes).unwrap();
            }
        }
    }
}
