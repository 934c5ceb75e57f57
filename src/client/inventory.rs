//! Inventories: the list, identified by the dump that Xen prints on its console.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::console;
use super::deadline::Deadline;
use super::identities::Record;
use super::listing::Listing;
use super::order;
use super::query::retry_faults;
use super::target::Doubt;
use crate::error::{Operation, Result};
use crate::hypercall::channel::CallError;
use crate::inventory::known::Dump;
use crate::inventory::{Inventory, InventoryEntry, KnownIdentities, Unidentified};
use crate::types::{LoadedPayload, PayloadName};
use crate::xen::log::dump::{self, Dumped};
use crate::xen::{Certainty, Target, rules};

/// The most dumps of one inventory.
pub(super) const ATTEMPTS: u32 = 4;

/// The pause after a disturbed dump.
const PAUSE: Duration = Duration::from_millis(20);

impl LivepatchClient {
    /// Returns the loaded payloads with their build-ids, dependencies and replaced functions. No other operation reports
    /// these.
    ///
    /// Sends debug key `x`, which makes Xen dump its payloads to **the host's console** (about 150 bytes per payload, 80 per
    /// function), and parses the dump; also for clients built
    /// [`without_xen_log`](crate::ClientBuilder::without_xen_log). It takes as long as a serial console needs for the text.
    ///
    /// The key is pressed only if something is unknown. Xen counts uploads and unloads, and this client remembers what it has
    /// read until the count changes, so that another inventory of the same payloads costs one list.
    /// [`known_identities`](Self::known_identities) passes this memory on to another process.
    ///
    /// A build-id is accepted only if no text of a payload can have forged it, whatever others print in between. A doubtful
    /// dump is repeated a few times; then the build-id is `None`, and [`InventoryEntry::unidentified`] gives the reason.
    ///
    /// Xen can't stop a processor that prints. So this waits for the client's actions before it presses the key, as uploads
    /// do. The observer of a plan may call it between two steps.
    ///
    /// # Errors
    /// Those of [`list`](Self::list) and [`xen_version`](Self::xen_version),
    /// [`OperationInProgress`](crate::ErrorKind::OperationInProgress) while an action of this client is under way, and
    /// [`InsideOperation`](crate::ErrorKind::InsideOperation) if an observer of hypercalls calls it during one.
    ///
    /// # Xen
    /// All releases (`XEN_SYSCTL_debug_keys`, for which FLASK has the permission `debug`) except 4.7.0 to 4.7.2, 4.8.0 and
    /// 4.8.1. There the key may leave the payloads locked for good (commit 75dfe7c566), so it is not pressed. Nor is it
    /// pressed on a 4.7 or 4.8 whose point release is unknown when this client first looks.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// let inventory = client.inventory()?;
    /// assert_eq!(inventory.payloads[0].depends, inventory.build_id);
    /// assert_eq!(inventory.to_string(), "Xen 4.20-fix + fix");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn inventory(&self) -> Result<Inventory> {
        take(self, None, Depth::Everything)
    }

    /// Takes an [`inventory`](Self::inventory) once no action is pending, as a plan needs it: an action of another tool, or
    /// of a process that was killed, would interfere. It waits no longer than the deadline of the client's actions.
    ///
    /// # Errors
    /// Those of [`inventory`](Self::inventory), and [`OperationInProgress`](crate::ErrorKind::OperationInProgress) if the
    /// deadline passes first.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// assert_eq!(client.settled_inventory()?, client.inventory()?);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn settled_inventory(&self) -> Result<Inventory> {
        settled(self, || self.inventory())
    }

    /// Returns the identities of loaded payloads that this client has found out, to pass on to another process with
    /// [`ClientBuilder::known_identities`](crate::ClientBuilder::known_identities). `None` before this client has read Xen's
    /// list in an operation that identifies or changes payloads.
    #[must_use]
    pub fn known_identities(&self) -> Option<KnownIdentities> {
        self.identities.certain(&self.channel)
    }
}

/// The knowledge that justifies pressing the debug key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Build-ids and dependencies.
    Identities,
    /// These, and the functions that applied payloads replace.
    IdentitiesAndEffects,
    /// The functions that applied payloads replace.
    Effects,
    /// All of both.
    Everything,
}

impl Depth {
    fn is_reached(self, row: &LoadedPayload, records: Option<&Record>) -> bool {
        match self {
            Self::Identities => records.is_some_and(Record::is_identified),
            Self::IdentitiesAndEffects => {
                Self::Identities.is_reached(row, records) && Self::Effects.is_reached(row, records)
            }
            Self::Effects => !row.status.is_applied() || records.is_some_and(Record::is_complete),
            Self::Everything => records.is_some_and(Record::is_complete),
        }
    }
}

