//! The state, status and metadata of loaded payloads, as Xen reports them.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;
use std::sync::Arc;

use crate::sys;
use crate::types::{Errno, InvalidText, PayloadName, SharedBytes, escaped};

/// The state of a loaded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Loaded and linked, but not in effect, after an upload or a revert (`LIVEPATCH_STATE_CHECKED`).
    Checked,
    /// In effect (`LIVEPATCH_STATE_APPLIED`).
    Applied,
    /// Another number, which no release up to 4.22 reports.
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

impl FromStr for State {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let unknown = || text.strip_prefix("unknown (")?.strip_suffix(')')?.parse().ok().map(Self::from_raw);
        match text {
            "CHECKED" => Some(Self::Checked),
            "APPLIED" => Some(Self::Applied),
            _ => unknown(),
        }
        .ok_or_else(|| InvalidText::new(text, "a state: expected CHECKED, APPLIED or unknown (NUMBER)"))
    }
}

#[cfg(feature = "serde")]
super::text::serde_as_text!(State);

/// The status of a loaded payload (`xen_livepatch_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// The current state.
    pub state: State,
    /// The raw result of the last action that Xen *started* on the payload: 0 or a negative error number. An action that
    /// Xen skipped leaves it unchanged.
    ///
    /// It is −11 (`EAGAIN`) while an action runs. Every release can also leave that mark behind when it was too busy to
    /// start one; [`LivepatchClient`](crate::LivepatchClient) finds out which it is before it acts.
    pub rc: i32,
}

impl Status {
    /// Makes a status of these values, as for tests.
    #[must_use]
    pub const fn new(state: State, rc: i32) -> Self {
        Self { state, rc }
    }

    pub(crate) const fn from_raw(raw: sys::xen_livepatch_status) -> Self {
        Self::new(State::from_raw(raw.state), raw.rc)
    }

    /// Returns true if the payload is in effect.
    pub(crate) fn is_applied(&self) -> bool {
        self.state == State::Applied
    }

    /// Returns true if the payload is marked as having an action under way. The mark may be stale, see [`rc`](Self::rc).
    #[must_use]
    pub const fn in_progress(&self) -> bool {
        self.rc == -Errno::EAGAIN.number()
    }

    /// Returns the error of the last action, or the mark of an action under way; `None` for success.
    pub(crate) const fn error_or_mark(&self) -> Option<Errno> {
        if self.rc == 0 { None } else { Some(Errno::new(self.rc.wrapping_neg())) }
    }

    /// Returns the error of the last action; `None` for success and for an action under way.
    #[must_use]
    pub const fn error(&self) -> Option<Errno> {
        if self.in_progress() { None } else { self.error_or_mark() }
    }
}

/// A loaded payload, as [`LivepatchClient::list`](crate::LivepatchClient::list) returns it.
///
/// The names of a list share one allocation, and its metadata another; each is freed with the last of its users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LoadedPayload {
    /// The name it was uploaded under.
    pub name: PayloadName,
    /// Its status.
    pub status: Status,
    /// Its metadata; empty before Xen 4.14, which does not report it.
    pub metadata: Metadata,
}

impl LoadedPayload {
    /// Makes a row of these values, for example for tests.
    #[must_use]
    pub const fn new(name: PayloadName, status: Status, metadata: Metadata) -> Self {
        Self { name, status, metadata }
    }
}

/// The metadata of a payload: its `.modinfo` section, which consists of NUL-terminated strings `key=value` or `key`.
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
    /// Makes metadata of any bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(SharedBytes::new(bytes.as_ref()))
    }

    /// Makes metadata of a range of the metadata of a list; `None` if it does not lie inside.
    pub(crate) fn among(all: &Arc<[u8]>, range: Range<usize>) -> Option<Self> {
        SharedBytes::part(all, range).map(Self)
    }

    /// Returns the bytes of the section.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries in order, split at the first `=`. Empty strings are skipped.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries().map(|entry| match entry.iter().position(|byte| *byte == b'=') {
            Some(end) => {
                let (key, value) = entry.split_at(end);
                (key, value.get(1..))
            }
            None => (entry, None),
        })
    }

    /// Returns the value of the first entry with this key; empty for an entry without a value.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.pairs().find(|(k, _)| *k == key.as_ref()).map(|(_, value)| value.unwrap_or(b""))
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.texts().filter(|entry| !entry.is_empty())
    }

    /// Returns all strings without their NUL, empty ones included.
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

/// Pairs of key and value in their order, since a key may occur twice. Bytes that are not valid text are
/// [`escaped`](crate::escaped).
#[cfg(feature = "serde")]
impl serde::Serialize for Metadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pairs().map(|(key, value)| (escaped(key), value.map(escaped))))
    }
}

/// Reads pairs back. Empty strings are lost, and escapes stay escapes.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Metadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = <Vec<(String, Option<String>)> as serde::Deserialize>::deserialize(deserializer)?;
        let entries = pairs.into_iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}\0"),
            None => format!("{key}\0"),
        });
        Ok(Self::new(entries.collect::<String>()))
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
        for state in [0, 1, 2, u32::MAX].map(State::from_raw) {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("checked".parse::<State>().is_err() && "unknown (x)".parse::<State>().is_err());
    }

    #[test]
    fn a_result_is_running_failed_or_neither() {
        let of = |rc| Status::new(State::Checked, rc);
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
