//! ACTION: checks when it is called, and the work that is done later.

use super::host::Host;
use super::payload::{Payload, Standing, Stop, refuse};
use super::settings::{LogLevel, Pace};
use super::work::{Deadline, RunningHook, Scheduled, Until, Work};
use crate::loader::LinkedHooks;
use crate::types::{Action, Errno, Flags};
use crate::xen::format::Expectation;
use crate::xen::{Architecture, rules};
use core::time::Duration;

const LATE: &str = "Timed out on semaphore in CPU quiesce phase 0/1";

/// The timeout that 0 stands for.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(30);

/// The result of a hook that is missing or whose code isn't understood: success.
const NOT_UNDERSTOOD: i32 = 0;

const EAGAIN: i32 = -Errno::EAGAIN.number();
const EBUSY: i32 = -Errno::EBUSY.number();
const EINVAL: i32 = -Errno::EINVAL.number();

pub(super) fn from_number(number: u32) -> Option<Action> {
    Action::ALL.into_iter().find(|action| self::number(*action) == number)
}

/// The number of an action in Xen's interface.
pub(super) const fn number(action: Action) -> u32 {
    match action {
        Action::Unload => 1,
        Action::Revert => 2,
        Action::Apply => 3,
        Action::Replace => 4,
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

    /// Counts a look at the payloads: an action may be done after some of them.
    pub(super) fn poll(&mut self) {
        let Some(Until::Polls(left)) = self.work.as_mut().map(|work| &mut work.until) else { return };
        match left.checked_sub(1) {
            Some(rest) => *left = rest,
            None => self.finish(),
        }
    }

    pub(super) fn act(&mut self, name: &[u8], command: u32, timeout: u32, flags: u32) -> Result<u32, Errno> {
        let outcome = self.start(name, command, timeout, flags);
        self.settle(name, outcome)
    }

    fn start(&mut self, name: &[u8], command: u32, timeout: u32, flags: u32) -> Result<u32, Stop> {
        let payload = self.by_name(name).ok_or(Errno::ENOENT)?;
        let (id, applied) = (payload.id, payload.standing == Standing::Applied);
        if self.work.as_ref().is_some_and(|work| work.payload == id) {
            return Err(Errno::EBUSY.into());
        }
        match from_number(command) {
            None => Err(Errno::EOPNOTSUPP.into()),
            Some(Action::Unload) if applied => Err(Errno::EINVAL.into()),
            Some(Action::Unload) => self.unload(id),
            // In that state already: no error, and nothing happens.
            Some(Action::Revert) if !applied => Ok(0),
            Some(Action::Apply | Action::Replace) if applied => Ok(0),
            Some(Action::Revert) => self.revert(id, timeout),
            Some(Action::Apply) => self.apply(id, timeout, Flags::from_bits_retain(flags).contains(Flags::NODEPS)),
            Some(Action::Replace) => self.replace(id, timeout),
        }
    }

    fn unload(&mut self, id: u64) -> Result<u32, Stop> {
        if self.has(&rules::UNLOAD_WAITS) {
            self.end_hook();
        } else if self.hook.as_ref().is_some_and(|hook| hook.payload == id) {
            return Err(Stop::Crashed("it is unloaded while its hook runs".into()));
        }
        self.image.unload(self.payload(id).base);
        self.payloads.retain(|payload| payload.id != id);
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
        let top = self.applied.last().map(|top| self.payload(*top)).expect("the payload to revert is applied");
        if top.id != id {
            return refuse(Errno::EBUSY, [b"can't unload. Top is ", &*top.name].concat());
        }
        self.call_hook_then_schedule(id, top.hooks.before_revert, Scheduled::Revert, timeout)
    }

    fn apply(&mut self, id: u64, timeout: u32, nodeps: bool) -> Result<u32, Stop> {
        let payload = self.payload(id);
        if payload.reverted && !payload.safe_to_reapply && self.has(&rules::REAPPLY_GUARDED) {
            // Not the hypercall's result: only GET shows it.
            self.payload_mut(id).rc = EINVAL;
            if self.has(&rules::REASONS_ON_CONSOLE) {
                self.complain(id, "can't revert as payload has .data. Please unload");
            }
            return Ok(0);
        }
        if !nodeps || !self.has(&rules::PACKED_LAYOUT) {
            self.check_depends(payload, self.applied.last().copied())?;
        }
        if self.has(&rules::EXPECTATIONS) {
            self.check_expectations(payload).or_else(|(errno, line)| refuse(errno, line))?;
        }
        let veto = payload.hooks.before_apply;
        self.call_hook_then_schedule(id, veto, Scheduled::Apply, timeout)
    }

    fn replace(&mut self, id: u64, timeout: u32) -> Result<u32, Stop> {
        let payload = self.payload(id);
        self.check_depends(payload, None)?;
        let applied = self.applied.iter().map(|id| self.payload(*id));
        let hooks = applied.chain([payload]).map(|payload| payload.hooks);
        let around =
            |hooks: LinkedHooks| [hooks.before_apply, hooks.after_apply, hooks.before_revert, hooks.after_revert];
        if hooks.flat_map(around).any(|hook| hook != 0) {
            return refuse(Errno::EOPNOTSUPP, "replace with hooks around actions");
        }
        self.schedule(id, Scheduled::Replace, timeout)
    }

    /// Schedules the action unless the payload's own hook, if it has one, returns an error.
    fn call_hook_then_schedule(&mut self, id: u64, hook: u64, action: Scheduled, timeout: u32) -> Result<u32, Stop> {
        if hook != 0 {
            self.report(id, &format!("Calling pre-{action} hook function"));
        }
        let rc = self.call_hook(hook).unwrap_or(NOT_UNDERSTOOD);
        if rc == 0 {
            return self.schedule(id, action, timeout);
        }
        self.payload_mut(id).rc = rc;
        self.complain(id, &format!("pre-{action} hook failed (rc={rc}), aborting!"));
        // A hook may return any number, and one that is not negative is no error.
        u32::try_from(rc).map_err(|_| Errno::new(rc.wrapping_neg()).into())
    }

    fn schedule(&mut self, id: u64, action: Scheduled, timeout: u32) -> Result<u32, Stop> {
        // Every release marks the payload first, and leaves the mark there when it then can't schedule.
        self.payload_mut(id).rc = EAGAIN;
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
            Pace::Time(time) => Deadline::after(time).map_or(Until::Finished, Until::Time),
            Pace::Held => Until::Finished,
        };
        let at_once = matches!(until, Until::Polls(0));
        self.work = Some(Work { payload: id, action, timeout, until, late: self.faults.times_out() });
        if at_once {
            self.finish();
        }
        Ok(0)
    }

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
        let payload = self.payload_mut(work.payload);
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
            self.report(work.payload, &format!("Calling post-{} hook function with rc={rc}", work.action));
            if !self.settings.hook_time.is_zero() {
                let until = Deadline::after(self.settings.hook_time);
                self.hook = Some(RunningHook { payload: work.payload, until, end });
                return;
            }
        }
        self.end_action(end);
    }

    fn end_action(&mut self, end: Vec<u8>) {
        if self.settings.log_level >= LogLevel::All {
            self.console.line(end);
        }
    }

    pub(super) fn end_hook(&mut self) {
        if let Some(hook) = self.hook.take() {
            self.end_action(hook.end);
        }
    }

    /// Logs what Xen does to a payload.
    fn report(&mut self, id: u64, line: &str) {
        if self.settings.log_level >= LogLevel::All {
            self.complain(id, line);
        }
    }

    /// Logs what went wrong with a payload, whatever the release.
    fn complain(&mut self, id: u64, line: &str) {
        let name = self.payload(id).name.clone();
        self.log(&name, line.as_bytes());
    }

    fn switch_on(&mut self, id: u64) -> i32 {
        let hook = self.payload(id).hooks.instead_of_apply;
        let looks = hook == 0 && self.architecture == Architecture::X86_64 && self.has(&rules::WAITQUEUES_CHECKED);
        if let Some(domain) = self.settings.waiting_domain.filter(|_| looks) {
            self.console.line(format!("livepatch: d{domain} found with active waitqueue").into_bytes());
            self.complain(id, &format!("Safety checks failed: {EBUSY}"));
            return EBUSY;
        }
        let rc = self.run_action_hook(id, hook, Scheduled::Apply);
        if rc == 0 {
            let endbr_aware = self.architecture == Architecture::X86_64 && self.has(&rules::ENDBR_AWARE);
            let machine = self.machine();
            let (payload, image) = self.payload_and_image(id);
            for function in &mut payload.functions {
                function.patch(machine, image, endbr_aware);
            }
            payload.standing = Standing::Applied;
            self.applied.push(id);
        }
        rc
    }

    fn switch_off(&mut self, id: u64) -> i32 {
        let rc = self.run_action_hook(id, self.payload(id).hooks.instead_of_revert, Scheduled::Revert);
        if rc == 0 {
            let (payload, image) = self.payload_and_image(id);
            for function in &mut payload.functions {
                function.restore(image);
            }
            payload.standing = Standing::Checked;
            payload.reverted = true;
            self.applied.retain(|other| *other != id);
        }
        rc
    }

    fn switch_over(&mut self, id: u64) -> i32 {
        while let Some(top) = self.applied.last().copied() {
            let rc = self.switch_off(top);
            self.payload_mut(top).rc = rc;
            if rc != 0 {
                return EINVAL;
            }
        }
        // Checked only now, when Xen is unpatched already.
        if self.has(&rules::EXPECTATIONS) {
            if let Err((errno, _)) = self.check_expectations(self.payload(id)) {
                return -errno.number();
            }
        }
        self.switch_on(id)
    }

    /// Returns the result of a hook; `None` if there is none or its code isn't understood.
    fn call_hook(&self, address: u64) -> Option<i32> {
        if address == 0 { None } else { self.image.number_returned(self.machine(), address) }
    }

    /// Runs a hook that does an action itself, if there is one. Xen panics where it returns success without having touched
    /// the functions.
    fn run_action_hook(&mut self, id: u64, hook: u64, action: Scheduled) -> i32 {
        if hook != 0 {
            self.report(id, &format!("Calling {action} action hook function"));
        }
        let rc = self.call_hook(hook);
        if rc == Some(0) && !self.payload(id).functions.is_empty() {
            let name = self.payload(id).name.clone();
            self.crash(&name, "a hook reports success, but the functions are as they were");
        }
        rc.unwrap_or(NOT_UNDERSTOOD)
    }

    /// Compares the code to be replaced with what the payload expects. An error is one of Xen's, with its log line.
    fn check_expectations(&self, payload: &Payload) -> Result<(), (Errno, Vec<u8>)> {
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
            return Err((errno, [b"expectations of ", name, why.as_bytes()].concat()));
        }
        Ok(())
    }
}
