//! What is really loaded: the list, and what Xen prints about it on its console.

use std::thread;
use std::time::Duration;

use super::LivepatchClient;
use super::console;
use super::listing::{self, Listing};
use super::order;
use super::target::Doubt;
use super::turn::Taken;
use crate::error::{Operation, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::operation::DebugKey;
use crate::inventory::Inventory;
use crate::inventory::dump::{self, Dumped};
use crate::name::PayloadName;
use crate::rules::{self, Answer};
use crate::target::Target;

/// How often Xen is asked to print what it has, before that stays unknown.
const ATTEMPTS: u32 = 4;

/// What may have come in between is over by then.
const PAUSE: Duration = Duration::from_millis(20);

impl LivepatchClient {
    /// Everything that is loaded, with its build-id, what it goes on and what it replaces, which no other operation can tell.
    ///
    /// Presses debug key `x`, so that Xen prints all that on **the host's console**, some 150 bytes a payload and 80 a
    /// function, and reads it there, also if the client is to leave Xen's log alone otherwise. It takes as long as a
    /// serial console needs for the text.
    ///
    /// What Xen printed is believed only if every line of it agrees with the list, read before and after. Otherwise it is
    /// tried again a few times, and then all that is not in the list is `None`: where debug keys or the console are not
    /// permitted, where the text did not fit into Xen's ring of 16 KiB (`conring_size=`), where somebody else wrote in
    /// between, and where names or metadata have line breaks or other control characters in them.
    ///
    /// A processor that prints can't be stopped, so this waits for this client's actions as uploads do. Where nothing is
    /// loaded, no key is pressed.
    ///
    /// # Errors
    /// Those of [`list`](Self::list) and [`xen_version`](Self::xen_version), and
    /// [`OperationInProgress`](crate::ErrorKind::OperationInProgress) while an action of this client goes on.
    ///
    /// # Xen
    /// All releases (`XEN_SYSCTL_debug_keys`, for which FLASK has the permission `debug`), but for 4.7.0 to 4.7.2, 4.8.0 and
    /// 4.8.1: there the key may leave the payloads locked for good (commit 75dfe7c566), so it is not pressed, nor on a 4.7 or
    /// 4.8 whose version does not tell which of these it is (when this client first looks).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = examples::fix()?;
    /// client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// let inventory = client.inventory()?;
    /// assert_eq!(inventory.payloads[0].depends, inventory.build_id);
    /// assert_eq!(inventory.to_string(), "Xen 4.20-fix + fix");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn inventory(&self) -> Result<Inventory> {
        // Of newer releases it does not matter which point release this is. Of these it does to payloads with more than
        // 64 functions alone, so that the text is taken as it is.
        let target = Target::new(self.xen().release);
        let known = rules::DUMP_GIVES_LOCK_BACK.holds(&target) != Answer::Perhaps;
        take(self, None, &if known { target } else { self.target.of(self, None, Doubt::Ignore)? })
    }
}

/// Takes an inventory, in a turn of its own or in the caller's.
pub(super) fn take(client: &LivepatchClient, turn: Option<&Taken<'_>>, target: &Target) -> Result<Inventory> {
    let mut inventory = take_within(client, turn, target, ATTEMPTS)?;
    inventory.order = order(client, &inventory);
    Ok(inventory)
}

/// The order of what is applied, from Xen's log, where `NODEPS` makes it uncertain.
fn order(client: &LivepatchClient, inventory: &Inventory) -> Option<Vec<PayloadName>> {
    let applied: Vec<&PayloadName> = inventory.applied().map(|entry| &entry.name).collect();
    if applied.len() < 2 || !client.xen().has(&rules::ACTION_FLAGS) || !client.console.is_readable() {
        return None;
    }
    let mut log = Vec::new();
    console::read(&client.channel, 0, |bytes| log.extend_from_slice(bytes)).ok()?;
    order::of(&log, &applied)
}

/// The same, and presses the key so many times at the most.
pub(super) fn take_within(
    client: &LivepatchClient,
    turn: Option<&Taken<'_>>,
    target: &Target,
    attempts: u32,
) -> Result<Inventory> {
    let channel = &client.channel;
    let xen = client.xen_version()?;
    let build_id = channel.build_id().ok();
    let list = || listing::list(channel).map_err(|error| error.during(Operation::List));
    let mut before = list()?;
    let gives_back = rules::DUMP_GIVES_LOCK_BACK.holds(target).surely();
    let attempts = if !before.rows.is_empty() && gives_back { attempts } else { 0 };
    // A processor that prints can't be stopped.
    let _turn = if attempts > 0 { client.turn_to_upload(turn)? } else { None };
    for attempt in 0..attempts {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        let text = match press(client, b'x') {
            Ok(text) => text.unwrap_or_default(),
            Err(CallError::Refused(errno)) if console::is_forbidden(errno) => break,
            Err(_) => continue,
        };
        let after = list()?;
        let dumped = dump::read(&text, &after.rows, build_id.as_ref());
        match dumped.filter(|_| before == after) {
            Some(dumped) => {
                return Ok(Inventory::new(xen, build_id, after.version, target.clone(), known(after, dumped)));
            }
            None => before = after,
        }
    }
    let Listing { rows, version } = before;
    Ok(Inventory::new(xen, build_id, version, target.clone(), rows.into_iter().map(|row| (row, None))))
}

/// The text that Xen writes to its log when a key is pressed, and what others write meanwhile; `None` unless that is all of it.
fn press(client: &LivepatchClient, key: u8) -> core::result::Result<Option<Vec<u8>>, CallError> {
    let start = console::read(&client.channel, client.console.end(), |_| {})?;
    client.channel.call(DebugKey(key))?;
    let mut text = Vec::new();
    let end = console::read(&client.channel, start, |bytes| text.extend_from_slice(bytes))?;
    // Where the beginning has left Xen's ring, the rest may be what a payload makes of it.
    let whole = usize::try_from(end.wrapping_sub(start)) == Ok(text.len());
    Ok(whole.then_some(text))
}

fn known(
    listing: Listing,
    dumped: Vec<Dumped>,
) -> impl Iterator<Item = (crate::status::LoadedPayload, Option<Dumped>)> {
    listing.rows.into_iter().zip(dumped.into_iter().map(Some))
}
