//! The actions on loaded payloads.

use core::fmt;
use core::str::FromStr;

use super::InvalidText;

/// An action on a loaded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Action {
    /// Takes effect on top of the payloads that are applied.
    Apply,
    /// Takes the payload out of effect. Only the payload applied last can be reverted.
    Revert,
    /// Reverts all applied payloads and applies this one instead, in one step.
    Replace,
    /// Removes the payload from Xen's memory, unless it is applied.
    Unload,
}

impl Action {
    /// The actions, in the order of their definition.
    pub const ALL: [Self; 4] = [Self::Apply, Self::Revert, Self::Replace, Self::Unload];

    /// The word for it in texts and commands, such as `apply`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Revert => "revert",
            Self::Replace => "replace",
            Self::Unload => "unload",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Action {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let action = Self::ALL.into_iter().find(|action| action.word() == text);
        action.ok_or_else(|| InvalidText::new(text, "an action: expected apply, revert, replace or unload"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_back_from_their_words() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse(), Ok(action));
        }
        assert!("Apply".parse::<Action>().unwrap_err().to_string().starts_with("\"Apply\" is not an action"));
    }
}
