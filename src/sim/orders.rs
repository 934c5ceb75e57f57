//! What a test orders to go wrong, or to happen meanwhile: what can't happen can't be ordered.

use core::marker::PhantomData;
use std::sync::Arc;

use super::SimulatedXen;
use super::faults::{Call, Effects, Order, Pace, PendingOrder, When};
use crate::error::Action;
use crate::types::errno::Errno;

/// Which orders a kind of hypercall takes.
pub mod kinds {
    /// Any hypercall at all.
    #[derive(Clone, Copy, Debug)]
    pub struct Any;

    /// One that Xen writes an answer to into the caller's memory.
    #[derive(Clone, Copy, Debug)]
    pub struct Answered;

    /// LIST.
    #[derive(Clone, Copy, Debug)]
    pub struct List;

    /// Debug keys.
    #[derive(Clone, Copy, Debug)]
    pub struct DebugKeys;

    /// An ACTION that takes its time: apply, revert, replace.
    #[derive(Clone, Copy, Debug)]
    pub struct TimedAction;

    mod sealed {
        pub trait Sealed {}
    }

    /// What Xen writes an answer to. Sealed.
    pub trait IsAnswered: sealed::Sealed {}

    impl sealed::Sealed for Answered {}
    impl sealed::Sealed for DebugKeys {}
    impl sealed::Sealed for List {}
    impl sealed::Sealed for TimedAction {}
    impl IsAnswered for Answered {}
    impl IsAnswered for DebugKeys {}
    impl IsAnswered for List {}
    impl IsAnswered for TimedAction {}
}

use kinds::{Answered, Any, DebugKeys, IsAnswered, List, TimedAction};

/// Something to go wrong, or to happen meanwhile, at a hypercall to come; made by [`SimulatedXen::on`] and its kin.
///
/// Meant is the next hypercall of the kind, unless [`nth`](Self::nth) or [`always`](Self::always) says otherwise.
/// Orders add up; of two that exclude each other the older wins. What can't happen to a kind of hypercall can't be
/// ordered for it; what was ordered and never met is in [`SimulatedXen::pending_orders`].
///
/// ```
/// use xen_livepatch::{Errno, Release};
/// use xen_livepatch::sim::SimulatedXen;
///
/// let xen = SimulatedXen::new(Release::V4_20);
/// // The third upload finds no memory; the console can't be read at all; the second LIST delivers one row.
/// xen.on_upload().nth(3).fail(Errno::ENOMEM);
/// xen.on_console().always().fail(Errno::EACCES);
/// xen.on_list().nth(2).stop_after(1);
/// // Another process comes in between.
/// xen.on_apply().before(|xen| xen.print("somebody else was here"));
/// assert_eq!(xen.pending_orders().len(), 4);
/// ```
///
/// ```compile_fail
/// # use xen_livepatch::sim::SimulatedXen;
/// # use xen_livepatch::Release;
/// # let xen = SimulatedXen::new(Release::V4_20);
/// xen.on_upload().stop_after(1);
/// ```
#[derive(Debug)]
#[must_use = "nothing is ordered before it is said what happens"]
pub struct On<'a, Kind = Any> {
    xen: &'a SimulatedXen,
    call: Call,
    when: When,
    kind: PhantomData<Kind>,
}

impl<'a, Kind> On<'a, Kind> {
    fn new(xen: &'a SimulatedXen, call: Call) -> Self {
        Self { xen, call, when: When::In(1), kind: PhantomData }
    }

    /// The k-th hypercall of the kind from now on; the next is the first.
    pub fn nth(self, k: u64) -> Self {
        Self { when: When::In(k), ..self }
    }

    /// Every hypercall of the kind, until [`SimulatedXen::forget_orders`].
    pub fn always(self) -> Self {
        Self { when: When::Always { met: false }, ..self }
    }

    /// It isn't carried out and returns this.
    pub fn fail(self, errno: Errno) {
        self.order(Effects { fail: Some(errno), ..Effects::default() });
    }

    /// Runs this before it: what another toolstack does in between, say. Other callers aren't held up meanwhile.
    pub fn before(self, script: impl Fn(&SimulatedXen) + Send + Sync + 'static) {
        self.order(Effects { before: vec![Arc::new(script)], ..Effects::default() });
    }

    /// Runs this after it, before its caller sees the result.
    pub fn after(self, script: impl Fn(&SimulatedXen) + Send + Sync + 'static) {
        self.order(Effects { after: vec![Arc::new(script)], ..Effects::default() });
    }

    fn order(self, effects: Effects) {
        self.xen.faults().orders.push(Order { call: self.call, when: self.when, effects });
    }
}

