//! Opening the device, with and without live patching.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use xen_livepatch::hypercall::Privcmd;

use crate::prelude::*;

/// Runs on every Xen; the runner passes its name.
#[test]
#[ignore = "needs a real Xen"]
fn opening_fails_without_live_patching() {
    let opened = connect();
    if std::env::var("XEN").is_ok_and(|xen| xen == "arm64-stock") {
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::NotBuiltIn);
        assert_eq!(
            error.to_string(),
            "open: this Xen was built without live patching (CONFIG_LIVEPATCH) [ENOSYS (38, not implemented)]"
        );
    } else {
        opened.unwrap();
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn descriptors_are_verified_by_their_device_number() {
    let open = |path: &str| OwnedFd::from(File::options().read(true).write(true).open(path).unwrap());
    let (privcmd, hypercall) = (|| open("/dev/xen/privcmd"), || open("/dev/xen/hypercall"));
    let device = privcmd();
    let number = device.as_raw_fd();
    assert_eq!(Privcmd::from_fd(device).unwrap().as_fd().as_raw_fd(), number);
    for privcmd in [open("/dev/zero"), open("/dev/null"), hypercall()] {
        assert_eq!(LivepatchClient::from_fd(privcmd).unwrap_err().kind(), &ErrorKind::NotPrivcmd);
    }
    for hypercall in [open("/dev/zero"), privcmd()] {
        let refused = LivepatchClient::from_fds(privcmd(), hypercall).unwrap_err();
        assert_eq!(refused.kind(), &ErrorKind::NotHypercallDevice);
    }
    if std::env::var("XEN").is_ok_and(|xen| xen == "arm64-stock") {
        return;
    }
    patient().from_fd(privcmd()).unwrap().list().unwrap();
    patient().from_fds(privcmd(), hypercall()).unwrap().list().unwrap();
    // The name of a file proves nothing, in either direction.
    let link = format!("/tmp/null-{}", std::process::id());
    std::os::unix::fs::symlink("/dev/xen/privcmd", &link).unwrap();
    patient().open_at(&link).unwrap().list().unwrap();
    std::fs::remove_file(link).unwrap();
}
