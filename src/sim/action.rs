//! ACTION: what is refused or skipped at once, and the work that is done later.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use super::bytes::until_nul;
use super::host::Host;
use super::payload::{Payload, Standing, Stop, refuse, surround_actions};
use super::settings::{LogLevel, Pace};
use crate::error::Action;
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::xen::architecture::Architecture;
use crate::xen::format::Expectation;
use crate::xen::rules;

const LATE: &str = "Timed out on semaphore in CPU quiesce phase 0/1";

/// What a timeout of 0 stands for.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(30);

const EAGAIN: i32 = -Errno::EAGAIN.number();
const EBUSY: i32 = -Errno::EBUSY.number();
const EINVAL: i32 = -Errno::EINVAL.number();

/// The numbers of the interface.
const NUMBERS: [(u32, Action); 4] =
    [(1, Action::Unload), (2, Action::Revert), (3, Action::Apply), (4, Action::Replace)];

/// Which action a number stands for.
pub(super) fn from_number(number: u32) -> Option<Action> {
    NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, action)| *action)
}

/// The number of an action.
pub(super) fn number(action: Action) -> u32 {
    NUMBERS.iter().find(|(_, known)| *known == action).map(|(number, _)| *number).unwrap_or_default()
}

/// The one action that a host can have under way.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Work {
    payload: u64,
    action: Scheduled,
    timeout: Duration,
    until: Until,
    /// The CPUs will not come to rest in time, whatever the timeout.
    late: bool,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
enum Until {
    Polls(u32),
    Time(Deadline),
    Told,
}

/// An action that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
enum Scheduled {
    Apply,
    Revert,
    Replace,
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apply => "apply",
            Self::Revert => "revert",
            Self::Replace => "replace",
        })
    }
}

/// A hook that runs although its action is finished for all that can be seen.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct RunningHook {
    payload: u64,
    /// `None` for a time that never comes.
    until: Option<Deadline>,
    /// The line at its end.
    end: Vec<u8>,
}

/// A point in time, saved as the time until it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// `None` where no clock gets that far.
    pub(super) fn after(time: Duration) -> Option<Self> {
        Instant::now().checked_add(time).map(Self)
    }

    pub(super) fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }

    /// Zero once it has passed.
    #[cfg(feature = "serde")]
    pub(super) fn time_left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

impl Host {
    /// Finishes the action and the hook whose time has passed.
    pub(super) fn catch_up(&mut self) {
        if self.work.as_ref().is_some_and(|work| matches!(work.until, Until::Time(due) if due.has_passed())) {
            self.finish();
        }
        if self.hook.as_ref().and_then(|hook| hook.until).is_some_and(Deadline::has_passed) {
            self.end_hook();
        }
    }

    /// Counts a look at the payloads, after some of which an action may be done.
    pub(super) fn poll(&mut self) {
        let Some(Until::Polls(left)) = self.work.as_mut().map(|work| &mut work.until) else { return };
        match left.checked_sub(1) {
            Some(rest) => *left = rest,
            None => self.finish(),
        }
    }

    /// The ids of the payloads whose action or hook is under way.
    #[cfg(feature = "serde")]
    pub(super) fn busy_payloads(&self) -> impl Iterator<Item = u64> {
        let acting = self.work.iter().map(|work| work.payload);
        acting.chain(self.hook.iter().map(|hook| hook.payload))
    }

    pub(super) fn act(&mut self, name: &[u8], command: u32, timeout: u32, flags: u32) -> Result<u32, Errno> {
        let outcome = self.start(name, command, timeout, flags);
        self.settle(name, outcome)
    }

