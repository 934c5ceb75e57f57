//! Folders of payloads: what is read, what is reported, and what to have applied.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use xen_livepatch::plan::Ambiguity;
use xen_livepatch::sim::{Defect, PayloadBuilder};
use xen_livepatch::{BuildId, Errno, ErrorKind, Payload, PayloadStore};

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("xen-livepatch-store-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn put(&self, name: impl AsRef<Path>, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(name)).unwrap();
    }

    fn read(&self) -> PayloadStore {
        PayloadStore::read(&self.0).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        let store = self.read();
        store.problems().iter().map(|(path, _)| self.relative(path)).collect()
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.0).unwrap().display().to_string()
    }

    fn stack(&self, xen: &BuildId) -> Result<Vec<String>, Ambiguity> {
        let store = self.read();
        store.stack_for(xen).map(|stack| stack.iter().map(|stored| self.relative(stored.path())).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(byte: u8) -> BuildId {
    BuildId::new([byte; 20])
}

/// A payload for Xen 0xa0.
fn payload(own: u8, base: u8) -> Vec<u8> {
    PayloadBuilder::new(&id(own), &id(base), &id(0xa0)).build()
}

/// One for Xen 4.13 or older, which does not say for which Xen it is.
fn old_payload(own: u8, base: u8) -> Vec<u8> {
    PayloadBuilder::new(&id(own), &id(base), &id(0xa0))
        .for_release((4, 11))
        .defect(".livepatch.xen_depends", Defect::Missing)
        .build()
}

#[test]
fn the_folder_itself_must_be_there() {
    let folder = Folder::new();
    let error = PayloadStore::read(folder.0.join("none")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::File { .. }));
    assert_eq!(error.raw_errno(), Some(Errno::ENOENT));
    folder.put("file", b"");
    assert_eq!(PayloadStore::read(folder.0.join("file")).unwrap_err().raw_errno(), Some(Errno::ENOTDIR));
    let store = folder.read();
    assert!(store.payloads().is_empty() && store.problems().is_empty());
    assert!(store.stack_for(&id(0xa0)).unwrap().is_empty());
}

#[test]
fn a_flat_folder_makes_a_chain_per_xen() {
    let folder = Folder::new();
    folder.put("b.livepatch", &payload(1, 0xa0));
    folder.put("a.livepatch", &payload(2, 1));
    folder.put(".half-written.livepatch", b"\x7fELF");
    folder.put("c.livepatch", &PayloadBuilder::new(&id(3), &id(0xb0), &id(0xb0)).build());
    folder.put("README", b"no payload");
    assert_eq!(folder.stack(&id(0xa0)).unwrap(), ["b.livepatch", "a.livepatch"]);
    assert_eq!(folder.stack(&id(0xb0)).unwrap(), ["c.livepatch"]);
    assert!(folder.stack(&id(0xc0)).unwrap().is_empty());
    let store = folder.read();
    assert_eq!((store.payloads().len(), store.problems().len(), store.for_xen(&id(0xa0)).len()), (3, 0, 2));
}

#[test]
fn payloads_that_name_no_xen_are_for_that_of_their_chain() {
    let folder = Folder::new();
    folder.put("x.livepatch", &old_payload(1, 0xa0));
    folder.put("y.livepatch", &old_payload(2, 1));
    folder.put("z.livepatch", &old_payload(3, 9));
    let store = folder.read();
    assert!(store.payloads().iter().all(|stored| stored.payload().xen_depends().is_none()));
    assert_eq!(store.for_xen(&id(0xa0)).len(), 2);
    assert_eq!(folder.stack(&id(0xa0)).unwrap(), ["x.livepatch", "y.livepatch"]);
}

#[test]
fn a_link_decides() {
    let folder = Folder::new();
    let xen = id(0xa0);
    let own = xen.to_string();
    // Cumulative: both go on Xen.
    folder.put(format!("{own}/one.livepatch"), &payload(1, 0xa0));
    folder.put(format!("{own}/two.livepatch"), &payload(2, 0xa0));
    folder.put(format!("{}/one.livepatch", id(0xb0)), &PayloadBuilder::new(&id(3), &id(0xb0), &id(0xb0)).build());
    assert!(matches!(folder.stack(&xen), Err(Ambiguity::SameBase { payloads, .. }) if payloads.len() == 2));
    let link = format!("{own}/livepatch.livepatch");
    folder.link(&link, "two.livepatch");
    assert_eq!(folder.stack(&xen).unwrap(), [format!("{own}/two.livepatch")]);
    let store = folder.read();
    assert_eq!(store.payloads().len(), 3, "reached twice, counts once");
    let chosen: Vec<_> = store.payloads().iter().filter(|stored| stored.is_chosen()).collect();
    assert_eq!((chosen.len(), chosen[0].name().to_string().as_str()), (1, "two"));
    // What the chosen one goes on is below it.
    folder.put(format!("{own}/two.livepatch"), &payload(2, 1));
    assert_eq!(folder.stack(&xen).unwrap().len(), 2);
    folder.put(format!("{own}/two.livepatch"), &payload(2, 9));
    assert!(matches!(folder.stack(&xen), Err(Ambiguity::MissingBase { .. })));
    folder.link("livepatch.livepatch", format!("{own}/one.livepatch"));
    assert!(matches!(folder.stack(&xen), Err(Ambiguity::Links(links)) if links.len() == 2));
    fs::remove_file(folder.path("livepatch.livepatch")).unwrap();
    fs::remove_file(folder.path(format!("{own}/two.livepatch"))).unwrap();
    assert!(matches!(folder.stack(&xen), Err(Ambiguity::BrokenLink(_))));
    assert_eq!(folder.problems(), [link]);
}

#[test]
fn ambiguity_is_named() {
    for (files, expected) in [
        (&[(1, 0xa0), (2, 0xa0)][..], "these payloads all go on"),
        (&[(1, 0xa0), (1, 0xa0)], "these payloads all have the build-id"),
        (&[(1, 9)], "is not among"),
        (&[(1, 2), (2, 1)], "in a circle"),
        (&[(1, 1)], "in a circle"),
        (&[(3, 0xa0), (1, 2), (2, 1)], "in a circle"),
    ] {
        let folder = Folder::new();
        for (number, (own, base)) in files.iter().enumerate() {
            folder.put(format!("{number}.livepatch"), &payload(*own, *base));
        }
        let text = folder.stack(&id(0xa0)).map_err(|ambiguity| ambiguity.to_string());
        assert!(matches!(&text, Err(text) if text.contains(expected)), "{files:?}: {text:?}");
    }
}

/// Only what goes round in a circle, not what was put on top of it.
#[test]
fn a_circle_is_named_without_what_is_above_it() {
    let folder = Folder::new();
    for (name, own, base) in [("top", 3, 2), ("two", 2, 1), ("one", 1, 2)] {
        folder.put(format!("{name}.livepatch"), &payload(own, base));
    }
    folder.link("livepatch.livepatch", "top.livepatch");
    let Err(Ambiguity::Cycle(paths)) = folder.stack(&id(0xa0)) else { panic!("it goes round for ever") };
    let names: Vec<_> = paths.iter().map(|path| folder.relative(path)).collect();
    assert_eq!(names, ["two.livepatch", "one.livepatch"]);
}

/// Payloads for 4.13 and older need not say which Xen they are for.
#[test]
fn a_payload_in_the_folder_of_a_xen_is_not_lost_for_its_base() {
    let folder = Folder::new();
    let own = id(0xa0).to_string();
    folder.put(format!("{own}/one.livepatch"), &old_payload(1, 0xa0));
    folder.put(format!("{own}/three.livepatch"), &old_payload(3, 2));
    assert!(matches!(folder.stack(&id(0xa0)), Err(Ambiguity::MissingBase { base: Some(base), .. }) if base == id(2)));
    folder.put("elsewhere/two.livepatch", &old_payload(2, 1));
    assert_eq!(folder.stack(&id(0xa0)).unwrap().len(), 3);
}

#[test]
fn what_cannot_be_read_is_reported_beside_the_rest() {
    let folder = Folder::new();
    let outside = Folder::new();
    outside.put("good.livepatch", &payload(8, 0xa0));
    folder.put("good.livepatch", &payload(1, 0xa0));
    folder.put(".livepatch", &payload(2, 1));
    folder.put(format!("{}.livepatch", "n".repeat(128)), &payload(2, 1));
    folder.put("empty.livepatch", b"");
    folder.put("text.livepatch", b"no ELF");
    fs::create_dir(folder.path("folder.livepatch")).unwrap();
    File::create(folder.path("giant.livepatch")).unwrap().set_len(1 << 40).unwrap();
    nix::unistd::mkfifo(&folder.path("pipe.livepatch"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    folder.link("dangling.livepatch", "nothing");
    folder.link("device.livepatch", "/dev/zero");
    folder.link("circle.livepatch", "circle.livepatch");
    folder.link("out.livepatch", outside.0.join("good.livepatch"));
    folder.link("outside", &outside.0);
    folder.link("inside.livepatch", ".");
    folder.link("round", ".");
    folder.link("sub/up", "..");
    folder.link("sub/nowhere", "nothing");
    folder.put("1/2/3/4/deep.livepatch", &payload(2, 1));
    folder.put("1/2/3/4/5/deeper.livepatch", &payload(3, 2));
    folder.put("ignored", b"");
    let long = format!("{}.livepatch", "n".repeat(128));
    let expected = [
        "1/2/3/4/5",
        "circle.livepatch",
        "dangling.livepatch",
        "device.livepatch",
        "empty.livepatch",
        "folder.livepatch",
        "giant.livepatch",
        "inside.livepatch",
        &long,
        "out.livepatch",
        "outside",
        "pipe.livepatch",
        "sub/nowhere",
        "text.livepatch",
    ];
    assert_eq!(folder.problems(), expected);
    assert_eq!(folder.stack(&id(0xa0)).unwrap(), ["good.livepatch", "1/2/3/4/deep.livepatch"]);
}

#[test]
fn names_need_not_be_text_and_may_occur_twice() {
    let folder = Folder::new();
    folder.put(OsStr::from_bytes(b"\xff\n\x1b.livepatch"), &payload(1, 9));
    folder.put("one/same.livepatch", &payload(2, 0xa0));
    folder.put("two/same.livepatch", &payload(3, 2));
    let store = folder.read();
    let names: Vec<_> = store.payloads().iter().map(|stored| stored.name().as_bytes()).collect();
    assert_eq!(names, [&b"same"[..], b"same", b"\xff\n\x1b"]);
    let text = store.stack_for(&id(0xa0)).unwrap_err().to_string();
    assert!(text.contains("\\xff\\n\\u{1b}.livepatch"), "{text}");
    assert!(serde_json::to_string(&store).unwrap().contains("\\\\xff"));
}

#[test]
fn entries_and_bytes_are_bounded() {
    let folder = Folder::new();
    folder.put("a.livepatch", &payload(1, 0xa0));
    for number in 1..PayloadStore::MAX_ENTRIES {
        File::create(folder.0.join(format!("{number}"))).unwrap();
    }
    assert_eq!((folder.read().payloads().len(), folder.problems().len()), (1, 0));
    folder.put("more", b"");
    let store = folder.read();
    assert_eq!((store.payloads().len(), store.problems().len()), (0, 1));
    assert_eq!(store.problems()[0].0, folder.0);

    let folder = Folder::new();
    folder.put("0.livepatch", &PayloadBuilder::new(&id(1), &id(2), &id(3)).padded_to(Payload::MAX_SIZE).build());
    let most = PayloadStore::MAX_BYTES / Payload::MAX_SIZE;
    for number in 1..=most {
        fs::hard_link(folder.0.join("0.livepatch"), folder.0.join(format!("{number}.livepatch"))).unwrap();
    }
    folder.put("a.livepatch", &vec![0; Payload::MAX_SIZE + 1]);
    let store = folder.read();
    assert_eq!((store.payloads().len(), store.problems().len()), (most, 2));
    let (_, too_large) = &store.problems()[1];
    assert!(matches!(too_large.kind(), ErrorKind::PayloadTooLarge { .. }), "{too_large}");
    assert_eq!(folder.relative(&store.problems()[0].0), "99.livepatch");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Xen is 0; payloads have build-ids and bases of a few numbers.
    #[test]
    fn a_stack_is_whole_and_valid_or_the_ambiguity_is_there(forest in prop::collection::vec((0..7_u8, 0..7_u8), 0..6)) {
        let folder = Folder::new();
        for (number, (own, base)) in forest.iter().enumerate() {
            let bytes = PayloadBuilder::new(&id(*own), &id(*base), &id(0)).build();
            folder.put(format!("{number}.livepatch"), &bytes);
        }
        let numbers = |paths: &[PathBuf]| -> Vec<(u8, u8)> {
            paths.iter().map(|path| forest[path.file_stem().unwrap().to_str().unwrap().parse::<usize>().unwrap()]).collect()
        };
        let store = folder.read();
        match store.stack_for(&id(0)) {
            Ok(stack) => {
                prop_assert_eq!(stack.len(), forest.len());
                let mut top = id(0);
                for stored in stack {
                    prop_assert_eq!(stored.payload().depends(), Some(&top));
                    top = stored.payload().build_id().unwrap().clone();
                }
            }
            Err(ambiguity) => {
                let found = numbers(ambiguity.paths());
                match ambiguity {
                    Ambiguity::SameBase { base, .. } => {
                        prop_assert!(found.len() > 1 && found.iter().all(|(_, on)| id(*on) == base));
                    }
                    Ambiguity::SameBuildId { build_id, .. } => {
                        prop_assert!(found.len() > 1 && found.iter().all(|(own, _)| id(*own) == build_id));
                    }
                    Ambiguity::MissingBase { .. } => {
                        prop_assert!(found[0].1 != 0 && forest.iter().all(|(own, _)| *own != found[0].1));
                    }
                    Ambiguity::Cycle(_) => {
                        for (number, (_, base)) in found.iter().enumerate() {
                            prop_assert_eq!(*base, found[(number + 1) % found.len()].0);
                        }
                    }
                    other => prop_assert!(false, "{}", other),
                }
            }
        }
    }
}