/// Returns the running Xen. If a payload may have changed the version text, an inventory settles whether one has.
pub(super) fn target(client: &LivepatchClient, turn: Option<&ActionGuard<'_>>) -> Result<Arc<Target>> {
    client.target.of(client, Doubt::Settle(&|| take_within(client, turn, Depth::Effects, ATTEMPTS)))
}

/// Takes an inventory, and once more after pending actions if there were any.
pub(super) fn settled(client: &LivepatchClient, take: impl Fn() -> Result<Inventory>) -> Result<Inventory> {
    let inventory = take()?;
    if !inventory.payloads.iter().any(|entry| entry.status.in_progress()) {
        return Ok(inventory);
    }
    let deadline = Deadline::after(client.defaults.deadline_or_default());
    client.free_host(deadline, |_, _| ()).map_err(|error| error.during(Operation::List))?;
    take()
}

/// Takes an inventory, under the caller's action lock or under its own.
fn take(client: &LivepatchClient, turn: Option<&ActionGuard<'_>>, depth: Depth) -> Result<Inventory> {
    take_within(client, turn, depth, ATTEMPTS).map(|inventory| with_target(client, inventory))
}

/// Makes an inventory of a list that was just read; takes another one if it has an unidentified payload.
pub(super) fn of_list(client: &LivepatchClient, listing: Listing) -> Result<Inventory> {
    let records = client.identities.under(&listing);
    if !records.iter().all(|known| known.as_ref().is_some_and(Record::is_identified)) {
        return take_identified(client, None);
    }
    Ok(with_target(client, filled(host(client)?, (listing, records, None))))
}

fn with_target(client: &LivepatchClient, mut inventory: Inventory) -> Inventory {
    inventory.target = client.target.beside(client, &inventory);
    inventory.order = order(client, &inventory);
    inventory
}

/// Finds the order of applied payloads in Xen's log, on releases on which `NODEPS` makes it uncertain.
fn order(client: &LivepatchClient, inventory: &Inventory) -> Option<Vec<PayloadName>> {
    let applied: Vec<&PayloadName> = inventory.applied().map(|entry| &entry.name).collect();
    if applied.len() < 2 || !client.xen().has(&rules::ACTION_FLAGS) || !client.console.is_readable() {
        return None;
    }
    let mut log = Vec::new();
    console::read(&client.channel, 0, |bytes| log.extend_from_slice(bytes)).ok()?;
    order::of(&log, &applied)
}

/// Takes an inventory for a plan, which may lack functions. No key is pressed if all build-ids and the target are known.
pub(super) fn take_identified(client: &LivepatchClient, turn: Option<&ActionGuard<'_>>) -> Result<Inventory> {
    // Best effort: otherwise the functions show whether the version text counts.
    let certain = client.target.of(client, Doubt::Heed).is_ok() && client.target.known(client).is_some();
    take(client, turn, if certain { Depth::Identities } else { Depth::IdentitiesAndEffects })
}

/// Takes an inventory without looking for the best target, and presses the key at most `attempts` times.
pub(super) fn take_within(
    client: &LivepatchClient,
    turn: Option<&ActionGuard<'_>>,
    depth: Depth,
    attempts: u32,
) -> Result<Inventory> {
    let host = host(client)?;
    let identified = Taking { client, turn, depth, attempts }.identify(host.build_id.as_ref())?;
    Ok(filled(host, identified))
}

/// Returns an inventory without payloads.
fn host(client: &LivepatchClient) -> Result<Inventory> {
    let xen = client.xen_version()?;
    let (build_id, no_build_id) = match retry_faults(|| client.channel.build_id()) {
        Ok(id) => (Some(id), None),
        Err(error) => (None, Some(error.errno())),
    };
    let target = client.basic_target(build_id.clone());
    Ok(Inventory { xen, build_id, no_build_id, payloads: Vec::new(), version: 0, order: None, target })
}

fn filled(host: Inventory, (listing, records, reason): Identified) -> Inventory {
    let rows = listing.rows.into_iter().zip(records);
    let payloads = rows.map(|(row, known)| entry(row, known, reason)).collect();
    Inventory { payloads, version: listing.version, ..host }
}

fn entry(row: LoadedPayload, known: Option<Record>, reason: Option<Unidentified>) -> InventoryEntry {
    let LoadedPayload { name, status, metadata } = row;
    let Record { identity, footprint, dump, .. } = known.unwrap_or_default();
    let (functions, reason) = match dump {
        Dump::Read(functions) => (functions, reason),
        Dump::No => (None, reason),
        Dump::Never(reason) => (None, Some(reason)),
    };
    let unidentified = if identity.build_id.is_some() { None } else { reason.or(Some(Unidentified::Disturbed)) };
    let (build_id, depends) = (identity.build_id, identity.depends);
    InventoryEntry { name, status, metadata, build_id, depends, functions, unidentified, footprint }
}

