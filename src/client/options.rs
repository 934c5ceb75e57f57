//! Options of uploads, actions and loads.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::loader::ProblemKinds;
use crate::payload::{Finding, Payload, ProblemKind};
use crate::types::Flags;
use crate::xen::Target;

/// The default deadline of an action, counted from its call.
const DEADLINE: Duration = Duration::from_secs(30);

/// The time that Xen may take to stop all CPUs: 1 ns to 4.294967295 s, or Xen's default of 30 ms.
///
/// It is passed in nanoseconds to every release. The headers of 4.7 and 4.8 wrongly specify milliseconds (commit 3bc5cf73d7).
///
/// ```
/// # use std::time::Duration;
/// # use xen_livepatch::QuiesceTimeout;
/// // Twice as long, for the next attempt.
/// let twice = |timeout: QuiesceTimeout| QuiesceTimeout::new(timeout.duration() * 2).unwrap_or(QuiesceTimeout::MAX);
/// assert_eq!(twice(QuiesceTimeout::XEN_DEFAULT).duration(), Duration::from_millis(60));
/// assert_eq!(twice(QuiesceTimeout::MAX), QuiesceTimeout::MAX);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuiesceTimeout(u32);

impl QuiesceTimeout {
    /// Xen's default, 30 ms.
    pub const XEN_DEFAULT: Self = Self(0);

    /// The longest timeout, 4.294967295 s.
    pub const MAX: Self = Self(u32::MAX);

    /// A timeout of this length.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTimeout`] if it is 0 or does not fit into 32 bits of nanoseconds.
    pub fn new(time: Duration) -> Result<Self> {
        match u32::try_from(time.as_nanos()) {
            Ok(nanoseconds @ 1..) => Ok(Self(nanoseconds)),
            _ => Err(Error::new(ErrorKind::InvalidTimeout { nanoseconds: time.as_nanos() })),
        }
    }

    /// The length.
    #[must_use]
    pub fn duration(self) -> Duration {
        if self == Self::XEN_DEFAULT { Duration::from_millis(30) } else { Duration::from_nanos(self.0.into()) }
    }
}

impl TryFrom<Duration> for QuiesceTimeout {
    type Error = Error;

    fn try_from(time: Duration) -> Result<Self> {
        Self::new(time)
    }
}

/// Options of an action. Unset options fall back to the client's, then to the defaults given here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ActionOptions {
    quiesce_timeout: Option<QuiesceTimeout>,
    quiesce_retries: Option<u32>,
    deadline: Option<Duration>,
}

impl ActionOptions {
    /// Options that are all unset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time that Xen may take to stop all CPUs. Default: Xen's own, 30 ms. Large hosts may need more.
    pub fn quiesce_timeout(mut self, timeout: QuiesceTimeout) -> Self {
        self.quiesce_timeout = Some(timeout);
        self
    }

    /// Sets the number of further attempts if Xen could not stop the CPUs in time. Default: none.
    pub fn quiesce_retries(mut self, retries: u32) -> Self {
        self.quiesce_retries = Some(retries);
        self
    }

    /// Sets the time that the whole call may take, including retries and the wait for other actions on this host.
    /// Default: 30 s. An action that Xen has accepted by then may still happen.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The quiesce timeout, if set.
    #[must_use]
    pub const fn get_quiesce_timeout(self) -> Option<QuiesceTimeout> {
        self.quiesce_timeout
    }

    /// The number of further attempts, if set.
    #[must_use]
    pub const fn get_quiesce_retries(self) -> Option<u32> {
        self.quiesce_retries
    }

    /// The deadline, if set.
    #[must_use]
    pub const fn get_deadline(self) -> Option<Duration> {
        self.deadline
    }

    pub(super) fn or(self, defaults: Self) -> Self {
        Self {
            quiesce_timeout: self.quiesce_timeout.or(defaults.quiesce_timeout),
            quiesce_retries: self.quiesce_retries.or(defaults.quiesce_retries),
            deadline: self.deadline.or(defaults.deadline),
        }
    }

    pub(super) fn quiesce_nanoseconds(self) -> u32 {
        self.quiesce_timeout.unwrap_or(QuiesceTimeout::XEN_DEFAULT).0
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

/// The findings for which an upload is refused before Xen sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// All.
    #[default]
    Full,
    /// Those about payloads that Xen would accept, or be damaged by.
    NotRefusedByXen,
    /// None: there is no check.
    Nothing,
}

impl UploadOptions {
    /// Returns the findings for which an upload of this payload with these options is refused before Xen sees it.
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

    /// Options that are all unset: every finding leads to a refusal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets FORCE, which Xen accepts from 4.19 on. No release up to 4.22 skips a check for it.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Accepts *possible* findings of this kind: of the point releases that this Xen may be, some refuse the payload or crash on
    /// it, and others run it ([`Severity`](crate::Severity)). Certain findings are not affected. Call it once for each kind.
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

    /// Leaves checks that Xen performs itself to Xen, so that its own error is reported. Payloads that Xen would wrongly accept
    /// are still refused ([`Severity`](crate::Severity)).
    pub fn leave_refusals_to_xen(mut self) -> Self {
        self.check = self.check.max(Check::NotRefusedByXen);
        self
    }

    /// Omits the check before the upload. **Xen does not refuse everything that crashes it.**
    pub fn unchecked(mut self) -> Self {
        self.check = Check::Nothing;
        self
    }
}

/// Options of a load, which is an upload followed by an apply. [`Flags`] convert into options that set these flags for the
/// apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct LoadOptions {
    pub(super) upload: UploadOptions,
    pub(super) flags: Flags,
    pub(super) action: ActionOptions,
}

impl LoadOptions {
    /// Options that are all unset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the options of the upload.
    pub fn upload(mut self, options: UploadOptions) -> Self {
        self.upload = options;
        self
    }

    /// Sets the flags of the apply.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Sets the options of the apply, and of the unload after an apply that failed.
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
        let nanoseconds = |n| QuiesceTimeout::try_from(Duration::from_nanos(n)).map(|timeout| timeout.0);
        assert_eq!(nanoseconds(1).unwrap(), 1);
        assert_eq!(nanoseconds(u32::MAX.into()).unwrap(), u32::MAX);
        assert_eq!(QuiesceTimeout::default(), QuiesceTimeout::XEN_DEFAULT);
        assert_eq!(QuiesceTimeout::MAX.duration(), Duration::from_nanos(u32::MAX.into()));
        for n in [0, 1 << 32] {
            let error = nanoseconds(n).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::InvalidTimeout { nanoseconds: n.into() });
        }
    }

    #[test]
    fn options_of_a_call_take_precedence() {
        let client = ActionOptions::new().quiesce_retries(3).deadline(Duration::from_secs(1));
        let both = ActionOptions::new().quiesce_retries(0).or(client);
        assert_eq!(
            (both.get_quiesce_retries(), both.deadline_or_default(), both.quiesce_nanoseconds()),
            (Some(0), Duration::from_secs(1), 0)
        );
        assert_eq!(ActionOptions::new().deadline_or_default(), Duration::from_secs(30));
    }
}
