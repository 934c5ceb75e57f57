//! Files and directories as they are found.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use super::directory::{Directory, payload, xen};
use crate::prelude::*;

#[test]
fn stories() {
    super::story::run(include_str!("files.txt"));
}

#[test]
fn the_directory_itself_must_be_there() {
    let directory = Directory::new();
    directory.put("file", b"");
    for (name, errno) in [("none", Errno::ENOENT), ("file", Errno::ENOTDIR)] {
        let error = PayloadStore::read(directory.path(name)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::File { .. }));
        assert_eq!(error.raw_errno(), Some(errno));
    }
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
fn an_empty_file_is_no_payload() {
    let directory = Directory::new();
    directory.put("empty.livepatch", b"");
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
