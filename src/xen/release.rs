//! The releases of Xen: one table of series, interface versions and point releases.
#![allow(clippy::unreadable_literal, reason = "days are written as dates: 20231218")]

use core::fmt;
use core::str::FromStr;

/// A point release of Xen, such as 4.17.3.
///
/// The constants are the last known point release of each series, which has every fix of that series; [`at`](Self::at) returns
/// another one.
///
/// ```
/// use xen_livepatch::Release;
///
/// assert_eq!(Release::V4_17.at(3).to_string(), "4.17.3");
/// assert_eq!("4.17.3".parse(), Ok(Release::V4_17.at(3)));
/// assert!(Release::V4_17.at(3) < Release::V4_17);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Release {
    minor: u16,
    point: u16,
}

/// The point releases of 4.MINOR.
#[derive(Debug)]
struct Series {
    minor: u16,
    /// The interface version of the sysctls.
    interface: u32,
    /// The day of each point release from `.0` on, as the digits of year, month and day: that of the commit of Xen's tag, such as
    /// `RELEASE-4.17.0`, in UTC.
    days: &'static [u32],
}

macro_rules! releases {
    ($($name:ident = $minor:literal, $point:literal, $interface:literal, $days:expr;)+) => {
        const SERIES: &[Series] = &[$(Series { minor: $minor, interface: $interface, days: &$days }),+];

        impl Release {
            $(
                #[doc = concat!("Xen 4.", $minor, ".", $point, ".")]
                pub const $name: Self = Self { minor: $minor, point: $point };
            )+

            /// The last point release of every series with live patching, oldest first.
            pub const ALL: [Self; SERIES.len()] = [$(Self::$name),+];
        }
    };
}

releases! {
    V4_7 = 7, 6, 0x0d, [20160620, 20161104, 20170307, 20170706, 20171120, 20180328, 20180709];
    V4_8 = 8, 5, 0x0e, [20161205, 20170410, 20170906, 20180123, 20180712, 20181203];
    V4_9 = 9, 4, 0x0f, [20170627, 20171120, 20180328, 20180925, 20190211];
    V4_10 = 10, 4, 0x10, [20171213, 20180502, 20180925, 20190211, 20190703];
    V4_11 = 11, 4, 0x11, [20180709, 20181129, 20190625, 20191129, 20200417];
    V4_12 = 12, 4, 0x12, [20190401, 20190809, 20191220, 20200514, 20201102];
    V4_13 = 13, 5, 0x12, [20191217, 20200514, 20201030, 20210322, 20210910, 20221219];
    V4_14 = 14, 6, 0x13, [20200723, 20201217, 20210427, 20210910, 20220131, 20220412, 20230807];
    V4_15 = 15, 7, 0x13, [20210406, 20210910, 20220131, 20220627, 20221115, 20230807, 20240409, 20240503];
    V4_16 = 16, 7, 0x14, [20211130, 20220412, 20220818, 20221219, 20230427, 20230808, 20240409, 20241204];
    V4_17 = 17, 7, 0x15, [20221208, 20230427, 20230808, 20231218, 20240409, 20240814, 20251215, 20260729];
    V4_18 = 18, 6, 0x15, [20231116, 20240318, 20240409, 20240814, 20241219, 20250515, 20260729];
    V4_19 = 19, 6, 0x15, [20240729, 20241204, 20250404, 20250804, 20251204, 20260326, 20260729];
    V4_20 = 20, 4, 0x15, [20250304, 20250709, 20251113, 20260326, 20260729];
    V4_21 = 21, 2, 0x16, [20251118, 20260326, 20260729];
    V4_22 = 22, 0, 0x16, [20260729];
}

