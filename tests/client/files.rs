//! Uploads of files, pipes and directories.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::prelude::*;

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("payload-{}-{file}", std::process::id()))
}

#[test]
fn a_file_is_uploaded_as_it_is() {
    for (xen, client) in hosts(Release::ALL) {
        let file = path(&format!("file-{}", xen.release()));
        for (id, len) in [("small", 0), ("large", 300 * 1024), ("largest", 2 << 20), ("again", 0)] {
            fs::write(&file, builder(&xen, id).padded_to(len).build()).unwrap();
            client.upload_file(&name(id), &file).unwrap_or_else(|error| panic!("{id}: {error}"));
        }
        assert_eq!(xen.loaded().len(), 4);
        client.apply(&name("large"), Flags::empty()).unwrap();
        assert_eq!(client.xen_version().unwrap().extra, "-large");
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_file_that_is_no_payload_never_reaches_xen() {
    let (xen, client) = host(Release::V4_17);
    let upload = |path: &Path| error(client.upload_file(&name("one"), path));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (path, errno) in [(path("missing"), Errno::ENOENT), (directory, Errno::EISDIR)] {
        let error = upload(&path);
        assert!(matches!(error.kind(), ErrorKind::File { .. }), "{error:?}");
        assert_eq!(error.raw_errno(), Some(errno));
        assert!(error.to_string().contains(path.to_str().unwrap()), "it says which: {error}");
    }
    let file = path("sizes");
    fs::write(&file, b"").unwrap();
    for empty in [&file, Path::new("/dev/null")] {
        assert_eq!(upload(empty).kind(), &ErrorKind::EmptyPayload);
    }
    let too_large = |size| ErrorKind::PayloadTooLarge { size, without_debug: None };
    // A hole takes no room on the disk.
    for size in [(2 << 20) + 1, 1 << 40] {
        fs::File::create(&file).unwrap().set_len(size).unwrap();
        assert_eq!(upload(&file).kind(), &too_large(size));
    }
    fs::remove_file(file).unwrap();
    assert_eq!(upload("/dev/zero".as_ref()).kind(), &too_large((2 << 20) + 1));
    // One of those that the kernel makes up: shorter than it says.
    let short = upload("/sys/devices/system/cpu/online".as_ref());
    assert!(short.to_string().contains("it changed while it was read"), "{short}");
    assert_eq!(xen.calls().of(Call::Upload), 0);
}

/// An ELF file of little but a debug section.
fn debug_file(len: u64) -> Vec<u8> {
    let names = b"\0.debug_info\0.shstrtab\0";
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    file.extend(names);
    let data = u64::try_from(file.len()).unwrap();
    file.resize(usize::try_from(data + len).unwrap(), 1);
    let table = u64::try_from(file.len()).unwrap();
    file.extend([0; 64]);
    for (name, kind, offset, size) in [(1_u32, 1_u32, data, len), (13, 3, 64, 23)] {
        file.extend(name.to_le_bytes().iter().chain(&kind.to_le_bytes()));
        file.extend([0; 16]);
        file.extend(offset.to_le_bytes().iter().chain(&size.to_le_bytes()));
        file.extend([0; 24]);
    }
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    file
}

#[test]
fn debug_sections_are_named_if_they_make_a_file_too_large() {
    let (xen, client) = host(Release::V4_17);
    let file = path("debug");
    let bytes = debug_file(3 << 20);
    fs::write(&file, &bytes).unwrap();
    let size = u64::try_from(bytes.len()).unwrap();
    let expected = ErrorKind::PayloadTooLarge { size, without_debug: Some(64 + 16 + 2 * 64) };
    assert_eq!(error(client.upload_file(&name("one"), &file)).kind(), &expected);
    assert_eq!(error(client.upload(&name("one"), &bytes)).kind(), &expected);
    assert_eq!(error(client.load(&file, Flags::empty())).kind(), &expected);
    let error = error(client.upload_file(&name("one"), &file)).to_string();
    assert!(error.contains("strip -S leaves about 208 of them"), "{error}");
    assert_eq!(xen.calls().of(Call::Upload), 0);
    fs::remove_file(file).unwrap();
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
