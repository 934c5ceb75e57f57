//! Names of payloads, and text that is safe to print.

use core::fmt;
use core::ops::{Range, RangeInclusive};
use core::str::FromStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::types::{BuildId, SharedBytes};

/// The name of a payload: 1 to 127 bytes without a NUL. It is case-sensitive and need not be UTF-8.
///
/// Xen takes up to 127 bytes and a NUL (`XEN_LIVEPATCH_NAME_SIZE`). It also takes the empty name: a list may contain that,
/// but [`new`](Self::new) refuses it. `Display` and `Debug` are [`escaped`]; [`as_bytes`](Self::as_bytes) has the bytes.
///
/// ```
/// use xen_livepatch::PayloadName;
///
/// let name = PayloadName::new("xsa-500")?;
/// assert_eq!(name.as_bytes(), b"xsa-500");
/// assert!(PayloadName::new("").is_err());
/// assert!(PayloadName::new([b'x'; 128]).is_err());
/// assert!(PayloadName::new(b"two\0parts").is_err());
/// # Ok::<(), xen_livepatch::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadName(SharedBytes);

/// The error for bytes that are not a payload name. `?` converts it into an [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("invalid payload name: {problem} (1 to 127 bytes, no NUL)")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct InvalidName {
    /// The reason, such as `it is empty`.
    pub problem: &'static str,
}

impl PayloadName {
    /// The longest name in bytes, without the NUL that Xen counts (`XEN_LIVEPATCH_NAME_SIZE` is 128).
    pub const MAX_LEN: usize = 127;

    /// Makes a name of these bytes.
    ///
    /// # Errors
    /// [`InvalidName`] for no bytes, for more than 127, and for a NUL among them.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidName> {
        let bytes = bytes.as_ref();
        let problem = if bytes.is_empty() {
            "it is empty"
        } else if bytes.len() > Self::MAX_LEN {
            "it is longer than 127 bytes"
        } else if bytes.contains(&0) {
            "it contains a NUL byte"
        } else {
            return Ok(Self(SharedBytes::new(bytes)));
        };
        Err(InvalidName { problem })
    }

    /// Makes another name for a payload whose own is taken: with the first digits of its build-id, and a number unless that
    /// is 0.
    pub(crate) fn distinguished(&self, build_id: &BuildId, number: u32) -> Self {
        let digits = build_id.to_string();
        let digits = digits.get(..8).unwrap_or(&digits);
        let suffix = if number == 0 { format!("-{digits}") } else { format!("-{digits}-{number}") };
        let room = Self::MAX_LEN.saturating_sub(suffix.len());
        let own = self.as_bytes().get(..room).unwrap_or(self.as_bytes());
        Self(SharedBytes::new(&[own, suffix.as_bytes()].concat()))
    }

    /// Returns the name that [`load`](crate::LivepatchClient::load) gives to the payload of a file: the name of the file
    /// without its last suffix.
    ///
    /// # Errors
    /// [`InvalidName`] if that is no name, as of `.hidden`.
    ///
    /// ```
    /// use xen_livepatch::PayloadName;
    ///
    /// assert_eq!(PayloadName::of_file("/x/xsa-500.v2.livepatch")?, PayloadName::new("xsa-500.v2")?);
    /// # Ok::<(), xen_livepatch::Error>(())
    /// ```
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, InvalidName> {
        let file = path.as_ref().file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let stem = file.iter().rposition(|byte| *byte == b'.').and_then(|dot| file.get(..dot)).unwrap_or(file);
        Self::new(stem)
    }

    /// Makes a name of the bytes and the NUL in this range of the names of a list. The C tool uploads payloads under the
    /// empty name, which must be listed, so that it can be unloaded.
    pub(crate) fn from_xen(names: &Arc<[u8]>, place: Range<usize>) -> Option<Self> {
        let with_nul = names.get(place.clone())?;
        let end = with_nul.iter().position(|byte| *byte == 0).filter(|end| *end <= Self::MAX_LEN)?;
        let whole = end.checked_add(1)? == with_nul.len();
        SharedBytes::part(names, place.start..place.start.checked_add(end)?).filter(|_| whole).map(Self)
    }

    /// Returns the bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name as text; `None` if it is not UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl AsRef<[u8]> for PayloadName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for PayloadName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<String> for PayloadName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<&str> for PayloadName {
    type Error = InvalidName;

    fn try_from(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl fmt::Display for PayloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl fmt::Debug for PayloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escaped(&self.0))
    }
}

