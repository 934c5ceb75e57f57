//! The constants of the interface once more, typed by hand.

use super::*;

/// `name: value;`
macro_rules! constants {
    ($($name:ident: $value:literal;)*) => { &[$((stringify!($name), $name, $value)),*] };
}

#[rustfmt::skip]
const CONSTANTS: &[(&str, u32, u32)] = constants! {
    __HYPERVISOR_xen_version: 17;
    __HYPERVISOR_sysctl: 35;
    XENVER_version: 0;
    XENVER_extraversion: 1;
    XENVER_compile_info: 2;
    XENVER_changeset: 4;
    XENVER_build_id: 10;
    XEN_EXTRAVERSION_LEN: 16;
    XEN_CHANGESET_INFO_LEN: 64;
    XEN_SYSCTL_readconsole: 1;
    XEN_SYSCTL_debug_keys: 7;
    XEN_SYSCTL_livepatch_op: 27;
    XEN_SYSCTL_LIVEPATCH_UPLOAD: 0;
    XEN_SYSCTL_LIVEPATCH_GET: 1;
    XEN_SYSCTL_LIVEPATCH_LIST: 2;
    XEN_SYSCTL_LIVEPATCH_ACTION: 3;
    LIVEPATCH_FLAG_FORCE: 1;
    LIVEPATCH_STATE_CHECKED: 1;
    LIVEPATCH_STATE_APPLIED: 2;
    LIVEPATCH_ACTION_UNLOAD: 1;
    LIVEPATCH_ACTION_REVERT: 2;
    LIVEPATCH_ACTION_APPLY: 3;
    LIVEPATCH_ACTION_REPLACE: 4;
    LIVEPATCH_ACTION_APPLY_NODEPS: 1;
    XEN_LIVEPATCH_NAME_SIZE: 128;
    XEN_LIVEPATCH_MAX_SIZE: 2_097_152;
    XEN_LIVEPATCH_LIST_MAX: 1024;
    XEN_LIVEPATCH_DEFAULT_TIMEOUT: 30_000_000;
};

#[test]
fn constants_have_the_values_of_the_interface() {
    for (name, is, must_be) in CONSTANTS {
        assert_eq!(is, must_be, "{name}");
    }
}
