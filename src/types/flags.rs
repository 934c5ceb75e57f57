//! The flags of actions: one table of flag, actions and first release.

use core::fmt;
use core::str::FromStr;

use super::InvalidText;
use super::action::Action;

bitflags::bitflags! {
    /// The flags of an action: the 32-bit mask that Xen 4.14 introduced (`xen_sysctl_livepatch_action.flags`).
    ///
    /// Xen ignores unknown bits, and bits without a meaning for an action. The client refuses both before any hypercall
    /// ([`UnsupportedFlag`](crate::ErrorKind::UnsupportedFlag)), since the action would have another effect than the
    /// caller asked for. The type itself keeps unknown bits.
    ///
    /// ```
    /// use xen_livepatch::Flags;
    ///
    /// assert_eq!(Flags::NODEPS.bits(), 1);
    /// let flags = Flags::from_bits_retain(1 | 1 << 7);
    /// assert_eq!(flags.to_string(), "NODEPS | 0x80");
    /// assert_eq!("NODEPS | 0x80".parse(), Ok(flags));
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Flags: u32 {
        /// Applies the payload without comparing its `.livepatch.depends` with the build-id on top of the stack. Xen
        /// still compares `.livepatch.xen_depends` at upload. Meant for debug patches, which must be applicable at any
        /// time.
        ///
        /// Only for apply, from Xen 4.14 on (`LIVEPATCH_ACTION_APPLY_NODEPS`, commit b274989b61).
        const NODEPS = 1;

        // Bits of a later Xen stay as they came.
        const _ = !0;
    }
}

/// A flag that this crate knows, as listed by [`Flags::KNOWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownFlag {
    /// The flag.
    pub flag: Flags,
    /// Its name on a command line, such as `nodeps`.
    pub option: &'static str,
    /// The actions that have it.
    pub actions: &'static [Action],
    /// The first series of Xen that has it, such as `(4, 14)`.
    pub since: (u16, u16),
    /// Its effect, as one line of help.
    pub help: &'static str,
}

impl Flags {
    /// The flags that this crate knows.
    pub const KNOWN: &[KnownFlag] = &[KnownFlag {
        flag: Self::NODEPS,
        option: "nodeps",
        actions: &[Action::Apply],
        since: (4, 14),
        help: "Apply on top of whatever is applied; only Xen's own build-id has to match",
    }];

    /// Returns the flags that an action has on the newest Xen that this crate knows.
    #[must_use]
    pub fn of_action(action: Action) -> Self {
        Self::KNOWN.iter().filter(|known| known.actions.contains(&action)).map(|known| known.flag).collect()
    }

    /// Returns the flags that an action has on a Xen of this series, such as `(4, 17)`.
    #[must_use]
    pub fn understood_by(series: (u16, u16), action: Action) -> Self {
        let missing = Self::KNOWN.iter().filter(|known| known.since > series).map(|known| known.flag).collect();
        Self::of_action(action).difference(missing)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        bitflags::parser::to_writer(self, f)
    }
}

impl FromStr for Flags {
    type Err = InvalidText;

    /// Reads names and hexadecimal numbers separated by `|`, or `none`.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            "none" => Ok(Self::empty()),
            _ => bitflags::parser::from_str(text)
                .map_err(|_| InvalidText::new(text, "a set of flags: expected none, or flags such as NODEPS | 0x80")),
        }
    }
}

#[cfg(feature = "serde")]
super::text::serde_as_text!(Flags);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_survive_every_operation() {
        let flags = Flags::from_bits_retain(0xffff_fffe) | Flags::NODEPS;
        assert_eq!(flags.bits(), u32::MAX);
        assert_eq!(Flags::from_bits(0x8000_0000).map(|f| f.bits()), Some(0x8000_0000));
        assert_eq!(Flags::from_bits_truncate(0xf0).bits(), 0xf0);
        assert_eq!((flags - Flags::NODEPS).to_string(), "0xfffffffe");
        assert_eq!(Flags::empty().to_string(), "none");
    }

    #[test]
    fn flags_are_read_back_from_their_text() {
        for bits in [0, 1, 2, 3, 0xffff_fffe, u32::MAX] {
            let flags = Flags::from_bits_retain(bits);
            assert_eq!(flags.to_string().parse(), Ok(flags));
        }
        assert!("NODEPS | SOON".parse::<Flags>().is_err());
    }

    #[test]
    fn every_flag_has_a_row_and_is_understood_from_its_release_on() {
        let named: Vec<Flags> = Flags::all().iter_names().map(|(_, flag)| flag).collect();
        assert_eq!(Flags::KNOWN.iter().map(|known| known.flag).collect::<Vec<_>>(), named);
        for known in Flags::KNOWN {
            assert_eq!(known.flag.to_string().to_lowercase(), known.option);
            let (major, minor) = known.since;
            for action in Action::ALL {
                let has = known.actions.contains(&action);
                let understands = |series| Flags::understood_by(series, action).contains(known.flag);
                assert_eq!((understands((major, minor - 1)), understands((major, minor))), (false, has));
            }
        }
    }
}
