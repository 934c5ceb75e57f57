//! Opening the device, with and without live patching, and the identity of the Xen behind it.

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

#[test]
#[ignore = "needs a real Xen"]
fn the_version_and_the_build_id_are_the_running_ones() {
    let host = host();
    let version = host.client.xen_version().unwrap();
    assert_eq!(version.major, 4);
    // Set by the runner, except for a hypervisor of the user's own.
    if let Ok(wanted) = std::env::var("XEN") {
        let wanted = if wanted == "arm64" { "4.17" } else { &wanted };
        assert_eq!(format!("{}.{}", version.major, version.minor), wanted);
    }
    // The kernel prints the bytes up to the first NUL.
    let shown = std::fs::read("/sys/hypervisor/properties/buildid").unwrap();
    let until_nul: Vec<u8> = host.xen.as_bytes().iter().copied().take_while(|byte| *byte != 0).collect();
    assert!(shown.starts_with(&until_nul) && host.xen.as_bytes().len() == 20, "{shown:x?} {}", host.xen);
}
