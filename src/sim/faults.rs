//! What goes wrong on demand, and the count of hypercalls.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::SimulatedXen;
use crate::errno::Errno;

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
    /// `XENVER_version`.
    Version,
    /// `XENVER_extraversion`.
    ExtraVersion,
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
            .finish_non_exhaustive()
    }
}

impl Effects {
    fn add(&mut self, other: &Self) {
        self.fail = self.fail.or(other.fail);
        self.fault_after |= other.fault_after;
        self.rows = self.rows.or(other.rows);
        self.time_out |= other.time_out;
        self.pace = self.pace.or(other.pace);
        self.before.extend(other.before.iter().cloned());
        self.after.extend(other.after.iter().cloned());
    }
}

/// Which hypercalls of a kind: the k-th from now, or all.
#[derive(Clone, Copy, Debug)]
enum When {
    In(u64),
    Always,
}

/// What is ordered, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Faults {
    orders: Vec<(Call, When, Effects)>,
    pub(super) calls: Calls,
}

impl Faults {
    /// Counts a hypercall, and takes what is ordered for it.
    pub(super) fn meet(&mut self, call: Call) -> Effects {
        *self.calls.0.entry(call).or_default() += 1;
        let mut effects = Effects::default();
        self.orders.retain_mut(|(kind, when, ordered)| {
            match when {
                _ if *kind != call => return true,
                When::In(2..) => {
                    if let When::In(left) = when {
                        *left -= 1;
                    }
                    return true;
                }
                When::In(_) | When::Always => effects.add(ordered),
            }
            matches!(when, When::Always)
        });
        effects
    }
}

/// Something to go wrong, or to happen meanwhile, at a hypercall to come; made by [`SimulatedXen::on`].
///
/// Meant is the next hypercall of the kind, unless [`nth`](Self::nth) or [`always`](Self::always) says otherwise.
/// Orders add up; of two that exclude each other the older wins.
///
/// ```
/// use xen_livepatch::Errno;
/// use xen_livepatch::sim::{Call, Release, SimulatedXen};
///
/// let xen = SimulatedXen::new(Release::V4_20);
/// // The third upload finds no memory; the console can't be read at all; the second LIST delivers one row.
/// xen.on(Call::Upload).nth(3).fail(Errno::ENOMEM);
/// xen.on(Call::Console).always().fail(Errno::EACCES);
/// xen.on(Call::List).nth(2).stop_after(1);
/// // Another process comes in between.
/// xen.on(Call::Apply).before(|xen| xen.print("somebody else was here"));
/// ```
#[derive(Debug)]
#[must_use = "nothing is ordered before it is said what happens"]
pub struct On<'a> {
    xen: &'a SimulatedXen,
    call: Call,
    when: When,
}

impl<'a> On<'a> {
    pub(super) fn new(xen: &'a SimulatedXen, call: Call) -> Self {
        Self { xen, call, when: When::In(1) }
    }

    /// The k-th hypercall of the kind from now on; the next is the first.
    pub fn nth(self, k: u64) -> Self {
        Self { when: When::In(k), ..self }
    }

    /// Every hypercall of the kind, until [`SimulatedXen::forget_orders`].
    pub fn always(self) -> Self {
        Self { when: When::Always, ..self }
    }

    /// It isn't carried out and returns this.
    pub fn fail(self, errno: Errno) {
        self.order(Effects { fail: Some(errno), ..Effects::default() });
    }

    /// It is carried out, then Xen can't write the result back: `EFAULT`.
    pub fn fault_after(self) {
        self.order(Effects { fault_after: true, ..Effects::default() });
    }

    /// LIST stops after so many rows (one at least), as Xen does when something else is due on the CPU.
    pub fn stop_after(self, rows: u32) {
        self.order(Effects { rows: Some(rows), ..Effects::default() });
    }

    /// The action that it starts runs out of time, whatever its timeout: `rc` −`EBUSY`, the state unchanged.
    pub fn time_out(self) {
        self.order(Effects { time_out: true, ..Effects::default() });
    }

    /// The action that it starts takes so long.
    pub fn take(self, pace: Pace) {
        self.order(Effects { pace: Some(pace), ..Effects::default() });
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
        self.xen.faults().orders.push((self.call, self.when, effects));
    }
}

impl Faults {
    pub(super) fn forget(&mut self) {
        self.orders.clear();
    }
}