    fn start(&mut self, name: &[u8], command: u32, timeout: u32, flags: u32) -> Result<u32, Stop> {
        let index = self.index(until_nul(name)).ok_or(Errno::ENOENT)?;
        let Some(payload) = self.payloads.get(index) else { return Err(Errno::ENOENT.into()) };
        let (id, applied) = (payload.id, payload.standing == Standing::Applied);
        if self.work.as_ref().is_some_and(|work| work.payload == id) {
            return Err(Errno::EBUSY.into());
        }
        match from_number(command) {
            None => Err(Errno::EOPNOTSUPP.into()),
            Some(Action::Unload) if applied => Err(Errno::EINVAL.into()),
            Some(Action::Unload) => self.unload(index),
            // Asked for what is so already: no error, and nothing happens.
            Some(Action::Revert) if !applied => Ok(0),
            Some(Action::Apply | Action::Replace) if applied => Ok(0),
            Some(Action::Revert) => self.revert(id, timeout),
            Some(Action::Apply) => self.apply(id, timeout, Flags::from_bits_retain(flags).contains(Flags::NODEPS)),
            Some(Action::Replace) => self.replace(id, timeout),
        }
    }

    fn unload(&mut self, index: usize) -> Result<u32, Stop> {
        let in_hook = self.payloads.get(index).zip(self.hook.as_ref()).is_some_and(|(it, hook)| it.id == hook.payload);
        if self.has(&rules::UNLOAD_WAITS) {
            self.end_hook();
        } else if in_hook {
            return Err(Stop::Crashed("it is unloaded while its hook runs".into()));
        }
        let payload = self.payloads.remove(index);
        self.image.unload(payload.base);
        self.list_version = self.list_version.wrapping_add(1);
        // The CPU that waits for all others holds the lock that the patching needs, so that one runs out of time.
        if self.has(&rules::UNLOAD_WAITS) {
            if let Some(work) = &mut self.work {
                work.late = true;
            }
        }
        Ok(0)
    }

    fn revert(&mut self, id: u64, timeout: u32) -> Result<u32, Stop> {
        let top = self.applied.last().copied().unwrap_or_default();
        if top != id {
            let name = self.by_id(top).map(|payload| &*payload.name).unwrap_or_default();
            return refuse(Errno::EBUSY, [b"can't unload. Top is ", name].concat());
        }
        let veto = self.by_id(id).map(|payload| payload.hooks.before_revert).unwrap_or_default();
        self.ask_then_schedule(id, veto, Scheduled::Revert, timeout)
    }

    fn apply(&mut self, id: u64, timeout: u32, nodeps: bool) -> Result<u32, Stop> {
        let guarded = self.has(&rules::REAPPLY_GUARDED);
        if let Some(payload) = self.by_id_mut(id).filter(|payload| payload.reverted && !payload.safe_to_reapply) {
            if guarded {
                // Not the hypercall's result: only GET shows it.
                payload.rc = EINVAL;
                let name = payload.name.clone();
                if self.has(&rules::REASONS_ON_CONSOLE) {
                    self.log(&name, b"can't revert as payload has .data. Please unload");
                }
                return Ok(0);
            }
        }
        let payload = self.by_id(id).ok_or(Errno::ENOENT)?;
        if !nodeps || !self.has(&rules::PACKED_LAYOUT) {
            self.check_depends(payload, self.applied.last().copied())?;
        }
        if self.has(&rules::EXPECTATIONS) {
            self.check_expectations(payload)?;
        }
        let veto = payload.hooks.before_apply;
        self.ask_then_schedule(id, veto, Scheduled::Apply, timeout)
    }

    fn replace(&mut self, id: u64, timeout: u32) -> Result<u32, Stop> {
        let payload = self.by_id(id).ok_or(Errno::ENOENT)?;
        self.check_depends(payload, None)?;
        let applied = self.applied.iter().filter_map(|id| self.by_id(*id));
        if applied.chain([payload]).any(|payload| surround_actions(&payload.hooks)) {
            return refuse(Errno::EOPNOTSUPP, "replace with hooks around actions");
        }
        self.schedule(id, Scheduled::Replace, timeout)
    }

    /// Schedules the action unless the payload's own hook is against it.
    fn ask_then_schedule(&mut self, id: u64, veto: u64, action: Scheduled, timeout: u32) -> Result<u32, Stop> {
        if veto != 0 {
            self.tell(id, &format!("Calling pre-{action} hook function"));
        }
        let rc = self.call_hook(veto).unwrap_or_default();
        if rc == 0 {
            return self.schedule(id, action, timeout);
        }
        if let Some(payload) = self.by_id_mut(id) {
            payload.rc = rc;
        }
        self.complain(id, &format!("pre-{action} hook failed (rc={rc}), aborting!"));
        // A hook may return anything, and what is not negative is not an error.
        u32::try_from(rc).map_err(|_| Errno::new(rc.wrapping_neg()).into())
    }

