//! The text of a payload for people: at most a screen, without characters that a terminal would act on.

use core::fmt;

use super::{Function, HookKind, Payload, Reapply};
use crate::loader::Listed;
use crate::types::{BuildId, escaped};
use crate::xen::elf::Smaller;
use crate::xen::{KnownSeries, Release};

/// The most lines of one heading, and the most characters of a text of the payload.
const MOST_LINES: usize = 8;
const MOST_CHARS: usize = 80;

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "payload for {}, {} bytes", self.architecture(), self.bytes.len())?;
        let large = self.excess().map(|(_, without_debug)| Smaller(without_debug));
        lines(f, "too large", large.map(|smaller| format!("Xen accepts at most 2097152 (2 MiB): {smaller}")))?;
        lines(f, "build-id", [self.build_id.as_ref().map_or_else(|| "none".into(), id)])?;
        lines(f, "depends on", self.depends.as_ref().map(id))?;
        lines(f, "built for", self.xen_depends.as_ref().map(id))?;
        lines(f, "releases", [releases(&self.releases())])?;
        lines(f, "metadata", self.metadata.pairs().map(|(key, value)| entry(key, value)))?;
        lines(f, "functions", self.functions.iter().map(function))?;
        let unread = self.version.filter(|_| self.functions.is_empty());
        lines(f, "functions", unread.map(|version| format!("can't be read, they have version {version}")))?;
        lines(f, "hooks", self.hook_counts())?;
        lines(f, "reapply", [self.reapply_text()])?;
        let replace = if self.is_replaceable() { "yes" } else { "no, it has hooks that may veto" };
        write!(f, "  {:<10} {replace}", "replace")
    }
}

impl Payload {
    /// The kinds of hooks on one line, with their number if there are several.
    fn hook_counts(&self) -> Option<String> {
        let counts = HookKind::ALL.map(|kind| (kind, self.hooks.iter().filter(|hook| hook.kind == kind).count()));
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let texts: Vec<_> = counts
            .map(|(kind, count)| if count == 1 { kind.to_string() } else { format!("{kind} ({count})") })
            .collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    fn reapply_text(&self) -> String {
        if self.reapply((4, 10)) == Reapply::Allowed {
            return "yes".into();
        }
        let names: Vec<_> = self.writable.iter().map(ToString::to_string).collect();
        format!("no, these are writable: {}", shortened(&names.join(", ")))
    }
}

/// Writes a heading with a line for each text, up to a limit.
fn lines(f: &mut fmt::Formatter<'_>, heading: &str, texts: impl IntoIterator<Item = String>) -> fmt::Result {
    let mut texts = texts.into_iter();
    for (line, text) in texts.by_ref().take(MOST_LINES).enumerate() {
        let heading = if line == 0 { heading } else { "" };
        writeln!(f, "  {heading:<10} {text}")?;
    }
    match texts.count() {
        0 => Ok(()),
        more => writeln!(f, "  {:<10} and {more} more", ""),
    }
}

fn id(id: &BuildId) -> String {
    shortened(&id.to_string())
}

fn entry(key: &[u8], value: Option<&[u8]>) -> String {
    let key = escaped(cut(key));
    shortened(&value.map_or_else(|| key.clone(), |value| format!("{key}={}", escaped(cut(value)))))
}

fn function(function: &Function) -> String {
    let Function { old_size, new_size, .. } = function;
    let expects = if function.expectation.is_some() { ", if it is as expected" } else { "" };
    match &function.new_address {
        Some(new) => format!("{function}: {old_size} bytes, replaced by {new_size} at {new}{expects}"),
        None => format!("{function}: {old_size} bytes, {new_size} of them become no-operations{expects}"),
    }
}

/// Releases as text, such as `4.7, 4.14 to 4.16, 4.17 (but not 4.17.1 and 4.17.2), 4.18.3 to 4.18.6`.
fn releases(releases: &[Release]) -> String {
    let of_series = |last: &Release| -> Vec<bool> {
        let points = 0..=last.point();
        points.map(|point| releases.contains(&last.at(point))).collect()
    };
    let series: Vec<(Release, Vec<bool>)> = Release::ALL.iter().map(|last| (*last, of_series(last))).collect();
    let whole = |points: &[bool]| points.iter().all(|takes| *takes);
    let mut parts = Vec::new();
    for run in series.chunk_by(|(_, a), (_, b)| whole(a) && whole(b)) {
        match run {
            [(last, points)] if whole(points) => parts.push(format!("4.{}", last.minor())),
            [(last, points)] => parts.extend(some(*last, points)),
            [(first, _), .., (last, _)] => parts.push(format!("4.{} to 4.{}", first.minor(), last.minor())),
            [] => {}
        }
    }
    if parts.is_empty() { format!("none of {KnownSeries} can take it") } else { parts.join(", ") }
}

/// The text of a series if only some of its point releases take a payload.
fn some(last: Release, points: &[bool]) -> Option<String> {
    let which = |takes: bool| -> Vec<Release> {
        let points = (0..).zip(points).filter(|(_, known)| **known == takes);
        points.map(|(point, _)| last.at(point)).collect()
    };
    let (fit, unfit) = (which(true), which(false));
    match (fit.len(), unfit.len()) {
        (0, _) => None,
        (fits, others) if fits > others => Some(format!("4.{} (but not {})", last.minor(), Listed(&unfit))),
        _ => Some(Listed(&fit).to_string()),
    }
}

/// The bytes that may be shown, so that the rest of a long text is not escaped.
fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..4 * MOST_CHARS).unwrap_or(bytes)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text.into(),
    }
}
