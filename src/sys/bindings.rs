// Generated from xen-headers/xen-livepatch.h: change that, then renew this file with
// UPDATE_BINDINGS=1 cargo test --features bindgen --test bindings

/// Hypercall: the version of Xen. First argument an `XENVER_*`, second the address of its buffer or 0.
pub const __HYPERVISOR_xen_version: u32 = 17;
/// Hypercall: control of the host. Its argument is the address of a `xen_sysctl`.
pub const __HYPERVISOR_sysctl: u32 = 35;
/// The argument of Linux's privcmd device for one hypercall. It passes the values and the result on unchanged.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct privcmd_hypercall {
    /// A `__HYPERVISOR_*` number.
    pub op: u64,
    /// The hypercall's arguments; unused ones are zero.
    pub arg: [u64; 5usize],
}
/// Memory that Xen reads or writes: a virtual address of the caller, eight bytes everywhere (Xen's `XEN_GUEST_HANDLE_64`).
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_guest_handle {
    /// 0 if the call points to nothing.
    pub address: u64,
}
/// No buffer; returns `major << 16 | minor`. Never refused.
pub const XENVER_version: u32 = 0;
/// Fills a buffer of `XEN_EXTRAVERSION_LEN` bytes with what follows the minor number, such as `.3`; ends with NUL.
pub const XENVER_extraversion: u32 = 1;
/// Fills a `xen_compile_info`.
pub const XENVER_compile_info: u32 = 2;
/// Fills a buffer of `XEN_CHANGESET_INFO_LEN` bytes with the source's last commit, as text that ends with NUL.
pub const XENVER_changeset: u32 = 4;
/// Fills a `xen_build_id` and returns the length of the build-id; with no buffer it only returns the length.
pub const XENVER_build_id: u32 = 10;
/// Bytes that `XENVER_extraversion` may write.
pub const XEN_EXTRAVERSION_LEN: u32 = 16;
/// Bytes that `XENVER_changeset` may write.
pub const XEN_CHANGESET_INFO_LEN: u32 = 64;
/// OUT: how Xen was compiled. Each is a text that ends with NUL.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xen_compile_info {
    /// The compiler and its version.
    pub compiler: [u8; 64usize],
    /// The user.
    pub compile_by: [u8; 16usize],
    /// The user's domain.
    pub compile_domain: [u8; 32usize],
    /// The time, as `date` prints it.
    pub compile_date: [u8; 32usize],
}
/// The head of the buffer for `XENVER_build_id`. The bytes of the build-id (OUT) follow at once, at offset 4.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_build_id {
    /// IN: room for the build-id, in bytes, not counting this field.
    pub len: u32,
}
/// `xen_sysctl.cmd`: copy out of the console ring.
pub const XEN_SYSCTL_readconsole: u32 = 1;
/// The argument of `XEN_SYSCTL_readconsole`.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_readconsole {
    /// IN: non-zero empties the ring afterwards, for every reader.
    pub clear: u8,
    /// IN: non-zero begins at `index` instead of at the oldest byte.
    pub incremental: u8,
    /// IN: zero.
    pub pad: u16,
    /// IN with `incremental`: first position wanted. OUT: the position after the last byte copied.
    pub index: u32,
    /// IN: where the text goes.
    pub buffer: xen_guest_handle,
    /// IN: room in `buffer`, in bytes. OUT: bytes written.
    pub count: u32,
    /// Xen leaves these bytes unnamed.
    pub pad_end: u32,
}
/// `xen_sysctl.cmd`: do what keys pressed on the hypervisor's console do.
pub const XEN_SYSCTL_debug_keys: u32 = 7;
/// The argument of `XEN_SYSCTL_debug_keys`.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_debug_keys {
    /// IN: where the keys are, a byte each.
    pub keys: xen_guest_handle,
    /// IN: how many.
    pub nr_keys: u32,
    /// Xen leaves these bytes unnamed.
    pub pad_end: u32,
}
/// `xen_sysctl.cmd`: live patching.
pub const XEN_SYSCTL_livepatch_op: u32 = 27;
/// `xen_sysctl_livepatch_op.cmd`: hand a payload to Xen, which checks and links it and does not apply it.
pub const XEN_SYSCTL_LIVEPATCH_UPLOAD: u32 = 0;
/// `xen_sysctl_livepatch_op.cmd`: the status of one payload.
pub const XEN_SYSCTL_LIVEPATCH_GET: u32 = 1;
/// `xen_sysctl_livepatch_op.cmd`: the status of all payloads, in the order of their upload.
pub const XEN_SYSCTL_LIVEPATCH_LIST: u32 = 2;
/// `xen_sysctl_livepatch_op.cmd`: do something with an uploaded payload; all but `UNLOAD` finishes after the call.
pub const XEN_SYSCTL_LIVEPATCH_ACTION: u32 = 3;
/// `xen_sysctl_livepatch_op.flags`, since 4.19: leave out checks. No release up to 4.22 has a check that heeds it.
pub const LIVEPATCH_FLAG_FORCE: u32 = 1;
/// Longest name of a payload in bytes, with the NUL that ends it.
pub const XEN_LIVEPATCH_NAME_SIZE: u32 = 128;
/// The name of a payload.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_livepatch_name {
    /// IN: where the name is; its last byte is NUL.
    pub name: xen_guest_handle,
    /// IN: bytes of the name with its NUL, 1 to `XEN_LIVEPATCH_NAME_SIZE`.
    pub size: u16,
    /// IN: zero.
    pub pad: [u16; 3usize],
}
/// `xen_livepatch_status.state`: uploaded, not applied.
pub const LIVEPATCH_STATE_CHECKED: u32 = 1;
/// `xen_livepatch_status.state`: in use.
pub const LIVEPATCH_STATE_APPLIED: u32 = 2;
/// The status of a payload.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_livepatch_status {
    /// OUT: a `LIVEPATCH_STATE_*`.
    pub state: u32,
    /// OUT: result of the last action begun: 0, a negative errno, or -EAGAIN while it is pending.
    pub rc: i32,
}
/// The argument of `XEN_SYSCTL_LIVEPATCH_UPLOAD`.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_upload {
    /// IN: the name to keep it under.
    pub name: xen_livepatch_name,
    /// IN: bytes of the payload.
    pub size: u64,
    /// IN: the ELF file.
    pub payload: xen_guest_handle,
}
/// The argument of `XEN_SYSCTL_LIVEPATCH_GET`.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_get {
    /// IN: which payload.
    pub name: xen_livepatch_name,
    /// OUT: its status.
    pub status: xen_livepatch_status,
}
/// The argument of `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.7 to 4.13. Returns how many were delivered, `nr` or fewer.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_list_v1 {
    /// OUT: changes with every upload and unload, not with other actions.
    pub version: u32,
    /// IN: how many payloads to pass over.
    pub idx: u32,
    /// IN: payloads wanted; 0 only counts. OUT: payloads that remain after those delivered; with 0, all there are.
    pub nr: u32,
    /// IN: zero.
    pub pad: u32,
    /// IN: room for `nr` of `xen_livepatch_status`.
    pub status: xen_guest_handle,
    /// IN: room for `nr` names; each gets `XEN_LIVEPATCH_NAME_SIZE` bytes.
    pub name: xen_guest_handle,
    /// IN: room for `nr` u32: bytes of each name with its NUL.
    pub len: xen_guest_handle,
}
/// The argument of `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.14 and later. Returns how many were delivered, `nr` or fewer.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_list_v2 {
    /// OUT: changes with every upload and unload, not with other actions.
    pub version: u32,
    /// IN: how many payloads to pass over.
    pub idx: u32,
    /// IN: payloads wanted; 0 only counts. OUT: payloads that remain after those delivered; with 0, all there are.
    pub nr: u32,
    /// IN: zero.
    pub pad: u32,
    /// IN since 4.21: bytes of room at `name`. OUT: bytes of the names delivered; with `nr` 0, of all.
    pub name_total_size: u32,
    /// IN since 4.21: bytes of room at `metadata`. OUT: bytes of the metadata delivered; with `nr` 0, of all.
    pub metadata_total_size: u32,
    /// IN: room for `nr` of `xen_livepatch_status`.
    pub status: xen_guest_handle,
    /// IN: room for the names, which follow one another without a gap.
    pub name: xen_guest_handle,
    /// IN: room for `nr` u32: bytes of each name with its NUL.
    pub len: xen_guest_handle,
    /// IN: room for the metadata (the payloads' `.modinfo`), which follow one another without a gap.
    pub metadata: xen_guest_handle,
    /// IN: room for `nr` u32: bytes of each metadata, 0 where a payload has none.
    pub metadata_len: xen_guest_handle,
}
/// `xen_sysctl_livepatch_action_*.cmd`: forget a payload that is not applied.
pub const LIVEPATCH_ACTION_UNLOAD: u32 = 1;
/// `xen_sysctl_livepatch_action_*.cmd`: take the payload that was applied last out of use.
pub const LIVEPATCH_ACTION_REVERT: u32 = 2;
/// `xen_sysctl_livepatch_action_*.cmd`: put the payload into use, on top of those applied.
pub const LIVEPATCH_ACTION_APPLY: u32 = 3;
/// `xen_sysctl_livepatch_action_*.cmd`: revert all that are applied and apply this one, in one go.
pub const LIVEPATCH_ACTION_REPLACE: u32 = 4;
/// `xen_sysctl_livepatch_action_v2.flags`, `APPLY` only: apply on top of whatever is applied.
pub const LIVEPATCH_ACTION_APPLY_NODEPS: u32 = 1;
/// The argument of `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.7 to 4.13.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_action_v1 {
    /// IN: which payload.
    pub name: xen_livepatch_name,
    /// IN: a `LIVEPATCH_ACTION_*`.
    pub cmd: u32,
    pub timeout: u32,
}
/// The argument of `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.14 and later.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct xen_sysctl_livepatch_action_v2 {
    /// IN: which payload.
    pub name: xen_livepatch_name,
    /// IN: a `LIVEPATCH_ACTION_*`.
    pub cmd: u32,
    /// IN: nanoseconds that all CPUs have to come to rest; 0 is Xen's default.
    pub timeout: u32,
    /// IN: `LIVEPATCH_ACTION_APPLY_NODEPS` or 0. Xen passes over bits that it does not know.
    pub flags: u32,
    /// IN: zero.
    pub pad: u32,
}
/// The argument of one livepatch operation, chosen by `xen_sysctl_livepatch_op.cmd`.
#[repr(C)]
#[derive(Copy, Clone)]
pub union xen_sysctl_livepatch_op_u {
    /// `XEN_SYSCTL_LIVEPATCH_UPLOAD`.
    pub upload: xen_sysctl_livepatch_upload,
    /// `XEN_SYSCTL_LIVEPATCH_GET`.
    pub get: xen_sysctl_livepatch_get,
    /// `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.7 to 4.13.
    pub list_v1: xen_sysctl_livepatch_list_v1,
    /// `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.14 and later.
    pub list_v2: xen_sysctl_livepatch_list_v2,
    /// `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.7 to 4.13.
    pub action_v1: xen_sysctl_livepatch_action_v1,
    /// `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.14 and later.
    pub action_v2: xen_sysctl_livepatch_action_v2,
}
/// The argument of `XEN_SYSCTL_livepatch_op`.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct xen_sysctl_livepatch_op {
    /// IN: a `XEN_SYSCTL_LIVEPATCH_*`.
    pub cmd: u32,
    /// IN: `LIVEPATCH_FLAG_FORCE` or 0 since 4.19; must be zero before.
    pub flags: u32,
    /// IN and OUT: what `cmd` takes and gives.
    pub u: xen_sysctl_livepatch_op_u,
}
/// The argument of one sysctl, chosen by `xen_sysctl.cmd`.
#[repr(C)]
#[derive(Copy, Clone)]
pub union xen_sysctl_u {
    /// `XEN_SYSCTL_readconsole`.
    pub readconsole: xen_sysctl_readconsole,
    /// `XEN_SYSCTL_debug_keys`.
    pub debug_keys: xen_sysctl_debug_keys,
    /// `XEN_SYSCTL_livepatch_op`.
    pub livepatch: xen_sysctl_livepatch_op,
    /// All of it.
    pub pad: [u8; 128usize],
}
/// The argument of `__HYPERVISOR_sysctl`: 136 bytes in every release, whatever the command uses of them.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct xen_sysctl {
    /// IN: a `XEN_SYSCTL_*`.
    pub cmd: u32,
    /// IN: the sysctl version of the running release; any other is refused with EACCES.
    pub interface_version: u32,
    /// IN and OUT: what `cmd` takes and gives.
    pub u: xen_sysctl_u,
}
/// Largest payload that Xen takes, in bytes.
pub const XEN_LIVEPATCH_MAX_SIZE: u32 = 2097152;
/// Most payloads that may be asked for in one `XEN_SYSCTL_LIVEPATCH_LIST`.
pub const XEN_LIVEPATCH_LIST_MAX: u32 = 1024;
/// The timeout in nanoseconds that a `timeout` of 0 means.
pub const XEN_LIVEPATCH_DEFAULT_TIMEOUT: u32 = 30000000;
