//! A reader of the text that debug key `x` prints.
//!
//! Names, metadata and names of functions are printed as they are, and whoever made a payload chose them, line breaks
//! included. So no line is believed because it looks right. But whatever a payload has Xen print, it can't keep Xen from
//! printing the rest: each loaded payload's `build-id=` and `depend-on=` are in the text once, each in one piece, in the
//! order of the list. If these words occur exactly as often as Xen, the listed names and the listed metadata account for, no
//! occurrence is forged, and the position of each gives the payload that it belongs to. If they occur more often, the text
//! is divided at the headings that are in it once, and only the parts that still agree are believed.
//!
//! Other lines in between, of guests and of other subsystems, matter only if they contain one of these words. Guests' lines
//! do not matter even then: a payload can't have Xen print anything before its prefix.

use core::ops::Range;

use super::unidentified::Unidentified;
use super::{PREFIX, split_at, split_at_last, without_time};
use crate::types::{BuildId, LoadedPayload, Metadata, PayloadName};
use crate::xen::SymbolName;

/// A function that a loaded payload replaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ReplacedFunction {
    /// The name that the payload gives it.
    pub name: SymbolName,
    /// The address of Xen's function.
    #[cfg_attr(feature = "serde", serde(with = "hexadecimal"))]
    pub old_address: u64,
    /// The size of Xen's function in bytes.
    pub old_size: u32,
    /// The address of the payload's function; 0 for one that is filled with NOPs.
    #[cfg_attr(feature = "serde", serde(with = "hexadecimal"))]
    pub new_address: u64,
    /// The size of the payload's function in bytes.
    pub new_size: u32,
}

/// Addresses as text, such as `0xffff82d040200010`: many readers of JSON keep 53 bits of a number.
#[cfg(feature = "serde")]
pub(crate) mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{address:#x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("an address begins with 0x"))?;
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    }
}

/// The part of the dump that is about one payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dumped {
    pub(crate) build_id: BuildId,
    pub(crate) depends: BuildId,
    /// The functions; `None` where their lines can't be separated from others.
    pub(crate) functions: Option<Vec<ReplacedFunction>>,
}

/// The first line of the dump.
const MARK: &[u8] = b"'x' pressed - Dumping all livepatch patches";

const BUILD_ID: &[u8] = b"build-id=";
const DEPENDS: &[u8] = b"depend-on=";
/// In each line about a function.
const PATCH: &[u8] = b" patch ";

/// Printed in place of payloads that are locked.
const LOCKED: [&[u8]; 2] = [b"Lock held. Try again.", b"Couldn't reacquire lock. Try again."];

/// Xen cuts a line at 1023 bytes, without the line break, so that the next one continues it.
const MOST_PRINTED: usize = 1000;

/// Returns what the dump shows of each row. All of the dump has to be in the text, which may have other lines in it.
pub(crate) fn read(text: &[u8], rows: &[LoadedPayload], xen: Option<&BuildId>) -> Vec<Result<Dumped, Unidentified>> {
    let text = without_guests(text);
    let mut found: Vec<_> = rows.iter().map(|_| Err(Unidentified::Disturbed)).collect();
    let Some(dump) = dump(&text, xen) else { return found };
    let own: Vec<Option<Words>> = rows.iter().map(|row| Words::of(&row.name, &row.metadata)).collect();
    let all = Part { rows: 0..rows.len(), bytes: 0..dump.len() };
    let parts = if all.agrees(dump, &own) == Ok(()) { vec![all] } else { parts(dump, rows) };
    for part in parts {
        let agrees = part.agrees(dump, &own);
        let Words { build_ids, depends } = Words::positions(dump, &part.bytes);
        let (mut build_ids, mut depends) = (build_ids.into_iter(), depends.into_iter());
        let mut start = part.bytes.start;
        let of_part = rows.iter().zip(&own).zip(&mut found).skip(part.rows.start).take(part.rows.len());
        for ((row, own), found) in of_part {
            let own = own.as_ref();
            let found_at =
                own.and_then(|own| Some((build_ids.nth(own.build_ids.len())?, depends.nth(own.depends.len())?)));
            *found = agrees.and_then(|()| {
                let (build_id, depends) = found_at.ok_or(Unidentified::Disturbed)?;
                let block = dump.get(start..build_id).ok_or(Unidentified::Disturbed)?;
                start = depends;
                // Xen goes by the same list.
                if is_in_one_piece(&row.name) && positions(block, &heading(&row.name)).is_empty() {
                    return Err(Unidentified::Disturbed);
                }
                Ok(Dumped {
                    build_id: value(dump, build_id, BUILD_ID)?,
                    depends: value(dump, depends, DEPENDS)?,
                    functions: functions(block, row),
                })
            });
        }
    }
    found
}

