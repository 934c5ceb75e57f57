//! Faults on demand. The types ensure that a fault is ordered only for a kind of hypercall in which it can occur.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use super::SimulatedXen;
use super::calls::{Call, Calls};
use super::settings::Pace;
use crate::types::{Action, Errno};

type Script = Arc<dyn Fn(&SimulatedXen) + Send + Sync>;

/// Something that goes wrong at a hypercall, or happens meanwhile.
#[derive(Clone)]
pub(super) enum Fault {
    Fail(Errno),
    LostAnswer,
    StopAfter(u32),
    TimeOut,
    Take(Pace),
    LockHeld,
    Before(Script),
    After(Script),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fail(errno) => write!(f, "fails with {errno}"),
            Self::LostAnswer => f.write_str("can't write its answer"),
            Self::StopAfter(rows) => write!(f, "stops after {rows} rows"),
            Self::TimeOut => f.write_str("runs out of time"),
            Self::Take(pace) => write!(f, "takes {pace:?}"),
            Self::LockHeld => f.write_str("finds the payloads locked"),
            Self::Before(_) => f.write_str("a script runs before it"),
            Self::After(_) => f.write_str("a script runs after it"),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The faults of one hypercall, oldest order first.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

/// If faults exclude each other, the first counts.
impl Faults {
    fn first<T>(&self, pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    pub(super) fn error(&self) -> Option<Errno> {
        self.first(|fault| if let Fault::Fail(errno) = fault { Some(*errno) } else { None })
    }

    pub(super) fn rows(&self) -> Option<u32> {
        self.first(|fault| if let Fault::StopAfter(rows) = fault { Some(*rows) } else { None })
    }

    pub(super) fn pace(&self) -> Option<Pace> {
        self.first(|fault| if let Fault::Take(pace) = fault { Some(*pace) } else { None })
    }

    pub(super) fn loses_answer(&self) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::LostAnswer))
    }

    pub(super) fn times_out(&self) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::TimeOut))
    }

    pub(super) fn finds_lock_held(&self) -> bool {
        self.0.iter().any(|fault| matches!(fault, Fault::LockHeld))
    }

    pub(super) fn run_before(&self, xen: &SimulatedXen) {
        for fault in &self.0 {
            if let Fault::Before(script) = fault {
                script(xen);
            }
        }
    }

    pub(super) fn run_after(&self, xen: &SimulatedXen) {
        for fault in &self.0 {
            if let Fault::After(script) = fault {
                script(xen);
            }
        }
    }
}

#[derive(Debug)]
struct Order {
    call: Call,
    /// The k-th hypercall of that kind from now on; `None` for all of them.
    nth: Option<u64>,
    met: bool,
    fault: Fault,
}

/// The orders that are in force, and the hypercalls so far.
#[derive(Debug, Default)]
pub(super) struct Orders {
    orders: Vec<Order>,
    pub(super) calls: Calls,
}

impl Orders {
    /// Counts a hypercall, and returns the faults that it meets.
    pub(super) fn meet(&mut self, call: Call) -> Faults {
        self.calls.count(call);
        let mut faults = Faults::default();
        self.orders.retain_mut(|order| {
            if order.call != call {
                return true;
            }
            if let Some(left @ 2..) = &mut order.nth {
                *left -= 1;
                return true;
            }
            order.met = true;
            faults.0.push(order.fault.clone());
            order.nth.is_none()
        });
        faults
    }
}

/// An order that no hypercall has met yet, returned by [`SimulatedXen::pending_orders`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingOrder {
    /// The kind of hypercall.
    pub call: Call,
    /// The number of the hypercall of that kind, the next being 1; `None` for all of them.
    pub nth: Option<u64>,
    fault: String,
}

impl fmt::Display for PendingOrder {
    /// Such as `Upload number 2 from now on: fails with ENOMEM (12, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            Some(nth) => write!(f, "{:?} number {nth} from now on: {}", self.call, self.fault),
            None => write!(f, "every {:?}: {}", self.call, self.fault),
        }
    }
}

/// Kinds of hypercalls by the faults that can be ordered for them.
pub mod kinds {
    /// Any hypercall.
    #[derive(Clone, Copy, Debug)]
    pub struct Any;

    /// A hypercall whose answer Xen writes into the caller's memory.
    #[derive(Clone, Copy, Debug)]
    pub struct Answered;

    /// LIST.
    #[derive(Clone, Copy, Debug)]
    pub struct List;

    /// Debug keys.
    #[derive(Clone, Copy, Debug)]
    pub struct DebugKeys;

    /// An ACTION that takes time: apply, revert, replace.
    #[derive(Clone, Copy, Debug)]
    pub struct TimedAction;

    mod sealed {
        pub trait Sealed {}
    }

    /// A kind whose answer Xen writes into the caller's memory. Sealed.
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

/// An order for a fault at a later hypercall, created by [`SimulatedXen::on`] and similar methods.
///
/// The next hypercall of the kind meets the fault, unless [`nth`](Self::nth) or [`always`](Self::always) is used. Orders add
/// up; if two exclude each other, the older counts. A fault can be ordered only for kinds of hypercalls in which it can
/// occur. [`SimulatedXen::pending_orders`] lists the orders that no hypercall has met.
///
/// ```
/// use xen_livepatch::sim::SimulatedXen;
/// use xen_livepatch::{Errno, Release};
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
/// # use xen_livepatch::Release;
/// # use xen_livepatch::sim::SimulatedXen;
/// # let xen = SimulatedXen::new(Release::V4_20);
/// xen.on_upload().stop_after(1);
/// ```
#[derive(Debug)]
#[must_use = "an order is given by naming its fault"]
pub struct On<'a, Kind = Any> {
    xen: &'a SimulatedXen,
    call: Call,
    nth: Option<u64>,
    kind: PhantomData<Kind>,
}

