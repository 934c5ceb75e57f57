/* SPDX-License-Identifier: MIT OR Apache-2.0 */

// What a live-patching program says to Xen 4.7 to 4.22: the livepatch part of the sysctl interface, with
// the few calls around it (console log, version, build-id) and Linux's way of passing a hypercall on.
//
// Written from the numbers of the interface: names, orders, sizes and values are Xen's, the words are ours.
// `tests/xen-headers/check` holds it against Xen's own headers. src/sys/bindings.rs is generated from it.
//
// * Every byte belongs to a named field: nothing is padded behind the writer's back.
// * Where releases differ, each layout has its own struct: `_v1` is Xen 4.7 to 4.13, `_v2` is 4.14 and later.
// * IN is read by Xen, OUT is written by Xen. Every `pad` is IN and zero.
// * Constants are variables, not macros, because these keep type and documentation in the bindings.
// * No header is included, so that the bindings are the same on every machine.
// * `///` becomes documentation in the bindings, one line each; `//` stays here.

#ifndef XEN_LIVEPATCH_H
#define XEN_LIVEPATCH_H

typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __INT32_TYPE__ int32_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;

// ---- Hypercalls ---------------------------------------------------------------------------------------------------

/// Hypercall: the version of Xen. First argument an `XENVER_*`, second the address of its buffer or 0.
static const uint32_t __HYPERVISOR_xen_version = 17;
/// Hypercall: control of the host. Its argument is the address of a `xen_sysctl`.
static const uint32_t __HYPERVISOR_sysctl = 35;

/// The argument of Linux's privcmd device for one hypercall. It passes the values and the result on unchanged.
struct privcmd_hypercall {
    /// A `__HYPERVISOR_*` number.
    uint64_t op;
    /// The hypercall's arguments; unused ones are zero.
    uint64_t arg[5];
};

/// Memory that Xen reads or writes: a virtual address of the caller, eight bytes everywhere (Xen's `XEN_GUEST_HANDLE_64`).
struct xen_guest_handle {
    /// 0 if the call points to nothing.
    uint64_t address;
} __attribute__((aligned(8)));

// ---- xen_version --------------------------------------------------------------------------------------------------

/// No buffer; returns `major << 16 | minor`. Never refused.
static const uint32_t XENVER_version = 0;
/// Fills a buffer of `XEN_EXTRAVERSION_LEN` bytes with what follows the minor number, such as `.3`; ends with NUL.
static const uint32_t XENVER_extraversion = 1;
/// Fills a `xen_compile_info`.
static const uint32_t XENVER_compile_info = 2;
/// Fills a buffer of `XEN_CHANGESET_INFO_LEN` bytes with the source's last commit, as text that ends with NUL.
static const uint32_t XENVER_changeset = 4;
/// Fills a `xen_build_id` and returns the length of the build-id; with no buffer it only returns the length.
static const uint32_t XENVER_build_id = 10;

/// Bytes that `XENVER_extraversion` may write.
static const uint32_t XEN_EXTRAVERSION_LEN = 16;
/// Bytes that `XENVER_changeset` may write.
static const uint32_t XEN_CHANGESET_INFO_LEN = 64;

/// OUT: how Xen was compiled. Each is a text that ends with NUL.
struct xen_compile_info {
    /// The compiler and its version.
    uint8_t compiler[64];
    /// The user.
    uint8_t compile_by[16];
    /// The user's domain.
    uint8_t compile_domain[32];
    /// The time, as `date` prints it.
    uint8_t compile_date[32];
};

/// The head of the buffer for `XENVER_build_id`. The bytes of the build-id (OUT) follow at once, at offset 4.
// They are no member: the generator gives an array of unstated length accessors that are unsafe code.
struct xen_build_id {
    /// IN: room for the build-id, in bytes, not counting this field.
    uint32_t len;
};

// ---- sysctl: the hypervisor's log ---------------------------------------------------------------------------------

/// `xen_sysctl.cmd`: copy out of the console ring.
static const uint32_t XEN_SYSCTL_readconsole = 1;

/// The argument of `XEN_SYSCTL_readconsole`.
struct xen_sysctl_readconsole {
    /// IN: non-zero empties the ring afterwards, for every reader.
    uint8_t clear;
    /// IN: non-zero begins at `index` instead of at the oldest byte.
    uint8_t incremental;
    /// IN: zero.
    uint16_t pad;
    /// IN with `incremental`: first position wanted. OUT: the position after the last byte copied.
    uint32_t index;
    /// IN: where the text goes.
    struct xen_guest_handle buffer;
    /// IN: room in `buffer`, in bytes. OUT: bytes written.
    uint32_t count;
    /// Xen leaves these bytes unnamed.
    uint32_t pad_end;
};

// ---- sysctl: debug keys -------------------------------------------------------------------------------------------

/// `xen_sysctl.cmd`: do what keys pressed on the hypervisor's console do.
static const uint32_t XEN_SYSCTL_debug_keys = 7;

/// The argument of `XEN_SYSCTL_debug_keys`.
struct xen_sysctl_debug_keys {
    /// IN: where the keys are, a byte each.
    struct xen_guest_handle keys;
    /// IN: how many.
    uint32_t nr_keys;
    /// Xen leaves these bytes unnamed.
    uint32_t pad_end;
};

