//! Which Xen is running.

use core::fmt;

/// The version of the running Xen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct XenVersion {
    /// 4 in every release that can live-patch.
    pub major: u16,
    /// 7 for Xen 4.7.
    pub minor: u16,
    /// What follows `major.minor`, such as `.7` or `-rc1` (`XENVER_extraversion`, at most 15 bytes; escaped where it
    /// is not text). It is one of the first things that a test patch changes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_xl_info_does() {
        let version = XenVersion { major: 4, minor: 17, extra: ".7-hello".into() };
        assert_eq!(format!("{version}|{:?}", version.release()), "4.17.7-hello|(4, 17)");
    }
}