impl Release {
    /// The last known point release of a series, such as `(4, 17)`; `None` for an unknown series.
    #[must_use]
    pub fn from_version(major: u16, minor: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|release| (4, release.minor) == (major, minor))
    }

    /// Another point release of the same series: `Release::V4_17.at(3)` is 4.17.3.
    #[must_use]
    pub const fn at(self, point: u16) -> Self {
        Self { point, ..self }
    }

    /// The minor number, 17 of Xen 4.17.3. The major number is always 4.
    #[must_use]
    pub const fn minor(self) -> u16 {
        self.minor
    }

    /// The number of the point release, 3 of Xen 4.17.3.
    #[must_use]
    pub const fn point(self) -> u16 {
        self.point
    }

    /// The major and minor number, such as `(4, 17)`.
    #[must_use]
    pub const fn series(self) -> (u16, u16) {
        (4, self.minor)
    }

    /// The interface version that its sysctls must carry.
    #[must_use]
    pub fn interface_version(self) -> u32 {
        self.row().map_or(0, |row| row.interface)
    }

    /// The text after `4.MINOR` that an unmodified build reports, such as `.3`.
    #[must_use]
    pub fn extra_version(self) -> String {
        format!(".{}", self.point)
    }

    /// A release of a series that may be unknown.
    pub(crate) const fn of(minor: u16, point: u16) -> Self {
        Self { minor, point }
    }

    /// The day of the release, as the digits of year, month and day; `None` if it is not known.
    pub(crate) fn day(self) -> Option<u32> {
        self.row()?.days.get(usize::from(self.point)).copied()
    }

    fn row(self) -> Option<&'static Series> {
        SERIES.iter().find(|series| series.minor == self.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("4.{}.{}", self.minor, self.point))
    }
}

/// A text that does not name a known release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a known release of Xen with live patching: expected {KnownSeries}, or a point release such as 4.17.3"
)]
pub struct UnknownRelease {
    text: String,
}

/// The known series as text, such as `4.7 to 4.22`.
pub(crate) struct KnownSeries;

impl fmt::Display for KnownSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [oldest, .., newest] = Release::ALL;
        write!(f, "4.{} to 4.{}", oldest.minor, newest.minor)
    }
}

impl FromStr for Release {
    type Err = UnknownRelease;

    /// Reads `4.17.3`, or `4.17` for the last point release of that series.
    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        let unknown = || UnknownRelease { text: text.into() };
        let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        let numbers: Option<Vec<u16>> = text.split('.').map(number).collect();
        let (last, point) = match numbers.as_deref() {
            Some([major, minor]) => (Self::from_version(*major, *minor), None),
            Some([major, minor, point]) => (Self::from_version(*major, *minor), Some(*point)),
            _ => (None, None),
        };
        let last = last.ok_or_else(unknown)?;
        match point {
            Some(point) if point > last.point => Err(unknown()),
            Some(point) => Ok(last.at(point)),
            None => Ok(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_series_once_in_order() {
        // Written a second time, since all else follows from the table.
        let interfaces =
            [0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x12, 0x13, 0x13, 0x14, 0x15, 0x15, 0x15, 0x15, 0x16, 0x16];
        assert!(SERIES.iter().map(|series| (series.minor, series.interface)).eq((7..).zip(interfaces)));
        for (release, series) in Release::ALL.into_iter().zip(SERIES) {
            assert_eq!(release.minor, series.minor);
            assert_eq!(usize::from(release.point), series.days.len() - 1, "{release}");
            assert!(series.days.is_sorted_by(|a, b| a < b), "{release}");
            assert!(series.days.iter().all(|day| (20160620..20261231).contains(day)), "{release}");
        }
        assert_eq!((Release::V4_17.at(3).day(), Release::V4_17.at(99).day()), (Some(20231218), None));
    }

    #[test]
    fn releases_are_read_from_text() {
        for (text, release) in [
            ("4.17", Some(Release::V4_17)),
            ("4.17.0", Some(Release::V4_17.at(0))),
            ("4.7.6", Some(Release::V4_7)),
            ("4.17.8", None),
            ("4.6", None),
            ("4.99", None),
            ("5.0", None),
            ("4", None),
            ("", None),
            ("4.17.", None),
            ("4.17.3.1", None),
            ("4.+17", None),
            ("4.17-rc1", None),
            ("4.65553", None),
        ] {
            assert_eq!(text.parse().ok(), release, "{text}");
        }
        for release in Release::ALL {
            assert_eq!(release.to_string().parse(), Ok(release));
        }
        assert_eq!((Release::from_version(4, 6), Release::from_version(5, 7)), (None, None));
        let error = "5.0".parse::<Release>().unwrap_err().to_string();
        assert!(error.contains(&format!("expected {KnownSeries}, or")), "{error}");
        assert!(KnownSeries.to_string().starts_with("4.7 to 4."));
    }
}
