//! A record of hooks that still run after Xen has reported their action as finished.
//!
//! From 4.14 on Xen calls a post-apply or post-revert hook after it has published the result. Until the hook returns, its
//! processor runs code of the payload, and needs Xen's record of it. Two things show the end of the hook: Xen's log, at the
//! level of information, and the next action that succeeds, since every processor has to leave such code first.

use std::collections::BTreeMap;

use crate::payload::{HookKind, Inspection};
use crate::types::{Action, PayloadName, to_usize};
use crate::xen::log::messages::ActionLine;

/// The most payloads in the record. No host has so many.
const MOST: usize = 4096;

/// The progress of an action on a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It may have begun.
    Begun,
    /// Its hook was called.
    InHook,
    /// The same, but another action on the payload has timed out since, and its last line looks alike.
    InHookAndLate,
    /// It has ended.
    Ended,
}

/// The progress of actions in Xen's log.
#[derive(Debug, Default)]
pub(super) struct HookLog {
    /// The index in Xen's log of the next byte; `None` before the first.
    at: Option<u32>,
    /// The beginning of a line whose end has not been read.
    partial: Vec<u8>,
    /// True if no hook was running at some point, and `open` has every action that began since.
    complete: bool,
    open: BTreeMap<Vec<u8>, Progress>,
}

/// The state of a hook as Xen's log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    No,
    Perhaps,
    Yes,
}

impl HookLog {
    /// Takes in a part of the log that ends at this index. Bytes that were taken in before are skipped.
    pub(super) fn feed(&mut self, bytes: &[u8], end: u32) {
        let len = u32::try_from(bytes.len()).expect("a part of the log comes in a buffer of a few MiB at most");
        let new = self.at.map_or(len, |at| end.wrapping_sub(at));
        if new > u32::MAX / 2 {
            // Another thread has read further.
            return;
        }
        if new > len {
            // Something was lost in between.
            *self = Self::default();
        }
        self.at = Some(end);
        if new == 0 {
            return;
        }
        // Of a part with a gap before it, all is new.
        let skipped = to_usize(len.saturating_sub(new));
        self.partial.extend_from_slice(bytes.get(skipped..).expect("no more is skipped than there is"));
        let text = std::mem::take(&mut self.partial);
        let mut lines = text.split(|byte| *byte == b'\n');
        let last = lines.next_back().expect("split returns one part at least");
        lines.filter_map(ActionLine::parse).for_each(|line| self.take(&line));
        // Longer text without a line break is no line that matters.
        self.partial = last.iter().take(1024).copied().collect();
        if self.open.len() > MOST {
            *self = Self { at: self.at, ..Self::default() };
        }
    }

    /// The index in Xen's log up to which it was taken in.
    pub(super) fn end(&self) -> u32 {
        self.at.unwrap_or(0)
    }

    /// Notes that an action on the payload is about to be sent, which has not ended before its end is in the log.
    pub(super) fn begin(&mut self, name: &PayloadName) {
        // Otherwise nothing is known of any hook. In a log without lines about actions it stays so.
        if self.complete || !self.open.is_empty() {
            self.open.insert(name.as_bytes().to_vec(), Progress::Begun);
        }
    }

    pub(super) fn of(&self, name: &PayloadName) -> Running {
        match self.open.get(name.as_bytes()) {
            Some(Progress::InHook | Progress::InHookAndLate) => Running::Yes,
            Some(Progress::Ended) => Running::No,
            None if self.complete => Running::No,
            Some(Progress::Begun) | None => Running::Perhaps,
        }
    }

    /// Returns true if a hook of any payload is seen to run.
    pub(super) fn of_any(&self) -> bool {
        self.open.values().any(|progress| matches!(progress, Progress::InHook | Progress::InHookAndLate))
    }

