//! Reasons why a loaded payload has no identity.

use core::fmt;

/// The reason why an [`InventoryEntry`](crate::InventoryEntry) has no build-id. `Display` names the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Unidentified {
    /// A text of the payload looks like the part of the dump that identifies payloads, so that no dump can be believed about
    /// it: a function name or long metadata with `build-id=` or `depend-on=` in it, or a build-id of 64 bytes or more.
    Unreadable,
    /// The payloads were locked, changed, or printed by somebody else at the same moment.
    Disturbed,
    /// The dump is larger than Xen's console ring.
    RingTooSmall,
    /// Xen does not let this domain read its console.
    ConsoleDenied,
    /// Xen does not let this domain press debug keys.
    KeyDenied,
    /// The key is not pressed on this release, where it may lock the payloads for good.
    KeyNotPressed,
}

impl Unidentified {
    /// Returns true if the next inventory may identify the payload although nothing is changed meanwhile.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Disturbed)
    }

    /// Returns true if no further dump of the same payloads shows more, as long as this Xen runs.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Unreadable | Self::RingTooSmall)
    }

    /// The reason in one word, which stays the same from version to version.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Disturbed => "disturbed",
            Self::RingTooSmall => "ring_too_small",
            Self::ConsoleDenied => "console_denied",
            Self::KeyDenied => "key_denied",
            Self::KeyNotPressed => "key_not_pressed",
        }
    }
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "a text of the payload looks like a part of Xen's dump of payloads: build it with other function names, \
                 shorter metadata and a build-id of less than 64 bytes"
            }
            Self::Disturbed => "Xen's dump of payloads was disturbed by others; try again",
            Self::RingTooSmall => {
                "Xen's dump of payloads does not fit into its console ring: boot Xen with a larger conring_size="
            }
            Self::ConsoleDenied => "Xen does not let this domain read its console (FLASK: permission readconsole of class xen)",
            Self::KeyDenied => "Xen does not let this domain press debug keys (FLASK: permission debug of class xen)",
            Self::KeyNotPressed => {
                "debug key x is not pressed on Xen 4.7.0 to 4.7.2, 4.8.0 and 4.8.1, where it may lock the payloads for \
                 good: only the client that uploaded a payload identifies it there"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_a_remedy() {
        for (reason, remedy, retryable) in [
            (Unidentified::Unreadable, "build it with other", false),
            (Unidentified::Disturbed, "try again", true),
            (Unidentified::RingTooSmall, "conring_size=", false),
            (Unidentified::ConsoleDenied, "permission readconsole", false),
            (Unidentified::KeyDenied, "permission debug", false),
            (Unidentified::KeyNotPressed, "4.8.1", false),
        ] {
            assert!(reason.to_string().contains(remedy), "{reason}");
            assert_eq!(reason.is_retryable(), retryable, "{reason}");
            #[cfg(feature = "serde")]
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
    }
}
