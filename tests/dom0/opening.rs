//! What opening says of the Xen below.

use xen_livepatch::ErrorKind;

use super::host::connect;

/// On all Xens, since each has live patching or has not. The runner says which it booted.
#[test]
#[ignore = "needs a real Xen"]
fn opening_tells_whether_xen_was_built_with_live_patching() {
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
