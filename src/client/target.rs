//! The running Xen, with bounds on its point release that no payload can have falsified.
//!
//! The text that Xen reports after its version is the best evidence, unless a payload has changed it. It counts if it was read
//! while nothing was applied, if Xen's log still begins with it, or if no applied payload replaces a function that it comes
//! from. Otherwise the dates of the build remain. They bound the point release from above, and count unless an applied payload
//! replaces the functions that report them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::console;
use super::listing::Listing;
use super::{LivepatchClient, lock};
use crate::error::Result;
use crate::hypercall::channel::CallError;
use crate::inventory::Inventory;
use crate::types::{BuildId, Errno};
use crate::xen::log::without_prefix;
use crate::xen::target::Points;
use crate::xen::{Release, Target};

/// The functions of Xen through which each `XENVER_*` is reported.
const REPORTING: [&[u8]; 3] = [b"do_xen_version", b"xenver_varbuf_op", b"compat_xen_version"];

/// The functions that the version text comes from.
const OF_VERSION: [&[u8]; 3] = [b"xen_extra_version", b"xen_minor_version", b"xen_major_version"];

/// The function that the last commit comes from.
const OF_CHANGESET: [&[u8]; 1] = [b"xen_changeset"];

/// The functions that are called for the time at which Xen was compiled.
const OF_BUILD: [&[u8]; 5] =
    [b"xen_compiler", b"xen_compile_by", b"xen_compile_domain", b"xen_compile_date", b"xen_compile_time"];

/// The first line of Xen's log.
const BANNER: &[u8] = b"Xen version ";

/// The running Xen, found out when it is first needed.
#[derive(Debug, Default)]
pub(super) struct KnownTarget {
    /// The caller's knowledge of it.
    given: Option<Target>,
    /// True once a text was looked for before an apply.
    noted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The target with bounds and a build-id that nothing changes any more.
    certain: Option<Arc<Target>>,
    /// The bounds of a text that was read while nothing was applied.
    unpatched: Option<Points>,
    /// The bounds while these payloads are loaded.
    meanwhile: Option<(Listing, Points)>,
}