// ---- sysctl: live patching ----------------------------------------------------------------------------------------

/// `xen_sysctl.cmd`: live patching.
static const uint32_t XEN_SYSCTL_livepatch_op = 27;

/// `xen_sysctl_livepatch_op.cmd`: hand a payload to Xen, which checks and links it and does not apply it.
static const uint32_t XEN_SYSCTL_LIVEPATCH_UPLOAD = 0;
/// `xen_sysctl_livepatch_op.cmd`: the status of one payload.
static const uint32_t XEN_SYSCTL_LIVEPATCH_GET = 1;
/// `xen_sysctl_livepatch_op.cmd`: the status of all payloads, in the order of their upload.
static const uint32_t XEN_SYSCTL_LIVEPATCH_LIST = 2;
/// `xen_sysctl_livepatch_op.cmd`: do something with an uploaded payload; all but `UNLOAD` finishes after the call.
static const uint32_t XEN_SYSCTL_LIVEPATCH_ACTION = 3;

/// `xen_sysctl_livepatch_op.flags`, since 4.19: leave out checks. No release up to 4.22 has a check that heeds it.
static const uint32_t LIVEPATCH_FLAG_FORCE = 1 << 0;

/// Longest name of a payload in bytes, with the NUL that ends it.
static const uint32_t XEN_LIVEPATCH_NAME_SIZE = 128;

/// The name of a payload.
struct xen_livepatch_name {
    /// IN: where the name is; its last byte is NUL.
    struct xen_guest_handle name;
    /// IN: bytes of the name with its NUL, 1 to `XEN_LIVEPATCH_NAME_SIZE`.
    uint16_t size;
    /// IN: zero.
    uint16_t pad[3];
};

/// `xen_livepatch_status.state`: uploaded, not applied.
static const uint32_t LIVEPATCH_STATE_CHECKED = 1;
/// `xen_livepatch_status.state`: in use.
static const uint32_t LIVEPATCH_STATE_APPLIED = 2;

/// The status of a payload.
struct xen_livepatch_status {
    /// OUT: a `LIVEPATCH_STATE_*`.
    uint32_t state;
    /// OUT: result of the last action begun: 0, a negative errno, or -EAGAIN while it is pending.
    int32_t rc;
};

/// The argument of `XEN_SYSCTL_LIVEPATCH_UPLOAD`.
struct xen_sysctl_livepatch_upload {
    /// IN: the name to keep it under.
    struct xen_livepatch_name name;
    /// IN: bytes of the payload.
    uint64_t size;
    /// IN: the ELF file.
    struct xen_guest_handle payload;
};

/// The argument of `XEN_SYSCTL_LIVEPATCH_GET`.
struct xen_sysctl_livepatch_get {
    /// IN: which payload.
    struct xen_livepatch_name name;
    /// OUT: its status.
    struct xen_livepatch_status status;
};

/// The argument of `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.7 to 4.13. Returns how many were delivered, `nr` or fewer.
struct xen_sysctl_livepatch_list_v1 {
    /// OUT: changes with every upload and unload, not with other actions.
    uint32_t version;
    /// IN: how many payloads to pass over.
    uint32_t idx;
    /// IN: payloads wanted; 0 only counts. OUT: payloads that remain after those delivered; with 0, all there are.
    uint32_t nr;
    /// IN: zero.
    uint32_t pad;
    /// IN: room for `nr` of `xen_livepatch_status`.
    struct xen_guest_handle status;
    /// IN: room for `nr` names; each gets `XEN_LIVEPATCH_NAME_SIZE` bytes.
    struct xen_guest_handle name;
    /// IN: room for `nr` u32: bytes of each name with its NUL.
    struct xen_guest_handle len;
};

/// The argument of `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.14 and later. Returns how many were delivered, `nr` or fewer.
struct xen_sysctl_livepatch_list_v2 {
    /// OUT: changes with every upload and unload, not with other actions.
    uint32_t version;
    /// IN: how many payloads to pass over.
    uint32_t idx;
    /// IN: payloads wanted; 0 only counts. OUT: payloads that remain after those delivered; with 0, all there are.
    uint32_t nr;
    /// IN: zero.
    uint32_t pad;
    /// IN since 4.21: bytes of room at `name`. OUT: bytes of the names delivered; with `nr` 0, of all.
    uint32_t name_total_size;
    /// IN since 4.21: bytes of room at `metadata`. OUT: bytes of the metadata delivered; with `nr` 0, of all.
    uint32_t metadata_total_size;
    /// IN: room for `nr` of `xen_livepatch_status`.
    struct xen_guest_handle status;
    /// IN: room for the names, which follow one another without a gap.
    struct xen_guest_handle name;
    /// IN: room for `nr` u32: bytes of each name with its NUL.
    struct xen_guest_handle len;
    /// IN: room for the metadata (the payloads' `.modinfo`), which follow one another without a gap.
    struct xen_guest_handle metadata;
    /// IN: room for `nr` u32: bytes of each metadata, 0 where a payload has none.
    struct xen_guest_handle metadata_len;
};

