//! Build-ids of Xen and of payloads.

use core::fmt;
use core::str::FromStr;

/// The build-id of Xen or of a payload: the description of its `.note.gnu.build-id`, usually 20 bytes.
///
/// A payload names the build-id that it depends on (`.livepatch.depends`) and that of the Xen that it was built for
/// (`.livepatch.xen_depends`). `Display` is lower-case hexadecimal, as in `xl info` and `readelf -n`.
///
/// ```
/// use xen_livepatch::BuildId;
///
/// let id: BuildId = "8a7d1e03".parse()?;
/// assert_eq!(id.as_bytes(), [0x8a, 0x7d, 0x1e, 0x03]);
/// assert_eq!(id.to_string(), "8a7d1e03");
/// # Ok::<(), xen_livepatch::InvalidBuildId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Box<[u8]>);

impl BuildId {
    /// Makes a build-id of these bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The error for a text that is not a build-id. `?` converts it into an [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{text:?} is not a build-id: expected pairs of hexadecimal digits")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct InvalidBuildId {
    /// The text.
    pub text: String,
}

impl FromStr for BuildId {
    type Err = InvalidBuildId;

    /// Reads hexadecimal digits, two per byte.
    fn from_str(text: &str) -> Result<Self, InvalidBuildId> {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let bytes = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0).and_then(|digits| {
            digits
                .chunks_exact(2)
                .map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok())
                .collect()
        });
        bytes.map(Self).ok_or_else(|| InvalidBuildId { text: text.into() })
    }
}

impl AsRef<[u8]> for BuildId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&digits.concat())
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

#[cfg(feature = "serde")]
super::text::serde_as_text!(BuildId);

/// A payload's build-id, and the build-id that it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) build_id: Option<BuildId>,
    pub(crate) depends: Option<BuildId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        let id = BuildId::new([0x00, 0xff, 0x1a]);
        assert_eq!("00FF1a".parse::<BuildId>().unwrap(), id);
        assert_eq!(format!("{id} {id:?}"), "00ff1a BuildId(00ff1a)");
        for bad in ["", "0", "0g", "00 1", "é0"] {
            assert_eq!(bad.parse::<BuildId>(), Err(InvalidBuildId { text: bad.into() }));
        }
    }
}
