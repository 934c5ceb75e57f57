//! Identities of loaded payloads, kept outside of a client.

use core::fmt;
use core::str::FromStr;

use super::{ReplacedFunction, Unidentified};
use crate::types::{BuildId, PayloadName};
use crate::xen::SymbolName;

/// The identities of loaded payloads that a client has found out: for
/// [`ClientBuilder::known_identities`](crate::ClientBuilder::known_identities) in another process.
///
/// They hold for one boot of one Xen, as long as nobody uploads or unloads anything: they contain Xen's build-id and its
/// version of the list. The version begins again with each boot, so keep the boot id (`/proc/sys/kernel/random/boot_id`)
/// with them. Keep them in a file that nobody else can write: with a wrong identity, a plan may revert or unload the wrong
/// payload.
///
/// `Display` is a text to keep, and [`FromStr`] reads it.
///
/// ```
/// # use xen_livepatch::*;
/// # let (xen, client, fix, payload) = doctest::fix()?;
/// # client.upload(&fix, &payload)?;
/// let inventory = client.inventory()?;
/// let text = client.known_identities().ok_or("nothing is known")?.to_string();
/// // In another process:
/// let known: KnownIdentities = text.parse()?;
/// let client = LivepatchClient::builder().known_identities(known).connect(xen)?;
/// // No debug key is pressed.
/// assert_eq!(client.inventory()?.payloads[0].functions, inventory.payloads[0].functions);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownIdentities {
    pub(crate) xen: BuildId,
    pub(crate) version: u32,
    pub(crate) payloads: Vec<KnownIdentity>,
}

/// The identity of one loaded payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownIdentity {
    pub(crate) name: PayloadName,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) depends: Option<BuildId>,
    pub(crate) dump: Dump,
}

/// The part of an identity that only a dump shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dump {
    /// No dump was read.
    #[default]
    No,
    /// One was read, and these are the functions in it, where their lines were clear.
    Read(Option<Vec<ReplacedFunction>>),
    /// None shows the payload's identity.
    Never(Unidentified),
}

/// A text that is not one of [`KnownIdentities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not valid in a list of known identities")]
#[non_exhaustive]
pub struct InvalidIdentities {
    /// The line, counted from 1.
    pub line: usize,
}

impl KnownIdentities {
    /// The build-id of the Xen that they belong to.
    #[must_use]
    pub const fn xen(&self) -> &BuildId {
        &self.xen
    }

    /// The names of the payloads, and their build-ids where known.
    pub fn payloads(&self) -> impl Iterator<Item = (&PayloadName, Option<&BuildId>)> {
        self.payloads.iter().map(|payload| (&payload.name, payload.build_id.as_ref()))
    }
}

fn digits(bytes: &[u8]) -> String {
    BuildId::new(bytes).to_string()
}