/// The treatment of a version text that a payload may have changed.
#[derive(Clone, Copy)]
pub(super) enum Doubt<'i> {
    /// Takes an inventory of the functions that applied payloads replace, if it is needed.
    Settle(&'i dyn Fn() -> Result<Inventory>),
    /// Uses this inventory.
    Beside(&'i Inventory),
    /// Takes the text as it is.
    Ignore,
    /// Assumes that it was changed.
    Heed,
}

/// Bounds, by their certainty.
enum Bounds {
    /// No later change of the host affects them.
    Certain(Points),
    /// They depend on the payloads that are applied.
    Meanwhile(Listing, Points),
}

impl LivepatchClient {
    /// Returns the running Xen without bounds on its point release.
    pub(super) fn basic_target(&self, build_id: Option<BuildId>) -> Target {
        let target = Target::new(self.xen().release).architecture(self.channel.architecture);
        build_id.into_iter().fold(target, Target::build_id)
    }
}

impl KnownTarget {
    pub(super) fn new(given: Option<Target>) -> Self {
        Self { given, ..Self::default() }
    }

    /// The running Xen.
    pub(super) fn of(&self, client: &LivepatchClient, doubt: Doubt<'_>) -> Result<Arc<Target>> {
        if let Some(target) = &self.lock().certain {
            return Ok(Arc::clone(target));
        }
        let (id, settled) = match client.channel.build_id() {
            Ok(id) => (Some(id), true),
            Err(CallError::Refused(Errno::ENODATA)) => (None, true),
            // A caller to whom it is denied now may be allowed to read it later; meanwhile Xen compares it, from 4.14 on.
            Err(_) => (None, false),
        };
        let target = client.basic_target(id);
        let given =
            self.given.as_ref().filter(|given| is_of(given, &target)).map_or_else(Points::default, Target::bounds);
        if given.is_exact() {
            return Ok(self.keep(target.with_points(given), settled));
        }
        match self.evidence(client, doubt, &target, given)? {
            Bounds::Certain(points) => Ok(self.keep(target.with_points(points), settled)),
            Bounds::Meanwhile(listing, points) => {
                let is_best = match doubt {
                    Doubt::Settle(_) => true,
                    Doubt::Beside(inventory) => inventory.applied().all(|entry| entry.functions.is_some()),
                    Doubt::Ignore | Doubt::Heed => false,
                };
                if is_best {
                    self.lock().meanwhile = Some((listing, points));
                }
                Ok(Arc::new(target.with_points(points)))
            }
        }
    }

    /// Keeps a target whose bounds are certain, if the rest of it is settled too.
    fn keep(&self, target: Target, settled: bool) -> Arc<Target> {
        let target = Arc::new(target);
        if settled {
            self.lock().certain = Some(Arc::clone(&target));
        }
        target
    }

    /// Reads the text while nothing is applied, unless that was tried before. An apply calls this first, since its payload may
    /// change the text.
    pub(super) fn note(&self, client: &LivepatchClient) {
        if self.noted.swap(true, Ordering::Relaxed) || self.lock().certain.is_some() {
            return;
        }
        // Best effort: other evidence is looked for when it is needed.
        let target = Target::new(client.xen().release);
        if let Ok(Bounds::Certain(points)) = read_text(client, &target) {
            self.lock().unpatched = Some(points);
        }
    }

    /// Returns the target if it is certain, or follows from a text that was read before a payload was applied.
    pub(super) fn known(&self, client: &LivepatchClient) -> Option<Target> {
        let state = self.lock();
        let (certain, unpatched) = (state.certain.clone(), state.unpatched.is_some());
        drop(state);
        certain.or_else(|| unpatched.then(|| self.of(client, Doubt::Heed).ok())?).map(Arc::unwrap_or_clone)
    }

    /// Returns the running Xen as far as an inventory and other evidence show it.
    pub(super) fn beside(&self, client: &LivepatchClient, inventory: &Inventory) -> Target {
        let found = self.of(client, Doubt::Beside(inventory));
        found.map_or_else(|_| client.basic_target(inventory.build_id.clone()), Arc::unwrap_or_clone)
    }

    fn evidence(&self, client: &LivepatchClient, doubt: Doubt<'_>, target: &Target, given: Points) -> Result<Bounds> {
        let unpatched = self.lock().unpatched;
        if let Some(points) = unpatched {
            return Ok(Bounds::Certain(points.and(given)));
        }
        let (listing, claimed) = match read_text(client, target)? {
            Bounds::Certain(points) => return Ok(Bounds::Certain(points.and(given))),
            Bounds::Meanwhile(listing, claimed) => (listing, claimed),
        };
        if let Some((_, points)) = self.lock().meanwhile.as_ref().filter(|(before, _)| *before == listing) {
            return Ok(Bounds::Meanwhile(listing, *points));
        }
        if let Some(points) = banner(client, target.release()) {
            return Ok(Bounds::Certain(points.and(given)));
        }
        let points = match doubt {
            Doubt::Ignore => claimed,
            Doubt::Heed => Points::default(),
            Doubt::Beside(inventory) => settled(client, target, claimed, inventory, &listing),
            Doubt::Settle(take) => {
                let inventory = take()?;
                settled(client, target, claimed, &inventory, &listing)
            }
        };
        Ok(Bounds::Meanwhile(listing, points.and(given)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Returns true if a target that the caller gave is the running Xen, by its build-id.
fn is_of(given: &Target, target: &Target) -> bool {
    let ids = (given.known_build_id(), target.known_build_id());
    given.release() == target.release() && matches!(ids, (Some(one), Some(other)) if one == other)
}

/// Reads the version text, which is certain while nothing is applied. Then it also reads the time of the build, if the text
/// leaves the point release open.
fn read_text(client: &LivepatchClient, target: &Target) -> Result<Bounds> {
    let is_unpatched = |listing: &Listing| !listing.rows.iter().any(|row| row.status.state != crate::State::Checked);
    let before = client.listing()?;
    let version = client.xen_version()?;
    let points = Points::of_text(&version.extra);
    if !is_unpatched(&before) {
        return Ok(Bounds::Meanwhile(before, points));
    }
    let dated = date_bound(client, target, points);
    // A payload may have been applied in between.
    let after = client.listing()?;
    Ok(if is_unpatched(&after) { Bounds::Certain(dated) } else { Bounds::Meanwhile(after, points) })
}

/// Returns the bounds from the first line of Xen's log, if it is still there: no domain can have written it.
fn banner(client: &LivepatchClient, release: (u16, u16)) -> Option<Points> {
    let mut text = Vec::new();
    let end = console::read(&client.channel, 0, |bytes| text.extend_from_slice(bytes)).ok()?;
    // Otherwise the beginning has left Xen's ring.
    let whole = usize::try_from(end) == Ok(text.len());
    let first = text.split(|byte| *byte == b'\n').next().filter(|_| whole)?;
    let version = without_prefix(first).strip_prefix(BANNER)?;
    let version = core::str::from_utf8(version.split(|byte| *byte == b' ').next()?).ok()?;
    let extra = version.strip_prefix(&format!("{}.{}", release.0, release.1))?;
    // Not 4.17 of 4.170.
    (!extra.starts_with(|c: char| c.is_ascii_digit())).then(|| Points::of_text(extra))
}

/// Returns the bounds while the payloads of this inventory and list are applied.
fn settled(
    client: &LivepatchClient,
    target: &Target,
    claimed: Points,
    inventory: &Inventory,
    listing: &Listing,
) -> Points {
    let leave_alone = |names: &[&[u8]]| leaves_alone(inventory, listing, names);
    if !leave_alone(&REPORTING) {
        return Points::default();
    }
    let points = match (leave_alone(&OF_VERSION), leave_alone(&OF_CHANGESET)) {
        (true, _) => claimed,
        (false, true) => confirmed(client, target, claimed),
        (false, false) => Points::default(),
    };
    if leave_alone(&OF_BUILD) { date_bound(client, target, points) } else { points }
}

/// Returns true if the functions of all applied payloads are known, and none of these is among them.
fn leaves_alone(inventory: &Inventory, listing: &Listing, names: &[&[u8]]) -> bool {
    let now = inventory.payloads.iter().map(|entry| (&entry.name, entry.status.state));
    let then = listing.rows.iter().map(|row| (&row.name, row.status.state));
    now.eq(then)
        && inventory.applied().all(|entry| {
            let replaced = entry.functions.as_ref();
            replaced.is_some_and(|all| !all.iter().any(|function| names.contains(&function.name.as_bytes())))
        })
}

/// Returns the lower bound of a text that may be a payload's, as far as the date of the last commit confirms it.
///
/// The date alone gives none: a vendor may have commits of its own on top of an old release.
fn confirmed(client: &LivepatchClient, target: &Target, claimed: Points) -> Points {
    let changeset = client.channel.changeset().ok();
    let day = changeset.as_deref().filter(|text| text.contains("git:")).and_then(day);
    let after = |day: u32| points_until(target, |made| made <= day).unwrap_or(0);
    Points::at_least(day.map_or(0, after).min(claimed.least))
}

/// Adds the upper bound from the time of the build: the first point release after it, since its changes may have been there
/// already.
fn date_bound(client: &LivepatchClient, target: &Target, points: Points) -> Points {
    if points.is_exact() {
        return points;
    }
    let compiled = client.channel.compile_date().ok().as_deref().and_then(day);
    let newest = compiled.and_then(|day| points_until(target, |made| made <= day));
    // A date before the first point release is not that of a build of this series.
    newest.map_or(points, |newest| points.and(Points { least: 0, most: newest.checked_add(1) }))
}

/// Returns the last point release of the series up to that day.
fn points_until(target: &Target, by_then: impl Fn(u32) -> bool) -> Option<u16> {
    let last = Release::from_version(target.release().0, target.release().1)?;
    let made = (0..=last.point()).rev().find(|point| last.at(*point).day().is_some_and(&by_then))?;
    // The newest one that this crate has may have successors.
    (made < last.point()).then_some(made)
}

/// Returns the day in a text with a date such as `Mon Dec 18 13:01:04 UTC 2023`: year, month and day in digits.
fn day(text: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| MONTHS.contains(word))?;
    let month = MONTHS.iter().position(|name| words.get(at) == Some(name))?;
    let number = |word: &&str| word.parse::<u32>().ok();
    let day = words.get(at.checked_add(1)?).and_then(number).filter(|day| (1..=31).contains(day))?;
    let mut years = words.iter().skip(at).filter_map(number).filter(|year| (2000..3000).contains(year));
    let month = u32::try_from(month).ok()?.checked_add(1)?;
    years.next()?.checked_mul(10_000)?.checked_add(month.checked_mul(100)?)?.checked_add(day)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "days are written as dates: 20231218")]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_from_dates() {
        for (text, expected) in [
            ("Wed Nov  4 16:52:28 UTC 2026", Some(20261104)),
            ("Fri Mar 28 10:12:45 2025 +0100 git:8a7d1e0-dirty", Some(20250328)),
            ("Thu Jan  1 00:00:01 UTC 1970", None),
            ("Sun Dec 32 00:00:01 UTC 2023", None),
            ("", None),
            ("<denied>", None),
            ("708e83f0e7d1, pq 9787e7f1c8ed", None),
            ("Dec", None),
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }

    #[test]
    fn dates_give_point_releases() {
        let until = |day| points_until(&Target::new((4, 17)), |made| made <= day);
        assert_eq!((until(20221207), until(20221208), until(20231218)), (None, Some(0), Some(3)));
        assert_eq!(until(20261231), None, "there may be later ones");
        assert_eq!(points_until(&Target::new((4, u16::MAX)), |_| true), None);
    }
}
