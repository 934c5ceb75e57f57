//! The names in a payload.

use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

use crate::types::escaped;

/// The name of a function, a symbol or a section: bytes that need not be text, cut after the first 128 (no name in Xen has more
/// than 127).
///
/// `Display` escapes characters that a terminal would act on, and `Serialize` writes the same text; [`as_bytes`](Self::as_bytes)
/// returns the name itself.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolName(Box<[u8]>);

/// A limit, so that a hostile file can't fill a log with one name.
const MOST: usize = 128;

impl SymbolName {
    pub(crate) fn new(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        Self(bytes.get(..MOST).unwrap_or(bytes).into())
    }

    /// The bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, if it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl FromStr for SymbolName {
    type Err = Infallible;

    /// Makes a name of these bytes. Escape sequences are not undone.
    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::new(name))
    }
}

impl fmt::Display for SymbolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escaped(&self.0))
    }
}

impl fmt::Debug for SymbolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escaped(&self.0))
    }
}

/// Returns true for a label that is local to a compiler or assembler, such as `.LC2`. Linkers drop most of them, and Xen's symbol
/// table contains its local symbols under other names (`file.c#name`).
pub(crate) fn is_local_label(name: &[u8]) -> bool {
    name.starts_with(b".L")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        for (len, kept) in [(0, 0), (127, 127), (128, 128), (129, 128), (2 << 20, 128)] {
            assert_eq!(SymbolName::new(vec![b'x'; len]).as_bytes().len(), kept);
        }
    }
}