/// A line for Xen, a line for each payload, and one for each of its functions. Names are in hexadecimal.
impl fmt::Display for KnownIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xen {} {}", self.xen, self.version)?;
        for KnownIdentity { name, build_id, depends, dump } in &self.payloads {
            let read = match dump {
                Dump::No => "no",
                Dump::Read(Some(_)) => "read",
                Dump::Read(None) => "unclear",
                Dump::Never(reason) => reason.word(),
            };
            let ids = [build_id, depends].map(|id| id.as_ref().map_or_else(|| "-".into(), BuildId::to_string));
            write!(f, "\npayload {} {} {} {read}", digits(name.as_bytes()), ids[0], ids[1])?;
            let Dump::Read(Some(functions)) = dump else { continue };
            for ReplacedFunction { name, old_address, old_size, new_address, new_size } in functions {
                let name = digits(name.as_bytes());
                write!(f, "\nfunction {old_address:x} {old_size:x} {new_address:x} {new_size:x} {name}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for KnownIdentities {
    type Err = InvalidIdentities;

    fn from_str(text: &str) -> Result<Self, InvalidIdentities> {
        let mut lines = text.lines().zip(1..);
        let (first, line) = lines.next().unwrap_or(("", 1));
        let mut known = xen(first).ok_or(InvalidIdentities { line })?;
        for (text, line) in lines {
            match payload(text) {
                Some(payload) => known.payloads.push(payload),
                None => function(text, &mut known).ok_or(InvalidIdentities { line })?,
            }
        }
        Ok(known)
    }
}

fn xen(line: &str) -> Option<KnownIdentities> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["xen", xen, version] = *words else { return None };
    Some(KnownIdentities { xen: xen.parse().ok()?, version: version.parse().ok()?, payloads: Vec::new() })
}

fn payload(line: &str) -> Option<KnownIdentity> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["payload", name, build_id, depends, read] = *words else { return None };
    let id = |word: &str| if word == "-" { Some(None) } else { word.parse().ok().map(Some) };
    let dump = match read {
        "no" => Dump::No,
        "read" => Dump::Read(Some(Vec::new())),
        "unclear" => Dump::Read(None),
        word => {
            let finals = [Unidentified::Unreadable, Unidentified::RingTooSmall];
            Dump::Never(finals.into_iter().find(|reason| reason.word() == word)?)
        }
    };
    let name = PayloadName::new(name.parse::<BuildId>().ok()?.as_bytes()).ok()?;
    Some(KnownIdentity { name, build_id: id(build_id)?, depends: id(depends)?, dump })
}

fn function(line: &str, known: &mut KnownIdentities) -> Option<()> {
    let Dump::Read(Some(functions)) = &mut known.payloads.last_mut()?.dump else { return None };
    let words: Vec<&str> = line.split(' ').collect();
    let ["function", old_address, old_size, new_address, new_size, name] = *words else { return None };
    let name = if name.is_empty() { BuildId::new([]) } else { name.parse().ok()? };
    functions.push(ReplacedFunction {
        name: SymbolName::new(name.as_bytes()),
        old_address: u64::from_str_radix(old_address, 16).ok()?,
        old_size: u32::from_str_radix(old_size, 16).ok()?,
        new_address: u64::from_str_radix(new_address, 16).ok()?,
        new_size: u32::from_str_radix(new_size, 16).ok()?,
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownIdentities {
        let payload = |name: &[u8], id: Option<u8>, dump| KnownIdentity {
            name: PayloadName::new(name).expect("a name"),
            build_id: id.map(|id| BuildId::new([id; 20])),
            depends: id.map(|id| BuildId::new([id, 1])),
            dump,
        };
        let function = |name: &str| ReplacedFunction {
            name: SymbolName::new(name),
            old_address: u64::MAX,
            old_size: 16,
            new_address: 0,
            new_size: u32::MAX,
        };
        KnownIdentities {
            xen: BuildId::new([7; 20]),
            version: u32::MAX,
            payloads: vec![
                payload(b"a\n\xff b", Some(1), Dump::Read(Some(vec![function("f g\n"), function("")]))),
                payload(b"b", Some(2), Dump::Read(None)),
                payload(b"c", Some(3), Dump::No),
                payload(b"d", None, Dump::Never(Unidentified::RingTooSmall)),
                payload(b"e", None, Dump::Never(Unidentified::Unreadable)),
            ],
        }
    }

    #[test]
    fn identities_are_kept_as_text() {
        let known = known();
        assert_eq!(known.to_string().parse(), Ok(known));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = known().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for line in 0..lines.len() {
            let mut changed = lines.clone();
            let more = format!("{} more", lines[line]);
            changed[line] = &more;
            assert_eq!(changed.join("\n").parse::<KnownIdentities>(), Err(InvalidIdentities { line: line + 1 }));
        }
        for text in ["", "xen", "xen 00 x", "xen 00 1\npayload 00 - - no", "xen 00 1\nfunction 0 0 0 0 00"] {
            assert!(text.parse::<KnownIdentities>().is_err(), "{text}");
        }
    }
}
