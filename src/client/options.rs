//! What a caller may set for an upload or an action.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::loader::ProblemKinds;
use crate::payload::{Finding, Payload, ProblemKind, Target};
use crate::types::flags::Flags;

/// How long an action may take from its call to Xen's result, unless set.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long Xen may take to stop all CPUs: 1 ns to 4.294967295 s, or Xen's own 30 ms.
///
/// Nanoseconds in every release; the headers of 4.7 and 4.8 say milliseconds, and are wrong (commit 3bc5cf73d7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuiesceTimeout(u32);

impl QuiesceTimeout {
    /// Leaves it to Xen, which takes 30 ms.
    pub const XEN_DEFAULT: Self = Self(0);

    /// This long.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTimeout`] when it is 0 or does not fit into 32 bits of nanoseconds.
    pub fn new(time: Duration) -> Result<Self> {
        match u32::try_from(time.as_nanos()) {
            Ok(nanoseconds @ 1..) => Ok(Self(nanoseconds)),
            _ => Err(Error::new(ErrorKind::InvalidTimeout { nanoseconds: time.as_nanos() })),
        }
    }

    /// As Xen takes it.
    pub(crate) fn nanoseconds(self) -> u32 {
        self.0
    }
}

/// Options of an action; what is not set is the client's, and else the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ActionOptions {
    quiesce_timeout: Option<QuiesceTimeout>,
    quiesce_retries: Option<u32>,
    deadline: Option<Duration>,
}

impl ActionOptions {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long Xen may take to stop all CPUs. Default: Xen's own, 30 ms. Large hosts may need more.
    pub fn quiesce_timeout(mut self, timeout: QuiesceTimeout) -> Self {
        self.quiesce_timeout = Some(timeout);
        self
    }

    /// How often to try again when Xen could not stop the CPUs in time. Default: not at all.
    pub fn quiesce_retries(mut self, retries: u32) -> Self {
        self.quiesce_retries = Some(retries);
        self
    }

    /// How long the whole call may take, retries and waiting for other actions on this host included. Default: 30 s.
    /// An action that Xen has accepted by then may still happen.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            quiesce_timeout: self.quiesce_timeout.or(defaults.quiesce_timeout),
            quiesce_retries: self.quiesce_retries.or(defaults.quiesce_retries),
            deadline: self.deadline.or(defaults.deadline),
        }
    }

    pub(super) fn quiesce_nanoseconds(self) -> u32 {
        self.quiesce_timeout.unwrap_or_default().nanoseconds()
    }

    pub(super) fn retries(self) -> u32 {
        self.quiesce_retries.unwrap_or_default()
    }

    pub(super) fn deadline_or_default(self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }
}

/// Options of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct UploadOptions {
    pub(super) force: bool,
    pub(super) check: Check,
    pub(super) accepted: ProblemKinds,
}

/// Which findings keep a payload from Xen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// All.
    #[default]
    Full,
    /// Those that Xen does not notice, or is damaged by.
    WhatXenDoesNotRefuse,
    /// None: the check is left out.
    Nothing,
}

impl UploadOptions {
    /// With these kinds accepted.
    pub(super) fn accepting(mut self, kinds: ProblemKinds) -> Self {
        self.accepted = kinds;
        self
    }

    /// The findings about a payload for which an upload with these options is refused, before this Xen sees it.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, _, bytes) = doctest::fix()?;
    /// let payload = Payload::parse(&bytes)?;
    /// assert!(UploadOptions::new().objections(&payload, &client.target()?).is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn objections(self, payload: &Payload, target: &Target) -> Vec<Finding> {
        if self.check == Check::Nothing {
            return Vec::new();
        }
        payload.objections(target, self.accepted, self.check == Check::Full)
    }

    /// Returns true if a finding keeps a payload from Xen.
    pub(super) fn refuses(self, finding: &Finding, made_for_it: bool) -> bool {
        finding.keeps_out(made_for_it, self.accepted, self.check == Check::Full)
    }

    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets FORCE, which Xen takes from 4.19 on. No release up to 4.22 does anything else for it: it skips no check.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Accepts a kind of finding where it is only *possible*: where some of the point releases that this Xen may be do not
    /// take the payload or crash on it, and others run it ([`Severity`](crate::Severity)). A certain finding is not lifted by
    /// this. To be called once for each kind.
    ///
    /// ```
    /// use xen_livepatch::{ProblemKind, UploadOptions};
    ///
    /// let options = UploadOptions::new().accept(ProblemKind::ReadOnlyFunctions);
    /// ```
    pub fn accept(mut self, kind: ProblemKind) -> Self {
        self.accepted.insert(kind);
        self
    }

    /// Lets Xen judge what it refuses itself, in its own words. What it does not notice, or is damaged by, still does not
    /// reach it ([`Severity`](crate::Severity)).
    pub fn leave_refusals_to_xen(mut self) -> Self {
        self.check = self.check.max(Check::WhatXenDoesNotRefuse);
        self
    }

    /// Leaves out the check before the upload, and lets Xen judge. **It does not notice everything that crashes it.**
    pub fn unchecked(mut self) -> Self {
        self.check = Check::Nothing;
        self
    }
}

/// Options of a load, which is an upload and an apply. [`Flags`] alone are flags of the apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct LoadOptions {
    pub(super) upload: UploadOptions,
    pub(super) flags: Flags,
    pub(super) action: ActionOptions,
}

impl LoadOptions {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Options of the upload.
    pub fn upload(mut self, options: UploadOptions) -> Self {
        self.upload = options;
        self
    }

    /// Flags of the apply.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Options of the apply, and of the unload where that fails.
    pub fn action(mut self, options: ActionOptions) -> Self {
        self.action = options;
        self
    }
}

impl From<Flags> for LoadOptions {
    fn from(flags: Flags) -> Self {
        Self::new().flags(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiesce_timeout_is_32_bits_of_nanoseconds() {
        let nanoseconds = |n| QuiesceTimeout::new(Duration::from_nanos(n)).map(QuiesceTimeout::nanoseconds);
        assert_eq!(nanoseconds(1).unwrap(), 1);
        assert_eq!(nanoseconds(u32::MAX.into()).unwrap(), u32::MAX);
        assert_eq!(QuiesceTimeout::default(), QuiesceTimeout::XEN_DEFAULT);
        for n in [0, 1 << 32] {
            let error = nanoseconds(n).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::InvalidTimeout { nanoseconds: n.into() });
        }
    }

    #[test]
    fn what_a_call_sets_goes_first() {
        let client = ActionOptions::new().quiesce_retries(3).deadline(Duration::from_secs(1));
        let both = ActionOptions::new().quiesce_retries(0).or(client);
        assert_eq!(
            (both.retries(), both.deadline_or_default(), both.quiesce_nanoseconds()),
            (0, Duration::from_secs(1), 0)
        );
        assert_eq!(ActionOptions::new().deadline_or_default(), Duration::from_secs(30));
    }
}
