//! The payload files for the commands. They have the same bytes on every host with the same Xen.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use xen_livepatch::BuildId;
use xen_livepatch::payload::{HookKind, PayloadVersion};
use xen_livepatch::sim::{FunctionPatch, HookCode, PayloadBuilder};

use super::host::PATCHED;

/// The directory of the files in dom0, which the tool runs in.
pub const DIRECTORY: &str = "/tmp/tool";

/// A function that is called only on request, so that a payload can fill it with no-ops.
pub const UNCALLED: &str = "xen_changeset";

pub const ON_XEN: [&str; 10] =
    ["hello", "replace", "nop", "debug", "described", "data", "two words", "a.b.c", "no-suffix", "stuffed"];
pub const ON_OTHERS: [&str; 3] = ["bye", "third", "on nop"];
/// Payloads that can be uploaded, but not applied.
pub const FAILING: [&str; 3] = ["refusing", "unwilling", "disappointed"];
/// Files that can't be uploaded, or not beside `hello`.
pub const REFUSED: [&str; 9] = ["foreign", "short", "noise", "empty", "old", "needy", "twin", "text", "a directory"];

#[derive(Clone, Debug)]
pub enum Entry {
    File(Vec<u8>),
    Directory,
}

impl Entry {
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::File(bytes) if bytes.is_empty())
    }
}

/// The files by their paths, as commands name them.
pub struct Files(BTreeMap<PathBuf, Entry>);

impl Files {
    pub fn new(xen: &BuildId) -> Self {
        let mut files = Self(BTreeMap::new());
        let named = |id: &str| PayloadBuilder::named(id, xen);
        let plain = |id: &str| named(id).function(FunctionPatch::returning(PATCHED, format!("-{id}")));
        let on = |id: &str, below: &str| plain(id).depends_on(named(below).build_id());
        let nop = FunctionPatch::nop(UNCALLED, 7);

        // It has writable data, so it can't be applied again after a revert.
        let hello = plain("hello").writable_data([1; 8]).metadata("LIVEPATCH_RULEZ", None).build();
        files.payload("hello", hello.clone());
        files.payload("bye", on("bye", "hello").build());
        files.payload("third", on("third", "bye").build());
        files.payload("replace", plain("replace").metadata("cumulative", Some("yes")).build());
        files.payload("nop", plain("nop").function(nop).build());
        files.payload("on nop", on("on nop", "nop").build());
        files.payload("debug", plain("debug").metadata("level", Some("3")).metadata("urgent", None).build());
        let author = "somebody with a long name, and a comma";
        let described =
            plain("described").metadata("a", Some("1")).metadata("b", Some("2")).metadata("c", Some(author));
        files.payload("described", described.metadata("=", Some("=|=")).build());
        files.payload("data", plain("data").bss(64).build());
        files.payload("two words", plain("two words").build());
        files.payload("a.b.c", plain("a.b.c").build());
        files.put("no-suffix", plain("no-suffix").build());
        files.payload("stuffed", plain("stuffed").padded_to(300_000).build());
        files.payload("wild", plain("wild").modinfo("key=two\nlines\0\x1b[31m\0tab\t=\u{e9}\0").build());
        files.put(".hidden", plain("hidden").build());
        files.put("deeper/x.y.z.livepatch", plain("deeper").build());
        files.put("...x", plain("dots").build());
        files.put(&format!("{}.livepatch", "m".repeat(127)), plain("longest").build());
        files.put(&format!("{}.livepatch", "m".repeat(128)), plain("too long").build());

        let hook = |id: &str, kind, result| plain(id).hook(kind, HookCode::returns(result)).build();
        files.payload("refusing", hook("refusing", HookKind::PreApply, -22));
        files.payload("unwilling", hook("unwilling", HookKind::PreApply, -95));
        let never = FunctionPatch::returning(PATCHED, "-never").expecting(&[0xcc; 5]);
        files.payload("disappointed", named("disappointed").function(never).build());
        files.payload("hooked", hook("hooked", HookKind::PostApply, 0));
        files.payload("marking", hook("marking", HookKind::PreApply, -11));

        let other = BuildId::new([0x5a; 20]);
        files.payload("foreign", PayloadBuilder::named("foreign", &other).build());
        files.payload("short", hello[..hello.len() / 2].to_vec());
        files.payload("noise", (0..4000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect());
        files.payload("empty", Vec::new());
        files.payload("old", plain("old").payload_version(PayloadVersion::V1).build());
        files.payload("needy", plain("needy").needs("nobody_has_this").build());
        // The build-id of another file.
        files.payload("twin", named("hello").function(FunctionPatch::returning(PATCHED, "-twin")).build());
        files.payload("text", b"#!/bin/sh\n# not a payload\n".to_vec());
        files.0.insert("a directory.livepatch".into(), Entry::Directory);
        files.0.insert("a directory".into(), Entry::Directory);
        files
    }

    fn payload(&mut self, id: &str, bytes: Vec<u8>) {
        self.put(&format!("{id}.livepatch"), bytes);
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.0.insert(path.into(), Entry::File(bytes));
    }

    /// The file at a path in a command.
    pub fn get(&self, path: &OsStr) -> Option<&Entry> {
        let path = Path::new(path);
        self.0.get(path.strip_prefix(DIRECTORY).unwrap_or(path))
    }

    pub fn write(&self) {
        for (path, entry) in &self.0 {
            let path = Path::new(DIRECTORY).join(path);
            match entry {
                Entry::File(bytes) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, bytes).unwrap();
                }
                Entry::Directory => fs::create_dir_all(path).unwrap(),
            }
        }
    }
}

/// The path of a payload's file in a command.
pub fn path_of(id: &str) -> String {
    if id == "no-suffix" { id.into() } else { format!("{id}.livepatch") }
}
