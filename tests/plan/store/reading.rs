//! Files and directories as they are found.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

use xen_livepatch::plan::StoreFault;
use xen_livepatch::{Errno, ErrorKind, Payload, PayloadStore, StoredPayload};

use super::directory::{Directory, id, payload, payload_for, xen};

#[test]
fn the_directory_itself_must_be_there() {
    let directory = Directory::new();
    let error = PayloadStore::read(directory.0.join("none")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::File { .. }));
    assert_eq!(error.raw_errno(), Some(Errno::ENOENT));
    directory.put("file", b"");
    assert_eq!(PayloadStore::read(directory.0.join("file")).unwrap_err().raw_errno(), Some(Errno::ENOTDIR));
    let store = directory.read();
    assert!(store.payloads().is_empty() && store.problems().is_empty());
    assert!(directory.stack(&xen(0xa0)).is_empty());
}

#[test]
fn files_that_cannot_be_read_are_reported_beside_the_rest() {
    let directory = Directory::new();
    let outside = Directory::new();
    outside.put("good.livepatch", &payload(8, 0xa0));
    directory.put("good.livepatch", &payload(1, 0xa0));
    directory.put(".livepatch", &payload(2, 1));
    directory.put(format!("{}.livepatch", "n".repeat(128)), &payload(9, 1));
    directory.put("empty.livepatch", b"");
    directory.put("text.livepatch", b"no ELF");
    fs::create_dir(directory.path("folder.livepatch")).unwrap();
    File::create(directory.path("giant.livepatch")).unwrap().set_len(1 << 40).unwrap();
    nix::unistd::mkfifo(&directory.path("pipe.livepatch"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    directory.link("dangling.livepatch", "nothing");
    directory.link("device.livepatch", "/dev/zero");
    directory.link("circle.livepatch", "circle.livepatch");
    directory.link("out.livepatch", outside.0.join("good.livepatch"));
    directory.link("outside", &outside.0);
    directory.link("inside.livepatch", ".");
    directory.link("round", ".");
    directory.link("sub/up", "..");
    // Only payload files matter.
    directory.link("sub/nowhere", "nothing");
    directory.link("current", "/nowhere");
    directory.put("1/2/3/4/deep.livepatch", &payload(2, 1));
    directory.put("1/2/3/4/5/deeper.livepatch", &payload(3, 2));
    directory.put("ignored", b"");
    let long = format!("{}.livepatch", "n".repeat(128));
    let expected = [
        ("limit", "1/2/3/4/5"),
        ("unreadable", "circle.livepatch"),
        ("unreadable", "dangling.livepatch"),
        ("link", "device.livepatch"),
        ("empty", "empty.livepatch"),
        ("unreadable", "folder.livepatch"),
        ("too_large", "giant.livepatch"),
        ("link", "inside.livepatch"),
        ("invalid_name", &long),
        ("link", "out.livepatch"),
        ("link", "outside"),
        ("unreadable", "pipe.livepatch"),
        ("unreadable", "text.livepatch"),
    ]
    .map(|(word, path)| (word, path.to_owned()));
    assert_eq!(directory.problems(), expected.clone().map(|(_, path)| path));
    let outcome = directory.outcome(&xen(0xa0));
    assert_eq!((outcome.names, outcome.problems), (vec!["good".into(), "deep".into()], expected.to_vec()));
}

/// At boot, with nothing applied, one stray file must not keep all fixes out, and it must be named.
#[test]
fn the_rest_is_applied_beside_a_stray_file() {
    for (stray, contents) in [("empty.livepatch", &b""[..]), ("large.livepatch", &vec![0; Payload::MAX_SIZE + 1])] {
        let directory = Directory::new();
        directory.put("good.livepatch", &payload(1, 0xa0));
        directory.put(stray, contents);
        let wanted = directory.wanted(&xen(0xa0));
        assert_eq!((wanted.names().count(), wanted.problems().len()), (1, 1));
        assert!(wanted.problems()[0].to_string().contains(stray));
        assert!(serde_json::to_string(&wanted.problems()[0]).unwrap().contains(stray));
    }
}

#[test]
fn names_need_not_be_text_and_may_occur_twice() {
    let directory = Directory::new();
    directory.put(OsStr::from_bytes(b"\xff\n\x1b.livepatch"), &payload(1, 9));
    directory.put("one/same.livepatch", &payload(2, 0xa0));
    directory.put("two/same.livepatch", &payload(3, 2));
    let store = directory.read();
    let names: Vec<_> = store.payloads().iter().map(|stored| stored.name().as_bytes()).collect();
    assert_eq!(names, [&b"same"[..], b"same", b"\xff\n\x1b"]);
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    let text = wanted.problems()[0].to_string();
    assert!(text.contains("\\xff\\n\\u{1b}.livepatch"), "{text}");
    assert!(serde_json::to_string(&store).unwrap().contains("\\\\xff"));
}

#[test]
fn entries_and_bytes_are_bounded() {
    let directory = Directory::new();
    directory.put("a.livepatch", &payload(1, 0xa0));
    for number in 1..PayloadStore::MAX_ENTRIES {
        File::create(directory.0.join(format!("{number}"))).unwrap();
    }
    assert_eq!((directory.read().payloads().len(), directory.problems().len()), (1, 0));
    directory.put("more", b"");
    let store = directory.read();
    assert_eq!((store.payloads().len(), store.problems().len()), (0, 1));
    assert_eq!(store.problems()[0].path(), directory.0);
    assert!(matches!(store.problems()[0].fault(), StoreFault::Limit { .. }));

    let directory = Directory::new();
    let most = PayloadStore::MAX_BYTES / Payload::MAX_SIZE;
    for number in 0..=u8::try_from(most).unwrap() {
        let name = format!("{number}.livepatch");
        directory.put(&name, &payload(number, 0xa0));
        let file = File::options().write(true).open(directory.0.join(name)).unwrap();
        // Zeros that take no room on the disk.
        file.set_len(2 << 20).unwrap();
    }
    directory.put("a.livepatch", &vec![0; Payload::MAX_SIZE + 1]);
    let store = directory.read();
    assert_eq!((store.payloads().len(), store.problems().len()), (most, 2));
    assert_eq!(directory.problems(), ["99.livepatch", "a.livepatch"]);
    assert!(matches!(store.problems()[0].fault(), StoreFault::Limit { .. }));
}

#[test]
fn a_file_too_large_for_its_debug_sections_is_described() {
    let directory = Directory::new();
    directory.put("a.livepatch", &vec![0; Payload::MAX_SIZE + 1]);
    let store = directory.read();
    assert!(matches!(store.problems()[0].fault(), StoreFault::Unreadable { .. }), "no ELF file");
    let mut large = payload(1, 0xa0);
    large.resize(Payload::MAX_SIZE + 1, 0);
    directory.put("a.livepatch", &large);
    let store = directory.read();
    assert!(
        matches!(store.problems()[0].fault(), StoreFault::TooLarge { size, .. } if usize::try_from(*size) == Ok(large.len()))
    );
}

#[test]
fn files_with_the_same_contents_are_one() {
    let directory = Directory::new();
    directory.put("b.livepatch", &payload(1, 0xa0));
    fs::hard_link(directory.0.join("b.livepatch"), directory.path("sub/a.livepatch")).unwrap();
    directory.put("c.livepatch", &payload(1, 0xa0));
    directory.put("top.livepatch", &payload(2, 1));
    let store = directory.read();
    assert_eq!(directory.stack(&xen(0xa0)), ["b", "top"]);
    let paths: Vec<_> = store.payloads()[0].paths().map(|path| directory.relative(path)).collect();
    assert_eq!(paths, ["b.livepatch", "c.livepatch", "sub/a.livepatch"]);
    // The one that is chosen gives the name.
    directory.remove("top.livepatch");
    directory.link("livepatch.livepatch", "c.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["c"]);
    // With other contents it is another payload.
    let mut other = payload(1, 0xa0);
    other.push(0);
    directory.put("d.livepatch", &other);
    directory.remove("livepatch.livepatch");
    let (names, ambiguities) = directory.ambiguities(&xen(0xa0));
    assert_eq!(names, [""; 0]);
    assert!(ambiguities[0].to_string().contains("all have the build-id"), "{ambiguities:?}");
}

#[test]
fn files_of_xapi_have_the_names_that_xapi_gives_them() {
    let directory = Directory::new();
    let own = id(0xa0).to_string();
    let file = format!("{own}/lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch");
    directory.put(&file, &payload(1, 0xa0));
    directory.link(&format!("{own}/livepatch.livepatch"), "lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["lp_4.17.4-1.xs8-4.17.4-6.xs8"]);
    // And so if it is given by hand, through the link too.
    for path in [file, format!("{own}/livepatch.livepatch")] {
        let stored = StoredPayload::read(directory.0.join(path)).unwrap();
        assert_eq!(stored.name().to_string(), "lp_4.17.4-1.xs8-4.17.4-6.xs8");
    }
}

/// Two versions that the same link leads to one after the other have two names, so that one can replace the other.
#[test]
fn a_link_that_chooses_gives_no_name() {
    let directory = Directory::new();
    for (version, own) in [("v1", 1), ("v2", 2)] {
        directory.put(format!("{version}.livepatch"), &payload(own, 0xa0));
        let _ = fs::remove_file(directory.0.join("livepatch.livepatch"));
        directory.link("livepatch.livepatch", format!("{version}.livepatch"));
        let stored = StoredPayload::read(directory.0.join("livepatch.livepatch")).unwrap();
        assert_eq!(
            (stored.name().to_string(), directory.relative(stored.path())),
            (version.into(), format!("{version}.livepatch"))
        );
    }
    // Another link is a name of its own.
    directory.link("mine.livepatch", "v1.livepatch");
    assert_eq!(StoredPayload::read(directory.0.join("mine.livepatch")).unwrap().name().to_string(), "mine");
}

#[test]
fn every_error_about_a_file_names_it() {
    let directory = Directory::new();
    directory.put("empty.livepatch", b"");
    directory.put("text.livepatch", b"no ELF");
    let long = format!("{}.livepatch", "n".repeat(128));
    directory.put(&long, &payload(1, 0xa0));
    File::create(directory.path("giant.livepatch")).unwrap().set_len(1 << 40).unwrap();
    for name in ["empty.livepatch", "text.livepatch", &long, "giant.livepatch", "none.livepatch"] {
        let error = StoredPayload::read(directory.0.join(name)).unwrap_err();
        assert_eq!(error.file(), directory.0.join(name).to_str(), "{error}");
        assert_eq!(error.to_string().matches(name).count(), 1, "{error}");
    }
    assert_eq!(Payload::read(directory.0.join("empty.livepatch")).unwrap_err().kind(), &ErrorKind::EmptyPayload);
}

/// A package manager makes directories of links.
#[test]
fn links_out_of_the_directory_are_followed_if_asked_for() {
    let (directory, outside) = (Directory::new(), Directory::new());
    outside.put("store/xsa-500.livepatch", &payload(1, 0xa0));
    outside.put("store/xsa-501.livepatch", &payload(2, 0xa0));
    for name in ["xsa-500.livepatch", "xsa-501.livepatch"] {
        directory.link(name, outside.0.join("store").join(name));
    }
    directory.link("livepatch.livepatch", "xsa-501.livepatch");
    assert_eq!(directory.outcome(&xen(0xa0)).problems.len(), 3);
    let store = PayloadStore::read_following_links(&directory.0).unwrap();
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    assert!(wanted.problems().is_empty(), "{:?}", wanted.problems());
    assert_eq!(wanted.names().map(ToString::to_string).collect::<Vec<_>>(), ["xsa-501"]);
    assert_eq!(store.payloads()[0].path(), outside.0.join("store/xsa-500.livepatch"));
    directory.link("all.livepatch", &outside.0);
    assert_eq!(PayloadStore::read_following_links(&directory.0).unwrap().problems().len(), 1, "no directories");
}

/// A file that the kernel makes up is shorter than announced, as one that is being replaced in place.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let error = Payload::read("/sys/devices/system/cpu/online").unwrap_err();
    assert!(error.to_string().contains("it changed while it was read"), "{error}");
}

/// Another Xen's payloads are listed, so that one that was meant for this Xen is noticed.
#[test]
fn nothing_for_this_xen_is_not_nothing_at_all() {
    let directory = Directory::new();
    let counts = |directory: &Directory| {
        let store = directory.read();
        (store.for_target(&xen(0xa0)).len(), store.for_another(&xen(0xa0)).len(), store.payloads().len())
    };
    assert_eq!(counts(&directory), (0, 0, 0));
    directory.put("xsa-999.livepatch", &payload_for(9, 0xb0, 0xb0));
    assert_eq!(counts(&directory), (0, 1, 1));
    directory.put("xsa-500.livepatch", &payload(1, 0xa0));
    assert_eq!(counts(&directory), (1, 1, 2));
    let store = directory.read();
    assert_eq!(directory.relative(store.for_another(&xen(0xa0))[0].path()), "xsa-999.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["xsa-500"]);
}
