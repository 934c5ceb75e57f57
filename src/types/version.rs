//! The version of a running Xen.

use core::fmt;
use core::str::FromStr;

use super::InvalidText;

/// The version of the running Xen, such as 4.17.7-hello.
///
/// Versions are ordered by both numbers, and then by `extra` as text, so that `.10` comes before `.9`: compare point
/// releases by [`Release`](crate::Release).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct XenVersion {
    /// 4 in every release with live patching.
    pub major: u16,
    /// 7 for Xen 4.7.
    pub minor: u16,
    /// The text after `major.minor`, such as `.7` or `-rc1` (`XENVER_extraversion`, at most 15 bytes), escaped if it is not
    /// valid text. Test patches usually change it.
    pub extra: String,
}

impl XenVersion {
    /// Both numbers, to compare releases by.
    #[must_use]
    pub const fn release(&self) -> (u16, u16) {
        (self.major, self.minor)
    }
}

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}{}", self.major, self.minor, self.extra))
    }
}

impl FromStr for XenVersion {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let parse = || {
            let (major, rest) = text.split_once('.')?;
            let (minor, extra) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
            let digits = major.bytes().all(|byte| byte.is_ascii_digit());
            Some(Self {
                major: major.parse().ok().filter(|_| digits)?,
                minor: minor.parse().ok()?,
                extra: extra.into(),
            })
        };
        parse().ok_or_else(|| InvalidText::new(text, "a version of Xen: expected one such as 4.17.7"))
    }
}

#[cfg(feature = "serde")]
super::text::serde_as_text!(XenVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_xl_info_does_and_read_back() {
        let version = XenVersion { major: 4, minor: 17, extra: ".7-hello".into() };
        assert_eq!(format!("{version}|{:?}", version.release()), "4.17.7-hello|(4, 17)");
        assert_eq!("4.17.7-hello".parse(), Ok(version));
        assert_eq!("4.22".parse(), Ok(XenVersion { major: 4, minor: 22, extra: String::new() }));
        for bad in ["", "4", "4.", "x.7", "4.x", "+4.7", "4.65536"] {
            assert!(bad.parse::<XenVersion>().is_err(), "{bad}");
        }
    }
}