/// A list, the knowledge of each of its rows, and the reason why it is incomplete.
type Identified = (Listing, Vec<Option<Record>>, Option<Unidentified>);

/// An inventory that is being taken.
struct Taking<'a> {
    client: &'a LivepatchClient,
    turn: Option<&'a ActionGuard<'a>>,
    depth: Depth,
    attempts: u32,
}

impl Taking<'_> {
    fn identify(&self, xen: Option<&crate::BuildId>) -> Result<Identified> {
        let client = self.client;
        let before = client.listing()?;
        let records = client.identities.under(&before);
        if self.is_enough(&before, &records) {
            return Ok((before, records, None));
        }
        // Xen can't stop a processor that prints.
        let _turn = client.lock_to_look(self.turn)?;
        let mut before = client.listing()?;
        let mut seen = self.look(&before);
        if self.is_enough(&before, &seen) {
            return Ok((before, seen, None));
        }
        if !self.may_press()? {
            return Ok((before, seen, Some(Unidentified::KeyNotPressed)));
        }
        let mut reason = Unidentified::Disturbed;
        for attempt in 0..self.attempts {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let pressed = press(client);
            let after = client.listing()?;
            let same = before.version == after.version;
            before = after;
            seen = self.look(&before);
            let dumped = match pressed {
                Ok(Some(text)) if same => dump::read(&text, &before.rows, xen),
                Ok(None) if same => vec![Err(Unidentified::RingTooSmall); before.rows.len()],
                Ok(_) | Err(None) => continue,
                Err(denied) => return Ok((before, seen, denied)),
            };
            reason = self.note(&before, dumped, attempt > 0);
            seen = client.identities.under(&before);
            if self.is_enough(&before, &seen) {
                break;
            }
        }
        Ok((before, seen, Some(reason)))
    }

    /// Takes in a dump. A failure that would be final counts only at the second attempt.
    fn note(
        &self,
        listing: &Listing,
        mut dumped: Vec<core::result::Result<Dumped, Unidentified>>,
        again: bool,
    ) -> Unidentified {
        let failed = dumped.iter().find_map(|dumped| dumped.as_ref().err().copied());
        if !again {
            for dumped in dumped.iter_mut().filter(|dumped| dumped.is_err()) {
                *dumped = Err(Unidentified::Disturbed);
            }
        }
        self.client.identities.identify(listing, dumped);
        failed.unwrap_or(Unidentified::Disturbed)
    }

    /// Returns the knowledge of a list that was read under the action lock.
    fn look(&self, listing: &Listing) -> Vec<Option<Record>> {
        self.client.identities.keep(&self.client.channel, &listing.rows, listing.version);
        self.client.identities.under(listing)
    }

    fn is_enough(&self, listing: &Listing, records: &[Option<Record>]) -> bool {
        listing.rows.iter().zip(records).all(|(row, known)| self.depth.is_reached(row, known.as_ref()))
    }

    /// Returns false on releases on which the key may leave the payloads locked.
    fn may_press(&self) -> Result<bool> {
        let client = self.client;
        // The point release matters in old series only, and there only to payloads with more than 64 functions: the version
        // text will do.
        let rule = rules::DUMP_GIVES_LOCK_BACK;
        let answer = match rule.holds(&Target::new(client.xen().release)) {
            Certainty::Perhaps => rule.holds(&*client.target.of(client, Doubt::Ignore)?),
            answer => answer,
        };
        Ok(answer.surely())
    }
}

/// Presses the key, and returns the text that Xen and others write to its log meanwhile; `None` if its beginning has left Xen's
/// ring, so that the rest may be text of a payload. The error is a reason that will not pass, if it is one.
fn press(client: &LivepatchClient) -> core::result::Result<Option<Vec<u8>>, Option<Unidentified>> {
    let denied = |reason| {
        move |error| matches!(error, CallError::Refused(errno) if console::is_forbidden(errno)).then_some(reason)
    };
    let read = |start, each: &mut dyn FnMut(&[u8])| {
        console::read(&client.channel, start, each).map_err(denied(Unidentified::ConsoleDenied))
    };
    let start = read(client.console.end(), &mut |_| {})?;
    client.channel.press_key(b'x').map_err(denied(Unidentified::KeyDenied))?;
    let mut text = Vec::new();
    let end = read(start, &mut |bytes| text.extend_from_slice(bytes))?;
    let whole = usize::try_from(end.wrapping_sub(start)) == Ok(text.len());
    Ok(whole.then_some(text))
}