    fn schedule(&mut self, id: u64, action: Scheduled, timeout: u32) -> Result<u32, Stop> {
        // Every release marks the payload first, and leaves the mark there when it then can't schedule.
        if let Some(payload) = self.by_id_mut(id) {
            payload.rc = EAGAIN;
        }
        if self.work.is_some() {
            return Err(Errno::EBUSY.into());
        }
        if self.hook.is_some() {
            // At worst Xen has not chosen it yet, and takes that of this action, or gives up where that has none.
            return Err(Stop::Crashed("it makes Xen run the wrong hook after the last action".into()));
        }
        if self.settings.cpu_hotplug {
            self.complain(id, "unable to get cpu_maps lock!");
            return Err(Errno::EBUSY.into());
        }
        let timeout = if timeout == 0 { DEFAULT_TIMEOUT } else { Duration::from_nanos(timeout.into()) };
        let until = match self.faults.pace().unwrap_or(self.settings.pace) {
            Pace::Polls(polls) => Until::Polls(polls),
            Pace::Time(time) => Deadline::after(time).map_or(Until::Told, Until::Time),
            Pace::Held => Until::Told,
        };
        let at_once = matches!(until, Until::Polls(0));
        self.work = Some(Work { payload: id, action, timeout, until, late: self.faults.times_out() });
        if at_once {
            self.finish();
        }
        Ok(0)
    }

    /// Does the work that is outstanding.
    pub(super) fn finish(&mut self) {
        let Some(work) = self.work.take() else { return };
        let late = work.late || self.settings.cpu_hotplug || self.settings.quiesce_time > work.timeout;
        let rc = if late {
            let why = if self.settings.cpu_hotplug { "CPU0 - unable to get cpu_maps lock!" } else { LATE };
            self.complain(work.payload, why);
            EBUSY
        } else {
            match work.action {
                Scheduled::Apply => self.switch_on(work.payload),
                Scheduled::Revert => self.switch_off(work.payload),
                Scheduled::Replace => self.switch_over(work.payload),
            }
        };
        let Some(payload) = self.by_id_mut(work.payload) else { return };
        payload.rc = rc;
        let name = payload.name.clone();
        // The one line that has no colon after the name.
        let end = format!(" finished {} with rc={rc}", work.action.to_string().to_uppercase());
        let end = [b"livepatch: ", &*name, end.as_bytes()].concat();
        let hooks = payload.hooks;
        let hook = match work.action {
            Scheduled::Apply => hooks.after_apply,
            Scheduled::Revert => hooks.after_revert,
            Scheduled::Replace => 0,
        };
        // Not called when the CPUs did not come to rest.
        if hook != 0 && !late {
            self.tell(work.payload, &format!("Calling post-{} hook function with rc={rc}", work.action));
            if !self.settings.hook_time.is_zero() {
                let until = Deadline::after(self.settings.hook_time);
                self.hook = Some(RunningHook { payload: work.payload, until, end });
                return;
            }
        }
        self.end_action(end);
    }

    /// The line at the end of an action.
    fn end_action(&mut self, end: Vec<u8>) {
        if self.settings.log_level >= LogLevel::All {
            self.console.line(end);
        }
    }

    /// The hook that runs returns.
    pub(super) fn end_hook(&mut self) {
        if let Some(hook) = self.hook.take() {
            self.end_action(hook.end);
        }
    }

    /// A line about a payload that says what Xen is doing.
    fn tell(&mut self, id: u64, line: &str) {
        if self.settings.log_level >= LogLevel::All {
            self.complain(id, line);
        }
    }

    /// A line about a payload that says what went wrong, whatever the release.
    fn complain(&mut self, id: u64, line: &str) {
        if let Some(name) = self.by_id(id).map(|payload| payload.name.clone()) {
            self.log(&name, line.as_bytes());
        }
    }

