//! The name under which Xen keeps a payload.

use core::fmt;
use core::ops::{Range, RangeInclusive};
use core::str::FromStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::types::build_id::BuildId;
use crate::types::shared_bytes::SharedBytes;

/// The name of a payload: 1 to 127 bytes, none of them NUL; case matters, and it need not be UTF-8.
///
/// Xen itself takes up to 127 bytes and a NUL (`XEN_LIVEPATCH_NAME_SIZE`), and also the empty name, which nothing else
/// copes with. `Display` and `Debug` escape what a terminal would act on, so a name can be printed as it is;
/// [`as_bytes`](Self::as_bytes) has the real thing.
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

/// Bytes that are not a payload name. `?` makes it an [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not a valid payload name, which has 1 to 127 bytes and no NUL: {problem}")]
#[non_exhaustive]
pub struct InvalidName {
    /// What is wrong with it.
    pub problem: &'static str,
}

impl PayloadName {
    /// The longest name in bytes, without the NUL that Xen counts (`XEN_LIVEPATCH_NAME_SIZE` is 128).
    pub const MAX_LEN: usize = 127;

    /// A payload name of these bytes.
    ///
    /// # Errors
    /// When there are none, more than 127, or a NUL among them.
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

    /// Another name for a payload whose own is taken: with the first digits of its build-id, and a number if that is not 0.
    pub(crate) fn distinguished(&self, build_id: Option<&BuildId>, number: u32) -> Self {
        let digits = build_id.map(ToString::to_string).unwrap_or_default();
        let digits = digits.get(..8).unwrap_or(&digits);
        let suffix = if number == 0 { format!("-{digits}") } else { format!("-{digits}-{number}") };
        let room = Self::MAX_LEN.saturating_sub(suffix.len());
        let own = self.as_bytes().get(..room).unwrap_or(self.as_bytes());
        Self(SharedBytes::new(&[own, suffix.as_bytes()].concat()))
    }

    /// The name that [`load`](crate::LivepatchClient::load) gives the payload of a file: the file's own, less its last
    /// suffix.
    ///
    /// # Errors
    /// When that is not a name, as of `.hidden`, or longer than 127 bytes.
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

    /// A name as Xen keeps it, with its NUL, at this place among others. The C tool lets the empty name in, so it must be
    /// possible to list it and to unload it.
    pub(crate) fn from_xen(names: &Arc<[u8]>, place: Range<usize>) -> Option<Self> {
        let with_nul = names.get(place.clone())?;
        let end = with_nul.iter().position(|byte| *byte == 0).filter(|end| *end <= Self::MAX_LEN)?;
        let whole = end.checked_add(1)? == with_nul.len();
        SharedBytes::part(names, place.start..place.start.checked_add(end)?).filter(|_| whole).map(Self)
    }

    /// The bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, where it is UTF-8.
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

/// Characters that can't be seen, or change the direction of writing: Unicode's default ignorable ones, as far as they are not
/// parts of others, its bidirectional controls, and its separators of lines.
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

/// Text as it is; control characters, characters that can't be seen or change the direction of writing, and invalid UTF-8 as
/// escapes: how names, metadata and the paths of files are shown, so that none breaks a line or acts on a terminal.
///
/// ```
/// assert_eq!(xen_livepatch::escaped(b"caf\xc3\xa9 \x1b[2J\n\xff"), r"café \u{1b}[2J\n\xff");
/// ```
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    // Most text is nothing but this.
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