/// Returns an error if no dump can show the identity of a payload with these texts.
pub(crate) fn readable<'t>(
    name: &PayloadName,
    metadata: &Metadata,
    functions: impl Iterator<Item = &'t [u8]>,
    ids: [Option<&BuildId>; 2],
) -> Result<(), Unidentified> {
    let words = |text: &[u8]| [BUILD_ID, DEPENDS].iter().any(|word| !positions(text, word).is_empty());
    let long = ids.into_iter().flatten().any(|id| id.as_bytes().len() >= MOST_ID);
    let clear = Words::of(name, metadata).is_some() && !functions.into_iter().any(words) && !long;
    if clear { Ok(()) } else { Err(Unidentified::Unreadable) }
}

/// The positions of the words that identify payloads.
struct Words {
    build_ids: Vec<usize>,
    depends: Vec<usize>,
}

impl Words {
    fn positions(text: &[u8], bytes: &Range<usize>) -> Self {
        let inside =
            |word: &[u8]| -> Vec<usize> { positions(text, word).into_iter().filter(|at| bytes.contains(at)).collect() };
        Self { build_ids: inside(BUILD_ID), depends: inside(DEPENDS) }
    }

    /// Those that Xen prints before the payload's own, because its name and metadata contain them; `None` where that is not
    /// certain.
    fn of(name: &PayloadName, metadata: &Metadata) -> Option<Self> {
        let mut own = Self { build_ids: Vec::new(), depends: Vec::new() };
        for text in core::iter::once(name.as_bytes()).chain(metadata.texts()) {
            let Self { build_ids, depends } = Self::positions(text, &(0..text.len()));
            // The end of it may not be printed.
            if text.len() >= MOST_PRINTED && !(build_ids.is_empty() && depends.is_empty()) {
                return None;
            }
            own.build_ids.extend(build_ids);
            own.depends.extend(depends);
        }
        Some(own)
    }
}

/// A part of the text that is about these rows and no others.
struct Part {
    rows: Range<usize>,
    bytes: Range<usize>,
}

impl Part {
    /// Returns `Ok` if the words occur exactly as often as the rows account for.
    fn agrees(&self, dump: &[u8], own: &[Option<Words>]) -> Result<(), Unidentified> {
        let own = own.get(self.rows.clone()).expect("a part is of rows of the list");
        let count = |of: fn(&Words) -> usize| own.iter().map(|own| Some(of(own.as_ref()?) + 1)).sum();
        let expected: (Option<usize>, Option<usize>) =
            (count(|own| own.build_ids.len()), count(|own| own.depends.len()));
        let (Some(build_ids), Some(depends)) = expected else { return Err(Unidentified::Unreadable) };
        let there = Words::positions(dump, &self.bytes);
        if there.build_ids.len() < build_ids || there.depends.len() < depends {
            Err(Unidentified::Disturbed)
        } else if there.build_ids.len() > build_ids || there.depends.len() > depends {
            Err(Unidentified::Unreadable)
        } else {
            Ok(())
        }
    }
}

/// Divides the text at the headings that are in it once: these are Xen's own, which are all in it.
fn parts(dump: &[u8], rows: &[LoadedPayload]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part { rows: 0..0, bytes: 0..dump.len() };
    for (row, at) in rows.iter().zip(0..) {
        if let [heading] = *positions(dump, &heading(&row.name)) {
            if is_in_one_piece(&row.name) && at > part.rows.start && heading > part.bytes.start {
                parts.push(Part { rows: part.rows.start..at, bytes: part.bytes.start..heading });
                part = Part { rows: at..at, bytes: heading..dump.len() };
            }
        }
        part.rows.end = at + 1;
    }
    parts.push(part);
    parts
}

/// Returns true if a heading is printed as it is: after a line break Xen prints its prefix.
fn is_in_one_piece(name: &PayloadName) -> bool {
    !name.as_bytes().contains(&b'\n')
}

/// The beginning of ` name=NAME state=APPLIED(2) ADDRESS (.data=ADDRESS, .rodata=ADDRESS) using N pages.`
fn heading(name: &PayloadName) -> Vec<u8> {
    [b" name=", name.as_bytes(), b" state="].concat()
}

