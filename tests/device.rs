//! Devices that are missing, can't be opened, or are other devices: the error of each, on every machine without Xen.
#![cfg(test)]

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use xen_livepatch::hypercall::Privcmd;
use xen_livepatch::{Errno, Error, ErrorKind, LivepatchClient, Operation};

/// A file of this process in a directory for tests.
fn file(name: &str) -> String {
    let file = format!("{}/device-{name}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    fs::write(&file, "no device").unwrap();
    file
}

fn open(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    File::options().read(true).write(true).open(path).map(OwnedFd::from)
}

fn refused(client: Result<LivepatchClient, Error>, errno: Errno) -> ErrorKind {
    let error = client.unwrap_err();
    assert_eq!(error.raw_errno(), Some(errno), "{error:?}");
    assert_eq!(error.operation(), Some(Operation::Open), "{error:?}");
    assert!(error.to_string().starts_with("open: "), "{error}");
    error.kind().clone()
}

#[test]
fn paths_of_no_device_that_can_be_opened() {
    let file = file("plain");
    let missing = "/dev/xen/no-such-device";
    for (path, errno, expected) in [
        (missing, Errno::ENOENT, ErrorKind::DeviceMissing { path: missing.into() }),
        ("/", Errno::EISDIR, ErrorKind::Device { path: "/".into() }),
        (&file, Errno::ENOTTY, ErrorKind::NotPrivcmd),
        ("/dev/null", Errno::ENOTTY, ErrorKind::NotPrivcmd),
    ] {
        assert_eq!(refused(LivepatchClient::open_at(path), errno), expected, "{path}");
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn without_a_device_the_error_is_about_the_usual_one() {
    if ["/dev/xen/privcmd", "/proc/xen/privcmd"].iter().any(|path| fs::exists(path).unwrap()) {
        // On a Xen this is tests/dom0/'s to try.
        LivepatchClient::open().unwrap();
        return;
    }
    let kind = refused(LivepatchClient::open(), Errno::ENOENT);
    assert_eq!(kind, ErrorKind::DeviceMissing { path: "/dev/xen/privcmd".into() });
}

#[test]
fn no_permission() {
    let file = file("no-permission");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may open that all the same, but not what the kernel itself keeps read-only.
    let candidates = [&file, "/proc/sys/kernel/ostype", "/sys/kernel/uevent_seqnum"];
    let denied = |path: &&str| open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let path = candidates.into_iter().find(denied).unwrap();
    let kind = refused(LivepatchClient::open_at(path), Errno::EACCES);
    assert_eq!(kind, ErrorKind::NotPermitted { path: Some(path.into()) });
    fs::remove_file(file).unwrap();
}

#[test]
fn descriptors_that_are_not_the_two_devices() {
    let [null, zero, full] = ["/dev/null", "/dev/zero", "/dev/full"].map(|path| move || open(path).unwrap());
    let file = file("no-memory");
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    for (privcmd, hypercall) in [
        (null(), open(&file).unwrap()),
        (null(), null()),
        (zero(), zero()),
        (null(), zero()),
        (null(), full()),
        (null(), pipe),
    ] {
        let kind = refused(LivepatchClient::from_fds(privcmd, hypercall), Errno::ENODEV);
        assert_eq!(kind, ErrorKind::NotHypercallDevice);
    }
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let path_only = File::options().read(true).custom_flags(nix::libc::O_PATH).open("/").unwrap();
    for privcmd in [null(), zero(), full(), pipe, open(&file).unwrap(), socket.into(), path_only.into()] {
        assert_eq!(refused(LivepatchClient::from_fd(privcmd), Errno::ENOTTY), ErrorKind::NotPrivcmd);
    }
    let readable = File::open("/dev/null").unwrap().into();
    let connected = Privcmd::from_fd(readable).and_then(LivepatchClient::connect);
    assert_eq!(refused(connected, Errno::ENOTTY), ErrorKind::NotPrivcmd);
    fs::remove_file(file).unwrap();
}
