//! The interface once more, in numbers typed by hand, so that no change of a layout compiles unnoticed, on any processor.

use core::mem::{align_of, offset_of, size_of};

use super::{
    privcmd_hypercall, xen_build_id, xen_compile_info, xen_guest_handle, xen_livepatch_name, xen_livepatch_status,
    xen_sysctl, xen_sysctl_debug_keys, xen_sysctl_livepatch_action_v1, xen_sysctl_livepatch_action_v2,
    xen_sysctl_livepatch_get, xen_sysctl_livepatch_list_v1, xen_sysctl_livepatch_list_v2, xen_sysctl_livepatch_op,
    xen_sysctl_livepatch_upload, xen_sysctl_readconsole,
};

/// Returns the size of a member by its type.
const fn bytes<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// `name: size, alignment { member: offset, size; … }`
///
/// Members fill their struct without a gap, so a request can be written byte by byte, and no byte of it is undefined.
macro_rules! structs {
    ($($name:ident: $size:literal, $align:literal { $($member:ident: $offset:literal, $bytes:literal;)* })*) => {
        $(const _: () = {
            assert!(size_of::<$name>() == $size && align_of::<$name>() == $align, stringify!($name));
            let end = 0;
            $(
                assert!(offset_of!($name, $member) == $offset && $offset == end, stringify!($name::$member));
                assert!(bytes(|it: &$name| &it.$member) == $bytes, stringify!($name::$member));
                let end = end + $bytes;
            )*
            assert!(end == $size, stringify!($name));
        };)*
    };
}

#[rustfmt::skip]
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

/// `path: offset;` for members as they lie in a whole sysctl. Those of their members follow from the table above.
macro_rules! in_sysctl {
    ($($($path:ident).+: $offset:literal;)*) => {
        const _: () = {
            $(assert!(offset_of!(xen_sysctl, $($path).+) == $offset, stringify!($($path).+));)*
        };
    };
}

#[rustfmt::skip]
in_sysctl! {
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
}
