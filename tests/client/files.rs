//! Payloads from files, and from things that are not files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use xen_livepatch::sim::{Call, Release};
use xen_livepatch::{Errno, ErrorKind, Flags};

use crate::host::{builder, error, host, kind, name};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("payload-{}-{file}", std::process::id()))
}

#[test]
fn a_file_is_uploaded_as_it_is() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let file = path(&format!("file-{release}"));
        for (id, len) in [("small", 0), ("large", 300 * 1024), ("largest", 2 << 20), ("again", 0)] {
            fs::write(&file, builder(&xen, id).padded_to(len).build()).unwrap();
            client.upload_file(&name(id), &file).unwrap_or_else(|error| panic!("{release} {id}: {error}"));
        }
        assert_eq!(xen.loaded().len(), 4);
        client.apply(&name("large"), Flags::empty()).unwrap();
        assert_eq!(client.xen_version().unwrap().extra, "-large");
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn what_is_no_payload_file_never_reaches_xen() {
    let (xen, client) = host(Release::V4_17);
    let upload = |path: &PathBuf| error(client.upload_file(&name("one"), path));
    let missing = upload(&path("missing"));
    assert!(matches!(missing.kind(), ErrorKind::File { .. }), "{missing:?}");
    assert_eq!(missing.raw_errno(), Some(Errno::ENOENT));
    assert!(missing.to_string().contains("payload-"), "it says which: {missing}");

    let directory = upload(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    assert!(matches!(directory.kind(), ErrorKind::File { .. }), "{directory:?}");
    assert_eq!(directory.raw_errno(), Some(Errno::EISDIR));

    let file = path("sizes");
    fs::write(&file, b"").unwrap();
    assert_eq!(upload(&file).kind(), &ErrorKind::EmptyPayload);
    assert_eq!(upload(&"/dev/null".into()).kind(), &ErrorKind::EmptyPayload);
    // A hole takes no room on the disk.
    for size in [(2 << 20) + 1, 1 << 40] {
        fs::File::create(&file).unwrap().set_len(size).unwrap();
        assert_eq!(upload(&file).kind(), &ErrorKind::PayloadTooLarge { size });
    }
    fs::remove_file(file).unwrap();
    assert_eq!(upload(&"/dev/zero".into()).kind(), &ErrorKind::PayloadTooLarge { size: (2 << 20) + 1 });
    // One of those that the kernel makes up: shorter than it says.
    let short = upload(&"/sys/devices/system/cpu/online".into());
    assert!(short.to_string().contains("it changed while it was read"), "{short}");
    assert_eq!(xen.calls().of(Call::Upload), 0);
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let (xen, client) = host(Release::V4_20);
    let pipe = path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (id, len) in [("short", 0), ("long", 500_000), ("longest", 2 << 20)] {
        let payload = builder(&xen, id).padded_to(len).build();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut end = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
                for part in payload.chunks(len / 7 + 1000) {
                    end.write_all(part).unwrap();
                }
            });
            client.upload_file(&name(id), &pipe).unwrap();
        });
    }
    assert_eq!(xen.loaded().len(), 3);
    thread::scope(|scope| {
        scope.spawn(|| drop(fs::OpenOptions::new().write(true).open(&pipe).unwrap()));
        assert_eq!(kind(client.upload_file(&name("none"), &pipe)), ErrorKind::EmptyPayload);
    });
    fs::remove_file(pipe).unwrap();
}
