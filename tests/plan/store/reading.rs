//! Files and directories as they are found.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

use super::directory::{Directory, payload, payload_for, xen};
use crate::prelude::*;

#[test]
fn the_directory_itself_must_be_there() {
    let directory = Directory::new();
    directory.put("file", b"");
    for (name, errno) in [("none", Errno::ENOENT), ("file", Errno::ENOTDIR)] {
        let error = PayloadStore::read(directory.path(name)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::File { .. }));
        assert_eq!(error.raw_errno(), Some(errno));
    }
    assert!(directory.read().payloads().is_empty());
    assert_eq!(directory.summary(&xen(0xa0)), "");
}

#[test]
fn files_that_cannot_be_read_are_reported_beside_the_rest() {
    let outside = Directory::of([("good", payload(8, 0xa0))]);
    let directory = Directory::of([("good", payload(1, 0xa0))]);
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
    directory.link("out.livepatch", outside.path("good.livepatch"));
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
    assert_eq!(directory.problems(), expected);
    let problems = expected.map(|(word, path)| format!(" | {word} {path}")).concat();
    assert_eq!(directory.summary(&xen(0xa0)), format!("good deep{problems}"));
}

#[test]
fn names_need_not_be_text_and_may_occur_twice() {
    let directory = Directory::of([("one/same", payload(2, 0xa0)), ("two/same", payload(3, 2))]);
    directory.put(OsStr::from_bytes(b"\xff\n\x1b.livepatch"), &payload(1, 9));
    let store = directory.read();
    let names: Vec<_> = store.payloads().iter().map(|stored| stored.name().as_bytes()).collect();
    assert_eq!(names, [&b"same"[..], b"same", b"\xff\n\x1b"]);
    let text = directory.wanted(&xen(0xa0)).problems()[0].to_string();
    assert!(text.contains("\\xff\\n\\u{1b}.livepatch"), "{text}");
    assert!(serde_json::to_string(&store).unwrap().contains("\\\\xff"));
}

#[test]
fn entries_and_bytes_are_bounded() {
    let directory = Directory::of([("a", payload(1, 0xa0))]);
    for number in 1..PayloadStore::MAX_ENTRIES {
        directory.put(number.to_string(), b"");
    }
    assert_eq!((directory.read().payloads().len(), directory.problems()), (1, Vec::new()));
    directory.put("more", b"");
    assert_eq!((directory.read().payloads().len(), directory.problems()), (0, vec![("limit", String::new())]));

    let directory = Directory::of([("a", vec![0; Payload::MAX_SIZE + 1])]);
    let most = PayloadStore::MAX_BYTES / Payload::MAX_SIZE;
    for number in 0..=u8::try_from(most).unwrap() {
        let name = format!("{number}.livepatch");
        directory.put(&name, &payload(number, 0xa0));
        // Zeros that take no room on the disk.
        File::options().write(true).open(directory.path(name)).unwrap().set_len(2 << 20).unwrap();
    }
    assert_eq!(directory.read().payloads().len(), most);
    assert_eq!(directory.problems(), [("limit", "99.livepatch".into()), ("limit", "a.livepatch".into())]);
}

#[test]
fn a_file_too_large_for_its_debug_sections_is_described() {
    let mut large = payload(1, 0xa0);
    large.resize(Payload::MAX_SIZE + 1, 0);
    let text = "it has 2097153 bytes, but Xen accepts at most 2097152";
    for (contents, word, text) in [(vec![0; large.len()], "unreadable", "ELF"), (large, "too_large", text)] {
        let directory = Directory::of([("a", contents), ("good", payload(2, 0xa0))]);
        assert_eq!(directory.summary(&xen(0xa0)), format!("good | {word} a.livepatch"));
        let problem = directory.read().problems()[0].to_string();
        assert!(problem.contains(text), "{problem}");
    }
}