impl<Kind: IsAnswered> On<'_, Kind> {
    /// It is carried out, then Xen can't write the result back: `EFAULT`. Where the answer is `ENOSYS` or `EOPNOTSUPP`,
    /// Xen writes nothing, and this changes nothing.
    pub fn fault_after(self) {
        self.order(Effects { fault_after: true, ..Effects::default() });
    }
}

impl On<'_, List> {
    /// It stops after so many rows (one at least), as Xen does when something else is due on the CPU.
    pub fn stop_after(self, rows: u32) {
        self.order(Effects { rows: Some(rows), ..Effects::default() });
    }
}

impl On<'_, DebugKeys> {
    /// Something else holds the lock of the payloads: key `x` prints that it should be tried again.
    pub fn find_the_lock_held(self) {
        self.order(Effects { lock_held: true, ..Effects::default() });
    }
}

impl On<'_, TimedAction> {
    /// The action that it starts runs out of time, whatever its timeout: `rc` −`EBUSY`, the state unchanged.
    pub fn time_out(self) {
        self.order(Effects { time_out: true, ..Effects::default() });
    }

    /// The action that it starts takes so long.
    pub fn take(self, pace: Pace) {
        self.order(Effects { pace: Some(pace), ..Effects::default() });
    }
}

/// Orders. What can be ordered depends on the kind of hypercall, see [`On`].
impl SimulatedXen {
    /// Orders something to happen at hypercalls of any kind.
    pub fn on(&self, call: Call) -> On<'_> {
        On::new(self, call)
    }

    /// Orders something to happen at an ACTION of this kind.
    pub fn on_action(&self, action: Action) -> On<'_, Answered> {
        let call = match action {
            Action::Apply => Call::Apply,
            Action::Revert => Call::Revert,
            Action::Replace => Call::Replace,
            Action::Unload => Call::Unload,
        };
        On::new(self, call)
    }

    /// Orders something to happen when a payload is applied.
    pub fn on_apply(&self) -> On<'_, TimedAction> {
        On::new(self, Call::Apply)
    }

    /// Orders something to happen when a payload is reverted.
    pub fn on_revert(&self) -> On<'_, TimedAction> {
        On::new(self, Call::Revert)
    }

    /// Orders something to happen when a payload replaces the others.
    pub fn on_replace(&self) -> On<'_, TimedAction> {
        On::new(self, Call::Replace)
    }

    /// Orders something to happen when a payload is unloaded, which takes no time.
    pub fn on_unload(&self) -> On<'_, Answered> {
        On::new(self, Call::Unload)
    }

    /// Orders something to happen at [`Call::OtherAction`].
    pub fn on_other_action(&self) -> On<'_, Answered> {
        On::new(self, Call::OtherAction)
    }

    /// Orders something to happen at an UPLOAD.
    pub fn on_upload(&self) -> On<'_, Answered> {
        On::new(self, Call::Upload)
    }

    /// Orders something to happen at a GET.
    pub fn on_get(&self) -> On<'_, Answered> {
        On::new(self, Call::Get)
    }

    /// Orders something to happen at a LIST.
    pub fn on_list(&self) -> On<'_, List> {
        On::new(self, Call::List)
    }

    /// Orders something to happen when the console is read.
    pub fn on_console(&self) -> On<'_, Answered> {
        On::new(self, Call::Console)
    }

    /// Orders something to happen when debug keys are pressed.
    pub fn on_debug_keys(&self) -> On<'_, DebugKeys> {
        On::new(self, Call::DebugKeys)
    }

    /// Orders something to happen when Xen is asked for its major and minor number, which it returns.
    pub fn on_version(&self) -> On<'_> {
        On::new(self, Call::Version)
    }

    /// Orders something to happen when Xen is asked for the rest of its version.
    pub fn on_extra_version(&self) -> On<'_, Answered> {
        On::new(self, Call::ExtraVersion)
    }

    /// Orders something to happen when Xen is asked how it was compiled.
    pub fn on_compile_info(&self) -> On<'_, Answered> {
        On::new(self, Call::CompileInfo)
    }

    /// Orders something to happen when Xen is asked for the last commit of its source.
    pub fn on_changeset(&self) -> On<'_, Answered> {
        On::new(self, Call::Changeset)
    }

    /// Orders something to happen when Xen is asked for its build-id.
    pub fn on_build_id(&self) -> On<'_, Answered> {
        On::new(self, Call::BuildId)
    }

    /// What was ordered and has not happened yet. At the end of a test it should be empty.
    #[must_use]
    pub fn pending_orders(&self) -> Vec<PendingOrder> {
        self.faults().pending()
    }

    /// Forgets all that was ordered.
    pub fn forget_orders(&self) {
        self.faults().forget();
    }
}
