//! What goes wrong on demand, and the count of hypercalls.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::SimulatedXen;
use crate::types::errno::Errno;

/// A kind of hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// UPLOAD of a payload.
    Upload,
    /// GET of one payload's status.
    Get,
    /// LIST, with rows or for the sizes alone.
    List,
    /// ACTION: apply.
    Apply,
    /// ACTION: revert.
    Revert,
    /// ACTION: replace.
    Replace,
    /// ACTION: unload.
    Unload,
    /// ACTION with a command that no release has, which tells whether work is pending on a payload.
    OtherAction,
    /// Reading the console ring.
    Console,
    /// Pressing debug keys.
    DebugKeys,
    /// `XENVER_version`.
    Version,
    /// `XENVER_extraversion`.
    ExtraVersion,
    /// `XENVER_compile_info`.
    CompileInfo,
    /// `XENVER_changeset`.
    Changeset,
    /// `XENVER_build_id`.
    BuildId,
    /// Anything else.
    Other,
}

/// How many hypercalls were made, by kind, those that failed and those at a wrong interface version too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(BTreeMap<Call, u64>);

impl Calls {
    /// How many of a kind.
    #[must_use]
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(&call).copied().unwrap_or_default()
    }

    /// How many altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// How long an action takes that Xen has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Pace {
    /// The next so many GET, LIST and ACTION hypercalls, whoever makes them, find it under way; the one after them
    /// finds it done. With 0 it is done when ACTION returns. This is the default, with 1.
    Polls(u32),
    /// So much time.
    Time(Duration),
    /// Until [`SimulatedXen::finish_action`] is called.
    Held,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Polls(1)
    }
}

type Script = Arc<dyn Fn(&SimulatedXen) + Send + Sync>;

/// What is ordered for one hypercall.
#[derive(Clone, Default)]
pub(super) struct Effects {
    pub(super) fail: Option<Errno>,
    pub(super) fault_after: bool,
    /// Rows after which LIST stops.
    pub(super) rows: Option<u32>,
    pub(super) time_out: bool,
    pub(super) pace: Option<Pace>,
    pub(super) lock_held: bool,
    pub(super) before: Vec<Script>,
    pub(super) after: Vec<Script>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("fail", &self.fail)
            .field("fault_after", &self.fault_after)
            .field("rows", &self.rows)
            .field("time_out", &self.time_out)
            .field("pace", &self.pace)
            .field("lock_held", &self.lock_held)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Effects {
    /// What happens. An order has one effect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { fail: Some(errno), .. } => write!(f, "fails with {errno}"),
            Self { rows: Some(rows), .. } => write!(f, "stops after {rows} rows"),
            Self { pace: Some(pace), .. } => write!(f, "takes {pace:?}"),
            Self { time_out: true, .. } => f.write_str("runs out of time"),
            Self { lock_held: true, .. } => f.write_str("finds the payloads locked"),
            Self { fault_after: true, .. } => f.write_str("can't write its answer"),
            Self { before, .. } if !before.is_empty() => f.write_str("a script runs before it"),
            _ => f.write_str("a script runs after it"),
        }
    }
}

impl Effects {
    fn add(&mut self, other: &Self) {
        self.fail = self.fail.or(other.fail);
        self.fault_after |= other.fault_after;
        self.rows = self.rows.or(other.rows);
        self.time_out |= other.time_out;
        self.lock_held |= other.lock_held;
        self.pace = self.pace.or(other.pace);
        self.before.extend(other.before.iter().cloned());
        self.after.extend(other.after.iter().cloned());
    }
}

/// Which hypercalls of a kind: the k-th from now, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    In(u64),
    Always { met: bool },
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) call: Call,
    pub(super) when: When,
    pub(super) effects: Effects,
}

/// What is ordered, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) orders: Vec<Order>,
    pub(super) calls: Calls,
}

impl Faults {
    /// Counts a hypercall, and takes what is ordered for it.
    pub(super) fn meet(&mut self, call: Call) -> Effects {
        *self.calls.0.entry(call).or_default() += 1;
        let mut effects = Effects::default();
        self.orders.retain_mut(|order| {
            if order.call != call {
                return true;
            }
            match &mut order.when {
                When::In(left @ 2..) => {
                    *left -= 1;
                    return true;
                }
                When::In(_) => {}
                When::Always { met } => *met = true,
            }
            effects.add(&order.effects);
            matches!(order.when, When::Always { .. })
        });
        effects
    }

    pub(super) fn forget(&mut self) {
        self.orders.clear();
    }

    pub(super) fn pending(&self) -> Vec<PendingOrder> {
        let pending = self.orders.iter().filter(|order| order.when != When::Always { met: true });
        pending.map(PendingOrder::of).collect()
    }
}

/// Something ordered that hasn't happened yet, since there was no such hypercall; given by
/// [`SimulatedXen::pending_orders`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingOrder {
    /// The kind of hypercall that it waits for.
    pub call: Call,
    /// Which of that kind from now on, the next being the first; `None` if all.
    pub nth: Option<u64>,
    what: String,
}

impl PendingOrder {
    fn of(order: &Order) -> Self {
        let nth = match order.when {
            When::In(nth) => Some(nth),
            When::Always { .. } => None,
        };
        Self { call: order.call, nth, what: order.effects.to_string() }
    }
}

impl fmt::Display for PendingOrder {
    /// Such as `Upload number 2 from now on: fails with ENOMEM (12, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            Some(nth) => write!(f, "{:?} number {nth} from now on: {}", self.call, self.what),
            None => write!(f, "every {:?}: {}", self.call, self.what),
        }
    }
}