/// The text after the dump's first line, if it is this Xen's and no part was left out.
fn dump<'t>(text: &'t [u8], xen: Option<&BuildId>) -> Option<&'t [u8]> {
    let (_, dump) = split_at(text, MARK)?;
    let locked = LOCKED.iter().any(|line| !positions(dump, line).is_empty());
    let own = xen.is_none_or(|xen| !positions(dump, format!("build-id: {xen}").as_bytes()).is_empty());
    (own && !locked).then_some(dump)
}

/// The text without the lines of guests: `(d1) ` and whatever a domain wrote.
///
/// Xen prints each in one piece, with its line break. Only after a line that was cut it may continue without a prefix, so
/// that its own text might look like a guest's.
fn without_guests(text: &[u8]) -> Vec<u8> {
    let lines = || text.split_inclusive(|byte| *byte == b'\n');
    let cut = lines().any(|line| line.len() >= MOST_PRINTED);
    let has = |line: &[u8], word: &[u8]| !positions(line, word).is_empty();
    let is_foreign = |line: &[u8]| is_of_a_domain(line) && !(cut && (has(line, BUILD_ID) || has(line, DEPENDS)));
    lines().filter(|line| !is_foreign(line)).flatten().copied().collect()
}

fn is_of_a_domain(line: &[u8]) -> bool {
    let number = line.strip_prefix(b"(d").and_then(|rest| split_at(rest, b") ")).map(|(number, _)| number);
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// The positions at which a text contains another.
fn positions(text: &[u8], part: &[u8]) -> Vec<usize> {
    text.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(at, _)| at).collect()
}

/// The build-id after a word, up to the end of its line.
fn value(dump: &[u8], at: usize, word: &[u8]) -> Result<BuildId, Unidentified> {
    let rest = dump.get(at + word.len()..).expect("the word ends inside the text that it was found in");
    let (digits, _) = split_at(rest, b"\n").ok_or(Unidentified::Disturbed)?;
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    id(digits).ok_or(Unidentified::Unreadable)
}

/// The functions in the text between a payload's predecessor and its build-id.
fn functions(block: &[u8], row: &LoadedPayload) -> Option<Vec<ReplacedFunction>> {
    let texts = || core::iter::once(row.name.as_bytes()).chain(row.metadata.texts());
    if texts().any(|text| text.iter().any(u8::is_ascii_control) || text.len() >= MOST_PRINTED) {
        return None;
    }
    let heading = heading(&row.name);
    let [at] = *positions(block, &heading) else { return None };
    let (_, mut lines) = split_at(block.get(at..)?, b"\n")?;
    let mut functions = Vec::new();
    while let Some((line, rest)) = split_at(lines, b"\n") {
        lines = rest;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = own(line).unwrap_or(line);
        match function(text) {
            Some(function) if own(line).is_some() => functions.push(function),
            // It may be a part of a line about a function.
            _ if text.starts_with(b"    ") || line.len() >= MOST_PRINTED => return None,
            _ if !positions(line, PATCH).is_empty() => return None,
            _ => {}
        }
    }
    // The payload's build-id is in a line of its own.
    own(lines).is_some_and(<[u8]>::is_empty).then_some(functions)
}

/// A line that Xen began, without its prefix and the time that may follow it.
fn own(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(PREFIX).map(without_time)
}

/// `    NAME patch ADDRESS(SIZE) with ADDRESS (SIZE)`, where only the name may be anything.
fn function(line: &[u8]) -> Option<ReplacedFunction> {
    let (name, rest) = split_at_last(line.strip_prefix(b"    ")?, PATCH)?;
    let (old_address, rest) = split_at(rest, b"(")?;
    let (old_size, rest) = split_at(rest, b") with ")?;
    let (new_address, rest) = split_at(rest, b" (")?;
    let new_size = rest.strip_suffix(b")")?;
    Some(ReplacedFunction {
        name: SymbolName::new(name),
        old_address: address(old_address)?,
        old_size: number(old_size)?,
        new_address: address(new_address)?,
        new_size: number(new_size)?,
    })
}

/// Sixteen digits, as Xen prints pointers.
fn address(digits: &[u8]) -> Option<u64> {
    let right = digits.len() == 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = core::str::from_utf8(digits).ok().filter(|_| right)?;
    u64::from_str_radix(text, 16).ok()
}

fn number<N: core::str::FromStr>(digits: &[u8]) -> Option<N> {
    let text = core::str::from_utf8(digits).ok()?;
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The bytes that Xen prints of a build-id at most: of one with so many there may be more.
const MOST_ID: usize = 64;

fn id(digits: &[u8]) -> Option<BuildId> {
    let id: BuildId = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (id.as_bytes().len() < MOST_ID).then_some(id)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod printer;
#[cfg(test)]
mod tests;