#[test]
fn files_with_the_same_contents_are_one() {
    let directory = Directory::of([("b", payload(1, 0xa0)), ("c", payload(1, 0xa0)), ("top", payload(2, 1))]);
    fs::hard_link(directory.path("b.livepatch"), directory.path("sub/a.livepatch")).unwrap();
    assert_eq!(directory.summary(&xen(0xa0)), "b top");
    let store = directory.read();
    let paths: Vec<_> = store.payloads()[0].paths().map(|path| directory.relative(path)).collect();
    assert_eq!(paths, ["b.livepatch", "c.livepatch", "sub/a.livepatch"]);
    // The one that is chosen gives the name.
    directory.remove("top.livepatch");
    directory.link("livepatch.livepatch", "c.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "c");
    // With other contents it is another payload.
    let mut other = payload(1, 0xa0);
    other.push(0);
    directory.put("d.livepatch", &other);
    directory.remove("livepatch.livepatch");
    let same = " | same_build_id 1 b.livepatch d.livepatch | same_base a0 b.livepatch d.livepatch";
    assert_eq!(directory.summary(&xen(0xa0)), same);
    let text = directory.wanted(&xen(0xa0)).problems()[0].to_string();
    assert!(text.contains("all have the build-id"), "{text}");
}

#[test]
fn files_of_xapi_have_the_names_that_xapi_gives_them() {
    let directory = Directory::of([("x/lp_4_17_4__1_xs8__4_17_4__6_xs8", payload(1, 0xa0))]);
    directory.link("x/livepatch.livepatch", "lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "lp_4.17.4-1.xs8-4.17.4-6.xs8");
    // And so if it is given by hand, through the link too.
    for path in ["x/lp_4_17_4__1_xs8__4_17_4__6_xs8.livepatch", "x/livepatch.livepatch"] {
        let stored = StoredPayload::read(directory.path(path)).unwrap();
        assert_eq!(stored.name().to_string(), "lp_4.17.4-1.xs8-4.17.4-6.xs8");
    }
}

/// Two versions that the same link leads to one after the other have two names, so that one can replace the other.
#[test]
fn a_link_that_chooses_gives_no_name() {
    let directory = Directory::of([("v1", payload(1, 0xa0)), ("v2", payload(2, 0xa0))]);
    let link = directory.path("livepatch.livepatch");
    for version in ["v1", "v2"] {
        let file = format!("{version}.livepatch");
        let _ = fs::remove_file(&link);
        directory.link("livepatch.livepatch", &file);
        let stored = StoredPayload::read(&link).unwrap();
        assert_eq!((stored.name().to_string(), directory.relative(stored.path())), (version.into(), file));
    }
    // Another link is a name of its own.
    directory.link("mine.livepatch", "v1.livepatch");
    assert_eq!(StoredPayload::read(directory.path("mine.livepatch")).unwrap().name().to_string(), "mine");
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
        let error = StoredPayload::read(directory.path(name)).unwrap_err();
        assert_eq!(error.file(), directory.path(name).to_str(), "{error}");
        assert_eq!(error.to_string().matches(name).count(), 1, "{error}");
    }
    assert_eq!(Payload::read(directory.path("empty.livepatch")).unwrap_err().kind(), &ErrorKind::EmptyPayload);
}

/// A package manager makes directories of links.
#[test]
fn links_out_of_the_directory_are_followed_if_asked_for() {
    let outside = Directory::of([("store/xsa-500", payload(1, 0xa0)), ("store/xsa-501", payload(2, 0xa0))]);
    let directory = Directory::new();
    for name in ["xsa-500.livepatch", "xsa-501.livepatch"] {
        directory.link(name, outside.path("store").join(name));
    }
    directory.link("livepatch.livepatch", "xsa-501.livepatch");
    assert_eq!(directory.outcome(&xen(0xa0)).problems.len(), 3);
    let store = PayloadStore::read_following_links(&directory.0).unwrap();
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    assert!(wanted.problems().is_empty(), "{:?}", wanted.problems());
    assert_eq!(wanted.names().map(ToString::to_string).collect::<Vec<_>>(), ["xsa-501"]);
    assert_eq!(store.payloads()[0].path(), outside.path("store/xsa-500.livepatch"));
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
    assert_eq!(directory.summary(&xen(0xa0)), "xsa-500");
}