    fn switch_on(&mut self, id: u64) -> i32 {
        let Some(hook) = self.by_id(id).map(|payload| payload.hooks.instead_of_apply) else { return EINVAL };
        let looks = hook == 0 && self.architecture == Architecture::X86_64 && self.has(&rules::WAITQUEUES_CHECKED);
        if let Some(domain) = self.settings.waiting_domain.filter(|_| looks) {
            self.console.line(format!("livepatch: d{domain} found with active waitqueue").into_bytes());
            self.complain(id, &format!("Safety checks failed: {EBUSY}"));
            return EBUSY;
        }
        let rc = self.instead(id, hook);
        let endbr_aware = self.architecture == Architecture::X86_64 && self.has(&rules::ENDBR_AWARE);
        let machine = self.machine();
        let Self { payloads, image, applied, .. } = self;
        if let Some(payload) = payloads.iter_mut().find(|payload| payload.id == id && rc == 0) {
            payload.patch(machine, image, endbr_aware);
            payload.standing = Standing::Applied;
            applied.push(id);
        }
        rc
    }

    fn switch_off(&mut self, id: u64) -> i32 {
        let Some(hook) = self.by_id(id).map(|payload| payload.hooks.instead_of_revert) else { return EINVAL };
        let rc = self.instead(id, hook);
        let Self { payloads, image, applied, .. } = self;
        if let Some(payload) = payloads.iter_mut().find(|payload| payload.id == id && rc == 0) {
            payload.restore(image);
            payload.standing = Standing::Checked;
            payload.reverted = true;
            applied.retain(|other| *other != id);
        }
        rc
    }

    fn switch_over(&mut self, id: u64) -> i32 {
        while let Some(top) = self.applied.last().copied() {
            let rc = self.switch_off(top);
            if let Some(payload) = self.by_id_mut(top) {
                payload.rc = rc;
            }
            if rc != 0 {
                return EINVAL;
            }
        }
        // Checked only now, when Xen is unpatched already.
        let expected = match self.by_id(id) {
            Some(payload) if self.has(&rules::EXPECTATIONS) => self.check_expectations(payload),
            _ => Ok(()),
        };
        match expected {
            Err(Stop::Refused(errno, _)) => -errno.number(),
            _ => self.switch_on(id),
        }
    }

    /// What a hook returns; nothing if there is none or its code isn't understood.
    fn call_hook(&self, address: u64) -> Option<i32> {
        if address == 0 { None } else { self.image.number_returned(self.machine(), address) }
    }

    /// Runs a hook that does an action itself. One that reports success without having touched the functions makes
    /// Xen panic; one that isn't understood is believed to have done its work.
    fn instead(&mut self, id: u64, hook: u64) -> i32 {
        if hook != 0 {
            let standing = self.by_id(id).map(|payload| payload.standing);
            let action = if standing == Some(Standing::Applied) { Scheduled::Revert } else { Scheduled::Apply };
            self.tell(id, &format!("Calling {action} action hook function"));
        }
        let rc = self.call_hook(hook);
        if rc == Some(0) {
            let untouched = self.by_id(id).filter(|payload| !payload.functions.is_empty());
            if let Some(name) = untouched.map(|payload| payload.name.clone()) {
                self.crash(&name, "a hook reports success, but the functions are as they were");
            }
        }
        rc.unwrap_or_default()
    }

    fn check_expectations(&self, payload: &Payload) -> Result<(), Stop> {
        for function in payload.functions.iter().map(|function| &function.loaded) {
            let Some(expectation) = Expectation::read(&function.expectation) else { continue };
            let len = u32::from(expectation.len);
            let errno = if function.old_address == 0 {
                Errno::EFAULT
            } else if expectation.reserved != 0 {
                Errno::EINVAL
            } else if function.old_size < len {
                Errno::ERANGE
            } else if self.image.read(function.old_address, u64::from(len)) != Some(expectation.bytes) {
                Errno::EINVAL
            } else {
                continue;
            };
            let why = format!(" failed (rc=-{}), aborting!", errno.number());
            let name = function.name.as_deref().unwrap_or(b"unknown");
            return refuse(errno, [b"expectations of ", name, why.as_bytes()].concat());
        }
        Ok(())
    }
}