/// The marker of names that are serialised as hexadecimal.
#[cfg(feature = "serde")]
const HEX: &str = "hex:";

/// The name itself if it is UTF-8, and otherwise `hex:` and its bytes in hexadecimal. A name that begins with `hex:` itself
/// has the second form, so that no two names have the same text.
#[cfg(feature = "serde")]
impl serde::Serialize for PayloadName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_str().filter(|text| !text.starts_with(HEX)) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(&format_args!("{HEX}{}", BuildId::new(self.as_bytes()))),
        }
    }
}

/// Reads both forms. The empty name is an error here too.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PayloadName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        let bytes = text.strip_prefix(HEX).and_then(|digits| digits.parse::<BuildId>().ok());
        let name = bytes.map_or_else(|| Self::new(&text), |bytes| Self::new(bytes.as_bytes()));
        name.map_err(serde::de::Error::custom)
    }
}

/// Invisible characters, and characters that change the direction of writing: Unicode's default ignorable ones (except those
/// that are parts of others), its bidirectional controls and its line separators.
const INVISIBLE: [RangeInclusive<char>; 13] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Makes text safe to print: control characters, invisible characters, characters that change the direction of writing, and
/// invalid UTF-8 become escapes.
///
/// Names, metadata and paths are shown in this form, so that none breaks a line or controls a terminal.
///
/// ```
/// assert_eq!(xen_livepatch::escaped(b"caf\xc3\xa9 \x1b[2J\n\xff"), r"café \u{1b}[2J\n\xff");
/// ```
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    // The usual case.
    let printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if let (true, Ok(text)) = (printable, core::str::from_utf8(bytes)) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let invisible = INVISIBLE.iter().any(|range| range.contains(&c));
            if c.is_control() || invisible {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii().map(char::from)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_xens() {
        assert_eq!(PayloadName::new([b'n'; 127]).unwrap().as_bytes().len(), 127);
        assert_eq!(PayloadName::new([0xff, b' ']).unwrap().to_str(), None);
        for (bytes, problem) in [
            (&b""[..], "it is empty"),
            (&[b'n'; 128], "it is longer than 127 bytes"),
            (b"a\0b", "it contains a NUL byte"),
        ] {
            let error = PayloadName::new(bytes).unwrap_err();
            assert_eq!(error.problem, problem);
        }
        assert_eq!(PayloadName::try_from("fix".to_owned()), "fix".parse());
    }

    #[test]
    fn nothing_a_terminal_acts_on_is_printed() {
        let name = PayloadName::new(b"a\x1b[31m\n\xffz\xe2\x80\xae\xc3\xa9").unwrap();
        assert_eq!(name.to_string(), "a\\u{1b}[31m\\n\\xffz\\u{202e}\u{e9}");
        assert_eq!(format!("{name:?}"), format!("\"{name}\""));
    }

    #[test]
    fn the_name_is_the_files_without_its_last_suffix() {
        let name = |path: &str| PayloadName::of_file(Path::new(path)).map(|name| name.to_string()).ok();
        for (path, expected) in [
            ("/x/a.b.c", Some("a.b")),
            ("xsa-500.livepatch", Some("xsa-500")),
            ("plain", Some("plain")),
            ("dir.d/plain", Some("plain")),
            ("a.", Some("a")),
            // The C tool loads these under the empty name.
            (".hidden", None),
            ("..", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
        assert!(name(&format!("{}.livepatch", "n".repeat(127))).is_some());
        assert!(name(&format!("{}.livepatch", "n".repeat(128))).is_none());
    }
}