    fn take(&mut self, line: &ActionLine<'_>) {
        match *line {
            ActionLine::Begun(name) => {
                self.open.insert(name.to_vec(), Progress::Begun);
            }
            ActionLine::InHook(name) => {
                self.open.insert(name.to_vec(), Progress::InHook);
            }
            ActionLine::Late(name) => {
                if let Some(progress) = self.open.get_mut(name).filter(|progress| **progress == Progress::InHook) {
                    *progress = Progress::InHookAndLate;
                }
            }
            // Every processor was in the rendezvous of this action, and the one that led it has left the hook.
            ActionLine::Finished { rc: 0, .. } => {
                self.open.clear();
                self.complete = true;
            }
            ActionLine::Finished { name, action, .. } => {
                let late = self.open.get(name) == Some(&Progress::InHookAndLate);
                if !late {
                    self.open.insert(name.to_vec(), Progress::Ended);
                }
                if action == "REPLACE" {
                    // The payloads that it reverted have no such hooks.
                    self.open.values_mut().filter(|of| **of == Progress::Begun).for_each(|of| *of = Progress::Ended);
                }
            }
        }
    }
}

/// Hooks that Xen calls after an action, in a payload that this client uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PostHooks {
    apply: bool,
    revert: bool,
}

impl PostHooks {
    pub(super) const NONE: Self = Self { apply: false, revert: false };

    /// Those of a payload file, by the names of its sections; `None` if it lacks some of these names.
    pub(super) fn of_file(inspection: &Inspection<'_>) -> Option<Self> {
        let has = |kind| inspection.has_hooks(kind);
        inspection.has_names().then(|| Self { apply: has(HookKind::PostApply), revert: has(HookKind::PostRevert) })
    }