/// `xen_sysctl_livepatch_action_*.cmd`: forget a payload that is not applied.
static const uint32_t LIVEPATCH_ACTION_UNLOAD = 1;
/// `xen_sysctl_livepatch_action_*.cmd`: take the payload that was applied last out of use.
static const uint32_t LIVEPATCH_ACTION_REVERT = 2;
/// `xen_sysctl_livepatch_action_*.cmd`: put the payload into use, on top of those applied.
static const uint32_t LIVEPATCH_ACTION_APPLY = 3;
/// `xen_sysctl_livepatch_action_*.cmd`: revert all that are applied and apply this one, in one go.
static const uint32_t LIVEPATCH_ACTION_REPLACE = 4;

/// `xen_sysctl_livepatch_action_v2.flags`, `APPLY` only: apply on top of whatever is applied.
static const uint32_t LIVEPATCH_ACTION_APPLY_NODEPS = 1 << 0;

/// The argument of `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.7 to 4.13.
struct xen_sysctl_livepatch_action_v1 {
    /// IN: which payload.
    struct xen_livepatch_name name;
    /// IN: a `LIVEPATCH_ACTION_*`.
    uint32_t cmd;
    /// IN: nanoseconds that all CPUs have to come to rest; 0 is Xen's default.
    // Xen's own headers of 4.7 and 4.8 say milliseconds; what these releases do is nanoseconds too.
    uint32_t timeout;
};

/// The argument of `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.14 and later.
struct xen_sysctl_livepatch_action_v2 {
    /// IN: which payload.
    struct xen_livepatch_name name;
    /// IN: a `LIVEPATCH_ACTION_*`.
    uint32_t cmd;
    /// IN: nanoseconds that all CPUs have to come to rest; 0 is Xen's default.
    uint32_t timeout;
    /// IN: `LIVEPATCH_ACTION_APPLY_NODEPS` or 0. Xen passes over bits that it does not know.
    uint32_t flags;
    /// IN: zero.
    uint32_t pad;
};

/// The argument of one livepatch operation, chosen by `xen_sysctl_livepatch_op.cmd`.
union xen_sysctl_livepatch_op_u {
    /// `XEN_SYSCTL_LIVEPATCH_UPLOAD`.
    struct xen_sysctl_livepatch_upload upload;
    /// `XEN_SYSCTL_LIVEPATCH_GET`.
    struct xen_sysctl_livepatch_get get;
    /// `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.7 to 4.13.
    struct xen_sysctl_livepatch_list_v1 list_v1;
    /// `XEN_SYSCTL_LIVEPATCH_LIST`, Xen 4.14 and later.
    struct xen_sysctl_livepatch_list_v2 list_v2;
    /// `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.7 to 4.13.
    struct xen_sysctl_livepatch_action_v1 action_v1;
    /// `XEN_SYSCTL_LIVEPATCH_ACTION`, Xen 4.14 and later.
    struct xen_sysctl_livepatch_action_v2 action_v2;
};

/// The argument of `XEN_SYSCTL_livepatch_op`.
// 24 bytes shorter before 4.14, which nobody sees: a `xen_sysctl` is always passed whole.
struct xen_sysctl_livepatch_op {
    /// IN: a `XEN_SYSCTL_LIVEPATCH_*`.
    uint32_t cmd;
    /// IN: `LIVEPATCH_FLAG_FORCE` or 0 since 4.19; must be zero before.
    uint32_t flags;
    /// IN and OUT: what `cmd` takes and gives.
    union xen_sysctl_livepatch_op_u u;
};

/// The argument of one sysctl, chosen by `xen_sysctl.cmd`.
union xen_sysctl_u {
    /// `XEN_SYSCTL_readconsole`.
    struct xen_sysctl_readconsole readconsole;
    /// `XEN_SYSCTL_debug_keys`.
    struct xen_sysctl_debug_keys debug_keys;
    /// `XEN_SYSCTL_livepatch_op`.
    struct xen_sysctl_livepatch_op livepatch;
    /// All of it.
    uint8_t pad[128];
};

/// The argument of `__HYPERVISOR_sysctl`: 136 bytes in every release, whatever the command uses of them.
struct xen_sysctl {
    /// IN: a `XEN_SYSCTL_*`.
    uint32_t cmd;
    /// IN: the sysctl version of the running release; any other is refused with EACCES.
    uint32_t interface_version;
    /// IN and OUT: what `cmd` takes and gives.
    union xen_sysctl_u u;
};

// ---- The hypervisor's own limits: in its code, not in its headers -------------------------------------------------

/// Largest payload that Xen takes, in bytes.
static const uint32_t XEN_LIVEPATCH_MAX_SIZE = 2 << 20;
/// Most payloads that may be asked for in one `XEN_SYSCTL_LIVEPATCH_LIST`.
static const uint32_t XEN_LIVEPATCH_LIST_MAX = 1024;
/// The timeout in nanoseconds that a `timeout` of 0 means.
static const uint32_t XEN_LIVEPATCH_DEFAULT_TIMEOUT = 30000000;

#endif
