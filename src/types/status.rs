//! What Xen reports about a loaded payload.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use crate::sys;
use crate::types::errno::Errno;
use crate::types::name::{PayloadName, escaped};
use crate::types::shared_bytes::SharedBytes;

/// The state of a loaded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Loaded and linked, not in effect: uploaded, or reverted (`LIVEPATCH_STATE_CHECKED`).
    Checked,
    /// In effect (`LIVEPATCH_STATE_APPLIED`).
    Applied,
    /// A number that no release up to 4.22 reports.
    Unknown(u32),
}

impl State {
    pub(crate) const fn from_raw(raw: u32) -> Self {
        match raw {
            sys::LIVEPATCH_STATE_CHECKED => Self::Checked,
            sys::LIVEPATCH_STATE_APPLIED => Self::Applied,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checked => f.pad("CHECKED"),
            Self::Applied => f.pad("APPLIED"),
            Self::Unknown(raw) => f.pad(&format!("unknown ({raw})")),
        }
    }
}

/// The status of a loaded payload (`xen_livepatch_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Status {
    /// The state now.
    pub state: State,
    /// The raw result of the last action that Xen *started* on it: 0, or a negative error number.
    ///
    /// −11 (`EAGAIN`) while one runs, but every release can also leave that mark behind when it was too busy to
    /// start one; [`LivepatchClient`](crate::LivepatchClient) tells the two apart before it acts. An action that
    /// Xen skipped leaves this as it was.
    pub rc: i32,
}

impl Status {
    pub(crate) const fn from_raw(raw: sys::xen_livepatch_status) -> Self {
        Self { state: State::from_raw(raw.state), rc: raw.rc }
    }

    /// Whether the payload is in effect.
    pub(crate) fn is_applied(&self) -> bool {
        self.state == State::Applied
    }

    /// Whether the payload is marked as having an action under way. The mark can be stale, see [`rc`](Self::rc).
    #[must_use]
    pub const fn in_progress(&self) -> bool {
        self.rc == -Errno::EAGAIN.number()
    }

    /// The error that the last result stands for, a mark of work under way included; `None` for success.
    pub(crate) const fn error_or_mark(&self) -> Option<Errno> {
        if self.rc == 0 { None } else { Some(Errno::new(self.rc.wrapping_neg())) }
    }

    /// The error of the last action, if it failed. `None` for success and for an action under way.
    #[must_use]
    pub const fn error(&self) -> Option<Errno> {
        if self.rc == 0 || self.in_progress() { None } else { Some(Errno::new(self.rc.wrapping_neg())) }
    }
}

/// A row of [`LivepatchClient::list`](crate::LivepatchClient::list).
///
/// The names of a list share an allocation, and so do its metadata: each lives as long as one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LoadedPayload {
    /// The name it was uploaded under.
    pub name: PayloadName,
    /// Its status.
    pub status: Status,
    /// What its `.modinfo` says; empty before Xen 4.14, which does not report it.
    pub metadata: Metadata,
}

/// The metadata of a payload: its `.modinfo` section, strings of `key=value` or `key` that each end with a NUL.
///
/// ```
/// use xen_livepatch::Metadata;
///
/// let metadata = Metadata::new(b"author=we\0urgent\0");
/// let pairs: Vec<_> = metadata.pairs().collect();
/// assert_eq!(pairs, [(&b"author"[..], Some(&b"we"[..])), (b"urgent", None)]);
/// assert_eq!(metadata.to_string(), "author=we;urgent");
/// assert_eq!(metadata.get("author"), Some(&b"we"[..]));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata(SharedBytes);

impl Metadata {
    /// Metadata of these bytes, whatever they are.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(SharedBytes::new(bytes.as_ref()))
    }

    /// Metadata at this place among that of others.
    pub(crate) fn among(all: &Arc<[u8]>, place: Range<usize>) -> Option<Self> {
        SharedBytes::part(all, place).map(Self)
    }

    /// The bytes as the payload has them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in order, split at the first `=`. Empty strings are skipped.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries().map(|entry| {
            let mut parts = entry.splitn(2, |byte| *byte == b'=');
            (parts.next().unwrap_or_default(), parts.next())
        })
    }

    /// The value of the first entry with this key; empty for an entry without a value.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.pairs().find(|(k, _)| *k == key.as_ref()).map(|(_, value)| value.unwrap_or_default())
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.texts().filter(|entry| !entry.is_empty())
    }

    /// All texts, the empty ones too, less the NUL that each ends with.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.0.strip_suffix(&[0]).unwrap_or(&self.0);
        let any = !self.0.is_empty();
        whole.split(|byte| *byte == 0).filter(move |_| any)
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.entries().map(escaped).collect();
        f.write_str(&entries.join(";"))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata(\"{}\")", escaped(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_no_release_reports_are_kept() {
        assert_eq!(
            [0, 1, 2, 3].map(State::from_raw),
            [State::Unknown(0), State::Checked, State::Applied, State::Unknown(3)]
        );
        assert_eq!(format!("{:>8}|{}", State::Applied, State::Unknown(9)), " APPLIED|unknown (9)");
    }

    #[test]
    fn a_result_is_running_failed_or_neither() {
        let of = |rc| Status { state: State::Checked, rc };
        assert_eq!((of(0).in_progress(), of(0).error()), (false, None));
        assert_eq!((of(-11).in_progress(), of(-11).error()), (true, None));
        assert_eq!((of(-16).in_progress(), of(-16).error()), (false, Some(Errno::EBUSY)));
        assert_eq!(of(i32::MIN).error(), Some(Errno::new(i32::MIN)));
        assert_eq!(of(5).error(), Some(Errno::new(-5)), "a hook may return anything");
    }

    #[test]
    fn metadata_is_split_but_never_lost() {
        let odd = Metadata::new(b"=v\0a=b=c\0\0\xff\0open");
        assert_eq!(
            odd.pairs().collect::<Vec<_>>(),
            [(&b""[..], Some(&b"v"[..])), (b"a", Some(b"b=c")), (b"\xff", None), (b"open", None)]
        );
        assert_eq!(odd.get("open"), Some(&b""[..]));
        assert_eq!(odd.get("none"), None);
        assert_eq!(odd.as_bytes().len(), 16);
        assert_eq!(odd.to_string(), "=v;a=b=c;\\xff;open");
    }
}