    /// Returns true if one of them is called after this action.
    pub(super) fn after(self, action: Action) -> bool {
        match action {
            Action::Apply => self.apply,
            Action::Revert => self.revert,
            // Xen refuses REPLACE for payloads with such hooks, and calls none for UNLOAD.
            Action::Replace | Action::Unload => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> HookLog {
        let mut log = HookLog::default();
        add(&mut log, lines);
        log
    }

    fn add(log: &mut HookLog, lines: &[&str]) {
        for line in lines {
            let text = format!("(XEN) livepatch: {line}\n");
            let end = log.at.unwrap_or_default().wrapping_add(u32::try_from(text.len()).unwrap());
            log.feed(text.as_bytes(), end);
        }
    }

    fn of(log: &HookLog, name: &str) -> Running {
        log.of(&PayloadName::new(name).unwrap())
    }

    #[test]
    fn a_hook_runs_from_its_own_line_to_that_of_its_action() {
        let mut seen = log(&[]);
        assert_eq!(of(&seen, "a"), Running::Perhaps, "Xen may print nothing about it");
        add(&mut seen, &["a: Calling pre-revert hook function", "a: Reverting"]);
        assert_eq!((of(&seen, "a"), seen.of_any()), (Running::Perhaps, false));
        add(&mut seen, &["a: Calling post-revert hook function with rc=0"]);
        assert_eq!((of(&seen, "a"), of(&seen, "b"), seen.of_any()), (Running::Yes, Running::Perhaps, true));
        add(&mut seen, &["a finished REVERT with rc=0"]);
        assert_eq!((of(&seen, "a"), of(&seen, "b"), seen.of_any()), (Running::No, Running::No, false));
        seen.begin(&PayloadName::new("a").unwrap());
        assert_eq!((of(&seen, "a"), of(&seen, "b")), (Running::Perhaps, Running::No), "Xen may have become silent");
    }

    #[test]
    fn the_end_of_another_attempt_is_not_that_of_the_hook() {
        let mut seen = log(&["a finished APPLY with rc=0", "a: Calling post-revert hook function with rc=0"]);
        add(&mut seen, &["a: Timed out on semaphore in CPU quiesce phase 0/1", "a finished APPLY with rc=-16"]);
        assert_eq!(of(&seen, "a"), Running::Yes);
        // One that succeeds was joined by all processors.
        add(&mut seen, &["b: Applying 1 functions", "b finished APPLY with rc=0"]);
        assert_eq!(of(&seen, "a"), Running::No);
    }

    #[test]
    fn an_action_that_fails_ends_too() {
        let mut seen = log(&["a: Safety checks failed: -16", "a: Calling post-apply hook function with rc=-16"]);
        assert_eq!(of(&seen, "a"), Running::Yes);
        add(&mut seen, &["a finished APPLY with rc=-16"]);
        assert_eq!((of(&seen, "a"), of(&seen, "b")), (Running::No, Running::Perhaps), "b may have begun before");
        add(&mut seen, &["b: Reverting", "a: Applying 1 functions"]);
        add(&mut seen, &["a finished REPLACE with rc=-22"]);
        assert_eq!((of(&seen, "a"), of(&seen, "b")), (Running::No, Running::No), "b had no line of its own");
    }

    #[test]
    fn the_log_is_read_in_pieces_and_what_is_missing_is_missed() {
        let text = b"x\n(XEN) livepatch: a: b finished APPLY with rc=0\r\n(XEN) livepatch: a: Reverting\n";
        let end = u32::try_from(text.len()).unwrap().wrapping_sub(20);
        for cut in 0..text.len() {
            let mut seen = HookLog { at: Some(0_u32.wrapping_sub(20)), ..HookLog::default() };
            let at = u32::try_from(cut).unwrap().wrapping_sub(20);
            seen.feed(&text[..cut], at);
            // An older piece, and one that overlaps.
            seen.feed(&text[..cut / 2], at.wrapping_sub(u32::try_from(cut - cut / 2).unwrap()));
            seen.feed(&text[cut / 2..], end);
            assert_eq!((of(&seen, "a: b"), of(&seen, "a")), (Running::No, Running::Perhaps), "{cut}");
        }
        let mut seen = log(&["a finished APPLY with rc=0"]);
        assert_eq!(of(&seen, "a"), Running::No);
        seen.feed(b"something", 4000);
        assert_eq!(of(&seen, "a"), Running::Perhaps);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn hooks_are_found_by_the_names_of_their_sections() {
        use crate::payload;
        use crate::sim::{HookCode, PayloadBuilder};
        use crate::types::BuildId;
        use crate::xen::Release;
        use crate::xen::elf::Elf;
        let of_file = |bytes: &[u8]| {
            let outline = payload::outline(bytes, None).unwrap();
            PostHooks::of_file(&Inspection::of(Elf::new(bytes, &outline), None, Release::V4_20))
        };
        let hooks = |kinds: &[HookKind]| {
            let xen = BuildId::new([7; 20]);
            let builder = PayloadBuilder::named("hooked", &xen);
            let builder = kinds.iter().fold(builder, |builder, kind| builder.hook(*kind, HookCode::returns(0)));
            // Their names alone are no sections.
            let bytes = builder.metadata("hooks.postapply", Some(".livepatch.hooks.postrevert")).build();
            of_file(&bytes).unwrap()
        };
        assert_eq!(hooks(&[HookKind::PreApply, HookKind::Apply]), PostHooks::NONE);
        assert!(hooks(&[HookKind::PostApply]).after(Action::Apply));
        assert!(hooks(&[HookKind::PostRevert]).after(Action::Revert));
        assert!(!hooks(&[HookKind::PostRevert]).after(Action::Apply));
        assert!(!hooks(&[HookKind::PostRevert]).after(Action::Replace));

        // Xen adds the offset and the size of the names, and takes an end that wraps around for one in the file.
        let mut bytes = PayloadBuilder::named("hooked", &BuildId::new([7; 20])).build();
        let table = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
        let names = table + 64 * usize::from(u16::from_le_bytes(bytes[62..64].try_into().unwrap()));
        bytes[names + 32..names + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(of_file(&bytes), None);
    }
}
