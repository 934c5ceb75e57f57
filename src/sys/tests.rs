//! The interface once more, in numbers typed by hand, so that no change of a layout goes unnoticed.

use core::mem::{align_of, offset_of, size_of};

use super::*;

/// A struct or one of its members: the numbers of the compiler, and those of Xen.
struct Row {
    name: &'static str,
    is: [usize; 2],
    must_be: [usize; 2],
}

/// Returns the size of a member by its type.
fn bytes<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// `name: size, alignment { member: offset, size; … }`
macro_rules! structs {
    ($($name:ident: $size:literal, $align:literal { $($member:ident: $offset:literal, $bytes:literal;)* })*) => {
        [$((
            Row { name: stringify!($name), is: [size_of::<$name>(), align_of::<$name>()], must_be: [$size, $align] },
            vec![$(Row {
                name: stringify!($member),
                is: [offset_of!($name, $member), bytes(|it: &$name| &it.$member)],
                must_be: [$offset, $bytes],
            }),*],
        )),*]
    };
}

#[rustfmt::skip]
fn structs() -> impl IntoIterator<Item = (Row, Vec<Row>)> {
    structs! {
        xen_guest_handle: 8, 8 { address: 0, 8; }
        privcmd_hypercall: 48, 8 { op: 0, 8; arg: 8, 40; }
        xen_build_id: 4, 4 { len: 0, 4; }
        xen_compile_info: 144, 1 { compiler: 0, 64; compile_by: 64, 16; compile_domain: 80, 32; compile_date: 112, 32; }
        xen_sysctl_readconsole: 24, 8 {
            clear: 0, 1; incremental: 1, 1; pad: 2, 2; index: 4, 4; buffer: 8, 8; count: 16, 4; pad_end: 20, 4;
        }
        xen_sysctl_debug_keys: 16, 8 { keys: 0, 8; nr_keys: 8, 4; pad_end: 12, 4; }
        xen_livepatch_name: 16, 8 { name: 0, 8; size: 8, 2; pad: 10, 6; }
        xen_livepatch_status: 8, 4 { state: 0, 4; rc: 4, 4; }
        xen_sysctl_livepatch_upload: 32, 8 { name: 0, 16; size: 16, 8; payload: 24, 8; }
        xen_sysctl_livepatch_get: 24, 8 { name: 0, 16; status: 16, 8; }
        xen_sysctl_livepatch_list_v1: 40, 8 {
            version: 0, 4; idx: 4, 4; nr: 8, 4; pad: 12, 4; status: 16, 8; name: 24, 8; len: 32, 8;
        }
        xen_sysctl_livepatch_list_v2: 64, 8 {
            version: 0, 4; idx: 4, 4; nr: 8, 4; pad: 12, 4; name_total_size: 16, 4; metadata_total_size: 20, 4;
            status: 24, 8; name: 32, 8; len: 40, 8; metadata: 48, 8; metadata_len: 56, 8;
        }
        xen_sysctl_livepatch_action_v1: 24, 8 { name: 0, 16; cmd: 16, 4; timeout: 20, 4; }
        xen_sysctl_livepatch_action_v2: 32, 8 { name: 0, 16; cmd: 16, 4; timeout: 20, 4; flags: 24, 4; pad: 28, 4; }
        xen_sysctl_livepatch_op: 72, 8 { cmd: 0, 4; flags: 4, 4; u: 8, 64; }
        xen_sysctl: 136, 8 { cmd: 0, 4; interface_version: 4, 4; u: 8, 128; }
    }
}

/// `path: offset;` for members as they lie in a whole sysctl. Those of their members follow from the table above.
macro_rules! in_sysctl {
    ($($($path:ident).+: $offset:literal;)*) => {
        &[$((stringify!($($path).+), offset_of!(xen_sysctl, $($path).+), $offset)),*]
    };
}

#[rustfmt::skip]
const IN_SYSCTL: &[(&str, usize, usize)] = in_sysctl! {
    u.pad: 8;
    u.readconsole: 8;
    u.debug_keys: 8;
    u.livepatch: 8;
    u.livepatch.u.upload: 16;
    u.livepatch.u.get: 16;
    // 4.7 to 4.13.
    u.livepatch.u.list_v1: 16;
    u.livepatch.u.action_v1: 16;
    // 4.14 and later.
    u.livepatch.u.list_v2: 16;
    u.livepatch.u.action_v2: 16;
};

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
fn structs_have_the_sizes_and_offsets_of_the_interface() {
    for (whole, members) in structs() {
        assert_eq!(whole.is, whole.must_be, "size and alignment of {}", whole.name);
        for member in members {
            assert_eq!(member.is, member.must_be, "offset and size of {}.{}", whole.name, member.name);
        }
    }
}

/// Without gaps a request can be written byte by byte, and no byte of it is undefined.
#[test]
fn members_fill_their_struct_without_a_gap() {
    for (whole, members) in structs() {
        let mut end = 0;
        for member in members {
            let [offset, size] = member.is;
            assert_eq!(offset, end, "gap before {}.{}", whole.name, member.name);
            end = offset + size;
        }
        assert_eq!(end, whole.is[0], "gap at the end of {}", whole.name);
    }
}

#[test]
fn members_lie_in_a_sysctl_where_xen_looks_for_them() {
    for (path, is, must_be) in IN_SYSCTL {
        assert_eq!(is, must_be, "{path}");
    }
}

#[test]
fn constants_have_the_values_of_the_interface() {
    for (name, is, must_be) in CONSTANTS {
        assert_eq!(is, must_be, "{name}");
    }
}
