//! Reading values back from the text of their `Display`.

/// The error for a text that is not a value of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{text:?} is not {expected}")]
#[non_exhaustive]
pub struct InvalidText {
    /// The text.
    pub text: String,
    /// A description of the valid texts.
    pub expected: &'static str,
}

impl InvalidText {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.into(), expected }
    }
}

/// Implements `Serialize` by `Display`, and `Deserialize` by `FromStr`.
#[cfg(feature = "serde")]
macro_rules! serde_as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

#[cfg(feature = "serde")]
pub(crate) use serde_as_text;
