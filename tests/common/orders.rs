//! Faults at hypercalls of a kind that is not known when the test is written.

use xen_livepatch::sim::{Call, On, SimulatedXen};

/// The calls that a fault can meet.
pub const CALLS: [Call; 11] = [
    Call::Upload,
    Call::Get,
    Call::List,
    Call::Apply,
    Call::Revert,
    Call::Replace,
    Call::Unload,
    Call::OtherAction,
    Call::Console,
    Call::BuildId,
    Call::ExtraVersion,
];

/// Selects the k-th call, or every one.
pub fn when<K>(on: On<'_, K>, nth: Option<u64>) -> On<'_, K> {
    match nth {
        Some(nth) => on.nth(nth),
        None => on.always(),
    }
}

/// Has Xen carry out the k-th call of a kind, or every one, without being able to write the answer.
pub fn lose_answer(xen: &SimulatedXen, call: Call, nth: Option<u64>) {
    match call {
        Call::Upload => when(xen.on_upload(), nth).fault_after(),
        Call::Get => when(xen.on_get(), nth).fault_after(),
        Call::List => when(xen.on_list(), nth).fault_after(),
        Call::Apply => when(xen.on_apply(), nth).fault_after(),
        Call::Revert => when(xen.on_revert(), nth).fault_after(),
        Call::Replace => when(xen.on_replace(), nth).fault_after(),
        Call::Unload => when(xen.on_unload(), nth).fault_after(),
        Call::OtherAction => when(xen.on_other_action(), nth).fault_after(),
        Call::Console => when(xen.on_console(), nth).fault_after(),
        Call::DebugKeys => when(xen.on_debug_keys(), nth).fault_after(),
        Call::BuildId => when(xen.on_build_id(), nth).fault_after(),
        Call::ExtraVersion => when(xen.on_extra_version(), nth).fault_after(),
        _ => unreachable!("{call:?} has no answer in memory"),
    }
}

/// Has the k-th action of a kind, or every one, run out of time.
pub fn time_out(xen: &SimulatedXen, call: Call, nth: Option<u64>) {
    match call {
        Call::Apply => when(xen.on_apply(), nth).time_out(),
        Call::Revert => when(xen.on_revert(), nth).time_out(),
        _ => when(xen.on_replace(), nth).time_out(),
    }
}
