//! The four actions: sent once Xen can carry them out, waited for, and judged by [`diagnosis`].

use std::time::Duration;

use super::LivepatchClient;
use super::action_lock::{ActionGuard, UnfinishedAction};
use super::console::LogWatch;
use super::deadline::{Deadline, Pauses};
use super::hook_wait::HookWait;
use super::idle::LOOKS_PER_PROBE;
use super::options::{ActionOptions, QuiesceTimeout};
use crate::diagnosis::{self, After, Again, Evidence, Known, Look, Verdict, in_progress};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::hypercall::channel::CallError;
use crate::types::{Action, Errno, Flags, PayloadName};
use crate::xen::log::messages::LogMessage;

/// The longest pause between attempts if a busy host refuses although nothing is pending: each attempt may run a hook.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl LivepatchClient {
    /// Puts a payload into effect on top of the applied ones.
    ///
    /// Its `.livepatch.depends` must be the build-id of the payload that was applied last, or Xen's own if none is.
    /// [`Flags::NODEPS`] lifts that condition. The payload's dependency on Xen itself was checked at upload and still holds.
    ///
    /// # Errors
    /// Before the action is sent: [`UnsupportedFlag`](ErrorKind::UnsupportedFlag), [`NoSuchPayload`](ErrorKind::NoSuchPayload),
    /// [`WrongState`](ErrorKind::WrongState) if it is applied already (Xen itself reports success then),
    /// [`OperationInProgress`](ErrorKind::OperationInProgress), [`DeadlinePassed`](ErrorKind::DeadlinePassed),
    /// [`ListKeptChanging`](ErrorKind::ListKeptChanging).
    ///
    /// Xen refuses it: [`DependsOnAnother`](ErrorKind::DependsOnAnother), [`ExpectationNotMet`](ErrorKind::ExpectationNotMet)
    /// or [`DependencyOrExpectation`](ErrorKind::DependencyOrExpectation) (`EINVAL`, `ERANGE`, `EFAULT`),
    /// [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`), [`HookRefused`](ErrorKind::HookRefused) (any number), and
    /// [`Unexplained`](ErrorKind::Unexplained) if a hook or Xen itself may have refused.
    ///
    /// It fails: [`QuiesceTimeout`](ErrorKind::QuiesceTimeout) (`EBUSY`),
    /// [`ReapplyNeedsReupload`](ErrorKind::ReapplyNeedsReupload) (`EINVAL`), [`ActionFailed`](ErrorKind::ActionFailed).
    ///
    /// The result is not known: [`Unfinished`](ErrorKind::Unfinished) at the deadline,
    /// [`StaleInProgress`](ErrorKind::StaleInProgress), [`Overtaken`](ErrorKind::Overtaken) by another tool,
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown). [`wait`](Self::wait) reports it later.
    ///
    /// And those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault) (`EFAULT`),
    /// [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// `NODEPS` exists from 4.14 on. On an older Xen, which would ignore it, it is an error.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// assert_eq!(client.xen_version()?.extra, "-fix");
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_apply")]
    pub fn apply(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Apply, name).flags(flags).run()
    }

    /// Takes a payload out of effect. Xen reverts only the payload that was applied last.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) if it is not applied (Xen itself reports success then),
    /// [`NotOnTop`](ErrorKind::NotOnTop) (`EBUSY`), [`HookRefused`](ErrorKind::HookRefused),
    /// [`Unexplained`](ErrorKind::Unexplained), and those of [`apply`](Self::apply) that do not come from its dependency,
    /// its expectations or an earlier revert.
    ///
    /// # Xen
    /// No release has a flag for this action.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// client.revert(&fix, Flags::empty())?;
    /// let error = client.revert(&fix, Flags::empty()).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::WrongState { .. }));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_revert")]
    pub fn revert(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Revert, name).flags(flags).run()
    }

    /// Reverts all applied payloads and puts this one into effect instead, while the CPUs are stopped once. The replaced
    /// payloads stay loaded.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) if it is applied already (Xen itself reports success then, and leaves others applied),
    /// [`DependsOnAnother`](ErrorKind::DependsOnAnother) if its `.livepatch.depends` is not *Xen's* build-id,
    /// [`NoBuildId`](ErrorKind::NoBuildId), [`VetoingHooks`](ErrorKind::VetoingHooks) (`EOPNOTSUPP`),
    /// [`ReplaceFailed`](ErrorKind::ReplaceFailed) with the payloads that are still applied,
    /// [`Overtaken`](ErrorKind::Overtaken) with those that are applied as well, and those of [`apply`](Self::apply)
    /// about the host and about an unknown result.
    ///
    /// # Xen
    /// No release has a flag for this action; `NODEPS` has no meaning here.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # let old = PayloadName::new("old")?;
    /// # let function = sim::FunctionPatch::returning("xen_extra_version", "-old");
    /// # client.upload(&old, &sim::PayloadBuilder::named("old", &client.build_id()?).function(function).build())?;
    /// # client.upload(&fix, &payload)?;
    /// client.apply(&old, Flags::empty())?;
    /// client.replace(&fix, Flags::empty())?;
    /// assert_eq!(client.status(&old)?.state, State::Checked);
    /// client.unload(&old, Flags::empty())?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_replace")]
    pub fn replace(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Replace, name).flags(flags).run()
    }

    /// Removes a payload that is not applied from Xen's memory.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) if it is applied, [`NoSuchPayload`](ErrorKind::NoSuchPayload) (`ENOENT`),
    /// [`HookMayBeRunning`](ErrorKind::HookMayBeRunning), and those of [`apply`](Self::apply) about the host and about an
    /// unknown result.
    ///
    /// # Xen
    /// No release has a flag for this action, and none counts the users of a payload's symbols. Xen 4.14 to 4.16, 4.17.0 to
    /// 4.17.3 and 4.18.0 crash if a hook of the payload is still running, although they have reported its action as finished.
    /// There the call may wait for up to 5 s, see [`hook_time`](super::ClientBuilder::hook_time).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// client.unload(&fix, Flags::empty())?;
    /// assert_eq!(client.status(&fix).unwrap_err().kind(), &ErrorKind::NoSuchPayload);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_unload")]
    pub fn unload(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Unload, name).flags(flags).run()
    }

    /// Prepares an action with flags, times and retries of its own.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// use std::time::Duration;
    ///
    /// let longer = QuiesceTimeout::new(Duration::from_millis(200))?;
    /// client.action(Action::Apply, &fix).quiesce_timeout(longer).quiesce_retries(2).run()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn action<'a>(&'a self, action: Action, name: &'a PayloadName) -> ActionRequest<'a> {
        ActionRequest { client: self, action, name, flags: Flags::empty(), options: ActionOptions::new() }
    }

    /// Waits for the end of an action that was sent before, and returns its result. Call this after
    /// [`Unfinished`](ErrorKind::Unfinished) and [`OutcomeUnknown`](ErrorKind::OutcomeUnknown).
    ///
    /// Success means that nothing is under way and that the payload is in the state that the action leads to: applied after
    /// an apply, applied alone after a replace, [`Checked`](crate::State::Checked) after a revert, no longer loaded after an
    /// unload. Nothing is sent again. The next action of this client leaves Xen time to settle, counted from the end that
    /// was seen.
    ///
    /// If this client left the action without a result and has sent none since, the state before it and Xen's log from then on
    /// count as evidence. Otherwise, as in a process that takes over from one that was killed, the evidence is the present
    /// state, and the result of the last action on the payload, whoever requested that.
    ///
    /// # Errors
    /// Those of the action, and:
    ///
    /// * [`Unfinished`](ErrorKind::Unfinished) if an action is still under way when this time has passed. With
    ///   [`Duration::ZERO`] the call looks once.
    /// * [`StaleInProgress`](ErrorKind::StaleInProgress) if the payload is marked as in progress although no action is under way.
    ///
    /// If only the present state is evidence, also:
    ///
    /// * [`NotDone`](ErrorKind::NotDone) if nothing has failed and the payload is in the other state: the action never began,
    ///   or was undone.
    /// * [`NoSuchPayload`](ErrorKind::NoSuchPayload) if the payload is not loaded, except after an unload.
    /// * [`Unexplained`](ErrorKind::Unexplained) after an apply if the result may be that of a replace.
    /// * [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) after an unload if a payload of this name is loaded: it may be the same, or
    ///   another one that was uploaded since.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// use std::time::Duration;
    ///
    /// # xen.set_pace(sim::Pace::Time(Duration::from_millis(50)));
    /// let error = client.action(Action::Apply, &fix).deadline(Duration::from_millis(10)).run().unwrap_err();
    /// assert!(error.may_have_happened());
    /// client.wait(&fix, Action::Apply, Duration::from_secs(10))?;
    /// assert_eq!(client.status(&fix)?.state, State::Applied);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait(&self, name: &PayloadName, action: Action, time: Duration) -> Result<()> {
        let deadline = Deadline::after(time);
        self.watched(Operation::Wait, name, |log| self.judge_end(name, action, deadline, log))
    }

    fn judge_end(&self, name: &PayloadName, action: Action, deadline: Deadline, log: &LogWatch<'_>) -> Result<()> {
        let sent = self.action_lock.unfinished(name, action);
        match &sent {
            Some(sent) => log.begin_at(sent.log_start),
            None => log.begin(),
        }
        let refused = sent.as_ref().and_then(|sent| sent.refused);
        let whole_list = action == Action::Replace || refused.is_some();
        let after = match self.end_of(name, whole_list, 1, deadline) {
            After::Unreadable(error) => return Err(error),
            After::Running => return Err(Error::new(ErrorKind::Unfinished).errno(Errno::EAGAIN)),
            after => after,
        };
        self.action_lock.ended_unseen(name);
        if diagnosis::is_done(action, refused, &after) {
            if let Some(sent) = &sent {
                self.note_success(action, name, &sent.before);
            }
            return Ok(());
        }
        let before = sent.as_ref().map_or_else(|| Look::needed(action), |sent| sent.before.clone());
        let evidence = Evidence {
            action,
            flags: Flags::empty(),
            xen: self.xen(),
            before: &before,
            refused,
            after: &after,
            messages: log.messages(),
            known: Known::default(),
        };
        let verdict = if sent.is_some() { diagnosis::judge(&evidence) } else { diagnosis::judge_unseen(&evidence) };
        match verdict {
            Verdict::Done => Ok(()),
            Verdict::Again(_, error) | Verdict::Failed(error) => Err(error),
        }
    }

    /// Notes what the success of an action of this client shows. Calling it again changes nothing.
    fn note_success(&self, action: Action, name: &PayloadName, before: &Look) {
        match action {
            Action::Apply | Action::Revert => {}
            Action::Replace => {
                self.identities.without_hooks(before.applied.iter().flatten().chain([name]), before.version);
            }
            Action::Unload => self.identities.forget(name, before.version),
        }
        if action != Action::Revert {
            self.action_lock.no_guest_waits();
        }
    }
}

