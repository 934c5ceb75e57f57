//! Devices that are missing, can't be opened, or are other devices: the error of each, on every machine without Xen.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use xen_livepatch::hypercall::Privcmd;
use xen_livepatch::{Errno, Error, ErrorKind, LivepatchClient, Operation};

fn refused(client: Result<LivepatchClient, Error>, errno: Errno) -> ErrorKind {
    let error = client.unwrap_err();
    assert_eq!(error.raw_errno(), Some(errno), "{error:?}");
    assert_eq!(error.operation(), Some(Operation::Open), "{error:?}");
    assert!(error.to_string().starts_with("open: "), "{error}");
    error.kind().clone()
}

#[test]
fn a_path_that_is_not_there() {
    let path = "/dev/xen/no-such-device";
    let kind = refused(LivepatchClient::open_at(path), Errno::ENOENT);
    assert_eq!(kind, ErrorKind::DeviceMissing { path: path.into() });
}

#[test]
fn without_a_device_the_error_is_about_the_usual_one() {
    if ["/dev/xen/privcmd", "/proc/xen/privcmd"].iter().any(|path| std::fs::exists(path).unwrap()) {
        // On a Xen this is tests/dom0/'s to try.
        LivepatchClient::open().unwrap();
        return;
    }
    let kind = refused(LivepatchClient::open(), Errno::ENOENT);
    assert_eq!(kind, ErrorKind::DeviceMissing { path: "/dev/xen/privcmd".into() });
}

#[test]
fn a_plain_file_and_another_device() {
    let file = std::env::temp_dir().join(format!("xen-livepatch-no-device-{}", std::process::id()));
    std::fs::write(&file, "no device").unwrap();
    for path in [file.as_path(), "/dev/null".as_ref()] {
        assert_eq!(refused(LivepatchClient::open_at(path), Errno::ENOTTY), ErrorKind::NotPrivcmd, "{}", path.display());
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_directory_cannot_be_opened_for_writing() {
    let kind = refused(LivepatchClient::open_at("/"), Errno::EISDIR);
    assert_eq!(kind, ErrorKind::Device { path: "/".into() });
}

#[test]
fn no_permission() {
    let file = std::env::temp_dir().join(format!("xen-livepatch-no-permission-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may open that all the same, but not what the kernel itself keeps read-only.
    let candidates = [file.as_path(), "/proc/sys/kernel/ostype".as_ref(), "/sys/kernel/uevent_seqnum".as_ref()];
    let denied = |path: &&Path| {
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let path = candidates.into_iter().find(denied).unwrap();
    let kind = refused(LivepatchClient::open_at(path), Errno::EACCES);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(kind, ErrorKind::NotPermitted { path: Some(path.display().to_string()) });
}

#[test]
fn descriptors_that_are_not_the_two_devices() {
    let open = |path: &Path| OwnedFd::from(File::options().read(true).write(true).open(path).unwrap());
    let (null, zero, full) =
        (|| open("/dev/null".as_ref()), || open("/dev/zero".as_ref()), || open("/dev/full".as_ref()));
    let file = std::env::temp_dir().join(format!("xen-livepatch-no-memory-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    for (privcmd, hypercall) in
        [(null(), open(&file)), (null(), null()), (zero(), zero()), (null(), zero()), (null(), full()), (null(), pipe)]
    {
        let kind = refused(LivepatchClient::from_fds(privcmd, hypercall), Errno::ENODEV);
        assert_eq!(kind, ErrorKind::NotHypercallDevice);
    }
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    for privcmd in [null(), zero(), full(), pipe, open(&file)] {
        assert_eq!(refused(LivepatchClient::from_fd(privcmd), Errno::ENOTTY), ErrorKind::NotPrivcmd);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn descriptors_that_are_no_device() {
    let path_only: OwnedFd = File::options().read(true).custom_flags(nix::libc::O_PATH).open("/").unwrap().into();
    assert_eq!(refused(LivepatchClient::from_fd(path_only), Errno::ENOTTY), ErrorKind::NotPrivcmd);
    let (socket, _other) = UnixStream::pair().unwrap();
    assert_eq!(refused(LivepatchClient::from_fd(socket.into()), Errno::ENOTTY), ErrorKind::NotPrivcmd);
    let null = File::open("/dev/null").unwrap().into();
    assert_eq!(
        refused(Privcmd::from_fd(null).and_then(LivepatchClient::connect), Errno::ENOTTY),
        ErrorKind::NotPrivcmd
    );
}