impl<'a, Kind> On<'a, Kind> {
    fn new(xen: &'a SimulatedXen, call: Call) -> Self {
        Self { xen, call, nth: Some(1), kind: PhantomData }
    }

    /// Selects the k-th hypercall of the kind from now on; the next is the first.
    pub fn nth(self, k: u64) -> Self {
        Self { nth: Some(k), ..self }
    }

    /// Selects every hypercall of the kind, until [`SimulatedXen::forget_orders`].
    pub fn always(self) -> Self {
        Self { nth: None, ..self }
    }

    /// Fails with this error, without being carried out.
    pub fn fail(self, errno: Errno) {
        self.order(Fault::Fail(errno));
    }

    /// Runs a script before it, for instance the hypercalls of another toolstack. Other callers aren't held up meanwhile.
    pub fn before(self, script: impl Fn(&SimulatedXen) + Send + Sync + 'static) {
        self.order(Fault::Before(Arc::new(script)));
    }

    /// Runs a script after it, before its caller sees the result.
    pub fn after(self, script: impl Fn(&SimulatedXen) + Send + Sync + 'static) {
        self.order(Fault::After(Arc::new(script)));
    }

    fn order(self, fault: Fault) {
        self.xen.orders().orders.push(Order { call: self.call, nth: self.nth, met: false, fault });
    }
}

impl<Kind: IsAnswered> On<'_, Kind> {
    /// Is carried out, but Xen can't write the answer: `EFAULT`. An answer of `ENOSYS` or `EOPNOTSUPP` is returned all the
    /// same, since Xen writes nothing for these.
    pub fn fault_after(self) {
        self.order(Fault::LostAnswer);
    }
}

impl On<'_, List> {
    /// Stops after so many rows (at least one), as Xen does when something else is due on the CPU.
    pub fn stop_after(self, rows: u32) {
        self.order(Fault::StopAfter(rows));
    }
}

impl On<'_, DebugKeys> {
    /// Finds the lock of the payloads held: key `x` prints that it should be tried again.
    pub fn find_the_lock_held(self) {
        self.order(Fault::LockHeld);
    }
}

impl On<'_, TimedAction> {
    /// Starts an action that runs out of time, whatever its timeout: `rc` −`EBUSY`, the state unchanged.
    pub fn time_out(self) {
        self.order(Fault::TimeOut);
    }

    /// Starts an action that takes this long.
    pub fn take(self, pace: Pace) {
        self.order(Fault::Take(pace));
    }
}

/// Orders for faults, by kind of hypercall.
impl SimulatedXen {
    /// Selects a hypercall of any kind.
    pub fn on(&self, call: Call) -> On<'_> {
        On::new(self, call)
    }

    /// Selects `XENVER_version`, whose answer is its result.
    pub fn on_version(&self) -> On<'_> {
        On::new(self, Call::Version)
    }

    /// Selects an ACTION of this kind.
    pub fn on_action(&self, action: Action) -> On<'_, Answered> {
        On::new(self, action.into())
    }

    /// Returns the orders that no hypercall has met yet. At the end of a test there should be none.
    #[must_use]
    pub fn pending_orders(&self) -> Vec<PendingOrder> {
        let orders = self.orders();
        let pending = orders.orders.iter().filter(|order| !order.met);
        pending.map(|order| PendingOrder { call: order.call, nth: order.nth, fault: order.fault.to_string() }).collect()
    }

    /// Withdraws all orders.
    pub fn forget_orders(&self) {
        self.orders().orders.clear();
    }
}

/// Methods that select hypercalls by their kind.
macro_rules! selectors {
    ($($(#[$doc:meta])* $name:ident($call:ident) -> $kind:ident;)*) => {
        impl SimulatedXen {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> On<'_, $kind> {
                    On::new(self, Call::$call)
                }
            )*
        }
    };
}

selectors! {
    /// Selects an ACTION that applies a payload.
    on_apply(Apply) -> TimedAction;
    /// Selects an ACTION that reverts a payload.
    on_revert(Revert) -> TimedAction;
    /// Selects an ACTION that replaces all applied payloads by one.
    on_replace(Replace) -> TimedAction;
    /// Selects an ACTION that unloads a payload. It takes no time.
    on_unload(Unload) -> Answered;
    /// Selects [`Call::OtherAction`].
    on_other_action(OtherAction) -> Answered;
    /// Selects an UPLOAD.
    on_upload(Upload) -> Answered;
    /// Selects a GET.
    on_get(Get) -> Answered;
    /// Selects a LIST.
    on_list(List) -> List;
    /// Selects a read of the console.
    on_console(Console) -> Answered;
    /// Selects the sending of debug keys.
    on_debug_keys(DebugKeys) -> DebugKeys;
    /// Selects `XENVER_extraversion`.
    on_extra_version(ExtraVersion) -> Answered;
    /// Selects `XENVER_compile_info`.
    on_compile_info(CompileInfo) -> Answered;
    /// Selects `XENVER_changeset`.
    on_changeset(Changeset) -> Answered;
    /// Selects `XENVER_build_id`.
    on_build_id(BuildId) -> Answered;
}