/// A prepared action, created by [`LivepatchClient::action`]. Unset options use the client's defaults.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is sent to Xen before `run`"]
pub struct ActionRequest<'a> {
    client: &'a LivepatchClient,
    action: Action,
    name: &'a PayloadName,
    flags: Flags,
    options: ActionOptions,
}

impl ActionRequest<'_> {
    /// Sets the flags of the action. Default: none.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Sets options; those that are unset here keep their values.
    pub fn options(mut self, options: ActionOptions) -> Self {
        self.options = options.or(self.options);
        self
    }

    /// See [`ActionOptions::quiesce_timeout`].
    pub fn quiesce_timeout(self, timeout: QuiesceTimeout) -> Self {
        self.options(ActionOptions::new().quiesce_timeout(timeout))
    }

    /// See [`ActionOptions::quiesce_retries`].
    pub fn quiesce_retries(self, retries: u32) -> Self {
        self.options(ActionOptions::new().quiesce_retries(retries))
    }

    /// See [`ActionOptions::deadline`].
    pub fn deadline(self, deadline: Duration) -> Self {
        self.options(ActionOptions::new().deadline(deadline))
    }

    /// Sends the action, and returns when Xen has finished it.
    ///
    /// # Errors
    /// Those of [`apply`](LivepatchClient::apply), [`revert`](LivepatchClient::revert),
    /// [`replace`](LivepatchClient::replace) or [`unload`](LivepatchClient::unload).
    pub fn run(self) -> Result<()> {
        self.run_in(None)
    }

    /// Runs under the caller's lock if there is one, and otherwise takes the client's.
    pub(super) fn run_in(mut self, guard: Option<&ActionGuard<'_>>) -> Result<()> {
        self.options = self.options.or(self.client.defaults);
        let deadline = Deadline::after(self.options.deadline_or_default());
        let operation = Operation::Action(self.action);
        self.client.watched(operation, self.name, |log| {
            check_flags(self.client, self.action, self.flags)?;
            if self.options.deadline_or_default().is_zero() {
                return Err(Error::new(ErrorKind::DeadlinePassed));
            }
            match guard {
                Some(guard) => self.drive(deadline, guard, log),
                None => self.drive(deadline, &self.client.action_lock.acquire(deadline)?, log),
            }
        })
    }

    /// Tries until it is done, failed or out of time.
    fn drive(&self, deadline: Deadline, guard: &ActionGuard<'_>, log: &LogWatch<'_>) -> Result<()> {
        let Self { client, action, name, .. } = *self;
        let _busy = guard.busy();
        guard.settle(deadline)?;
        if matches!(action, Action::Apply | Action::Replace) {
            client.target.note(client);
        }
        log.begin();
        let hooks = HookWait { client, action, name, deadline, guard, log };
        let mut retries = self.options.get_quiesce_retries().unwrap_or(0);
        let mut after_timeout = Pauses::new();
        let mut after_busy = Pauses::up_to(LONGEST_PAUSE);
        let mut last: Option<Error> = None;
        let mut refused_as_busy = false;
        loop {
            let (before, waited) = match self.look_at_free_host(deadline, guard) {
                Err(error) if *error.kind() == ErrorKind::DeadlinePassed => return Err(last.unwrap_or(error)),
                before => before?,
            };
            if refused_as_busy && waited {
                // Another tool was faster, which has no bearing on the next attempt.
                after_busy = Pauses::up_to(LONGEST_PAUSE);
            } else if refused_as_busy {
                // Nothing is pending: its CPUs come and go, or an action has just ended.
                if !deadline.sleep(after_busy.next()) {
                    return Err(last.unwrap_or_else(in_progress));
                }
                refused_as_busy = false;
                continue;
            }
            diagnosis::ready(action, &before)?;
            if let Err(error) = deadline.check() {
                return Err(last.unwrap_or(error));
            }
            match hooks.let_return(&before) {
                Ok(false) => {}
                // Meanwhile others may have acted.
                Ok(true) => continue,
                Err(error) if *error.kind() == ErrorKind::HookMayBeRunning => return Err(last.unwrap_or(error)),
                Err(error) => return Err(error),
            }
            let (again, error) = match self.attempt(&before, deadline, guard, log)? {
                Verdict::Done => return Ok(()),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again(again, error) => (again, error),
            };
            refused_as_busy = again == Again::Busy;
            if again == Again::Quiesce {
                if retries == 0 || guard.settle(deadline).is_err() || !deadline.sleep(after_timeout.next()) {
                    return Err(error);
                }
                retries -= 1;
            }
            last = Some(error);
        }
    }

    /// Looks at the list at a moment when nothing is pending on the host and Xen has settled. Also returns true if it had to
    /// wait for that.
    fn look_at_free_host(&self, deadline: Deadline, guard: &ActionGuard<'_>) -> Result<(Look, bool)> {
        let Self { client, name, .. } = *self;
        let mut ever_waited = false;
        loop {
            let (look, waited) = client.free_host(deadline, |rows, version| {
                client.identities.keep(&client.channel, rows, version);
                Look::of(name, rows, version)
            })?;
            ever_waited |= waited;
            if guard.is_settled() {
                let missing = || Error::new(ErrorKind::NoSuchPayload).errno(Errno::ENOENT);
                return look.map(|look| (look, ever_waited)).ok_or_else(missing);
            }
            guard.settle(deadline)?;
        }
    }

    /// Sends the action once and judges the result.
    fn attempt(
        &self,
        before: &Look,
        deadline: Deadline,
        guard: &ActionGuard<'_>,
        log: &LogWatch<'_>,
    ) -> Result<Verdict> {
        let Self { client, action, name, flags, options } = *self;
        if action != Action::Unload {
            log.begin_action();
        }
        let log_start = log.start();
        let refused = match client.channel.act(name, Some(action), options.quiesce_nanoseconds(), flags.bits()) {
            Ok(()) => None,
            Err(CallError::Refused(errno)) => Some(errno),
            Err(error) => return Err(error.into()),
        };
        let after = match refused {
            // UNLOAD is synchronous.
            None if action == Action::Unload => After::Gone,
            None => client.end_of(name, action == Action::Replace, LOOKS_PER_PROBE, deadline),
            // Carried out or not, it may be pending.
            Some(Errno::EFAULT) => client.end_of(name, true, LOOKS_PER_PROBE, deadline),
            Some(_) => client.look(name, true),
        };
        let done = diagnosis::is_done(action, refused, &after);
        if done {
            client.note_success(action, name, before);
        }
        if refused.is_none_or(|errno| errno == Errno::EFAULT) {
            match &after {
                // Xen may still be working on it.
                After::Running | After::Unreadable(_) => {
                    let hooked = client.identities.hooks(name).is_some_and(|(hooks, _)| hooks.after(action));
                    let (name, before) = (name.clone(), before.clone());
                    guard.leave_running(UnfinishedAction { name, action, before, refused, log_start }, hooked);
                }
                After::Gone | After::Seen(_) if action == Action::Unload => guard.unloaded(),
                After::Gone | After::Seen(_) => {
                    // Xen calls the hook after it has published the result.
                    let hook = client.identities.hooks(name).map(|(hooks, same)| (hooks.after(action), same));
                    guard.ended(name, done, hook);
                }
            }
        }
        if done {
            return Ok(Verdict::Done);
        }
        let (xen, messages) = (client.xen(), log.messages());
        let waiting = |message: &LogMessage| match message {
            LogMessage::ActiveWaitqueue(domain) => Some(*domain),
            _ => None,
        };
        if let Some(domain) = messages.iter().find_map(waiting) {
            guard.met_waiting_guest(domain);
        }
        // Build-ids matter for this number only.
        let known = if refused == Some(Errno::EINVAL) { client.known(name) } else { Known::default() };
        Ok(diagnosis::judge(&Evidence { action, flags, xen, before, refused, after: &after, messages, known }))
    }
}

/// Refuses flags that Xen would ignore.
pub(super) fn check_flags(client: &LivepatchClient, action: Action, flags: Flags) -> Result<()> {
    if flags.is_empty() {
        return Ok(());
    }
    let refuse = |flags, by| Err(Error::new(ErrorKind::UnsupportedFlag { flags, by }));
    let unknown = flags.difference(Flags::of_action(action));
    if !unknown.is_empty() {
        return refuse(unknown, format!("{action}, which would ignore it"));
    }
    let newer = flags.difference(Flags::understood_by(client.xen().release, action));
    let Some(known) = Flags::KNOWN.iter().find(|known| newer.intersects(known.flag)) else { return Ok(()) };
    let ((major, minor), (first_major, first_minor)) = (client.channel.release, known.since);
    refuse(newer, format!("Xen {major}.{minor} ({first_major}.{first_minor} introduced it)"))
}
