//! The payloads of a host at one moment: before a plan, or after one of its steps.

use std::sync::Arc;

use super::learned::Learned;
use super::step::{PlannedPayload, Step};
use crate::inventory::{Inventory, Unidentified};
use crate::payload::{Footprint, Payload};
use crate::types::{BuildId, LoadedPayload, PayloadName, State};
use crate::xen::{Certainty, Release, rules};

/// The payload files that a plan may use: of what is wanted, and of what may be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files(Vec<PlannedPayload>);

impl Files {
    pub(super) fn of<'p>(payloads: impl Iterator<Item = &'p Arc<Payload>>, release: Release) -> Self {
        // A file that is larger than Xen accepts is loaded nowhere.
        let usable = payloads.filter(|payload| payload.excess().is_none());
        Self(usable.map(|payload| PlannedPayload::new(payload, release)).collect())
    }

    /// The file of a loaded payload. Payloads may share a build-id, but not their dependency as well.
    pub(super) fn find(&self, build_id: &BuildId, depends: Option<&BuildId>) -> Option<&PlannedPayload> {
        let same = |file: &&PlannedPayload| {
            file.build_id() == Some(build_id) && (depends.is_none() || file.depends() == depends)
        };
        self.0.iter().find(same)
    }
}

/// A loaded payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: PayloadName,
    pub(crate) state: State,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) depends: Option<BuildId>,
    pub(crate) footprint: Option<Arc<Footprint>>,
    /// The reason why it has no build-id here.
    pub(crate) unidentified: Option<Unidentified>,
}

/// The loaded payloads, and the order of those that are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// In the order of upload.
    pub(crate) entries: Vec<Entry>,
    /// The applied ones from the bottom up, as far as is known; corrected when a revert shows another one on top.
    pub(crate) order: Vec<PayloadName>,
    /// True if Xen has shown this order, or it can be no other.
    pub(crate) order_is_known: bool,
    /// Xen's count of uploads and unloads.
    pub(crate) version: u32,
}

impl Entry {
    pub(crate) fn is_applied(&self) -> bool {
        self.state == State::Applied
    }
}

/// Returns true if a payload may be linked with one that was uploaded before it, as far as their footprints are known.
pub(super) fn may_need(own: Option<&Footprint>, other: Option<&Footprint>) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => own.may_need(other),
        (Some(own), None) => !own.stands_alone(),
        (None, _) => true,
    }
}

impl Situation {
    pub(super) fn of(inventory: &Inventory, files: &Files, learned: &Learned) -> Self {
        let entry = |entry: &crate::inventory::InventoryEntry| {
            let build_id = entry.build_id.clone().or_else(|| learned.twins.get(&entry.name).cloned());
            let file = build_id.as_ref().and_then(|id| files.find(id, entry.depends.as_ref()));
            let footprint = entry.footprint.clone().or_else(|| file.map(|file| Arc::clone(file.footprint())));
            Entry {
                name: entry.name.clone(),
                state: entry.status.state,
                depends: entry.depends.clone(),
                unidentified: entry.unidentified.filter(|_| build_id.is_none()),
                build_id,
                footprint,
            }
        };
        let by_dependency = || {
            let stack = inventory.stack().into_iter().chain(inventory.off_chain());
            stack.map(|entry| entry.name.clone()).collect::<Vec<_>>()
        };
        let order = inventory.order.clone().unwrap_or_else(by_dependency);
        let nodeps = rules::ACTION_FLAGS.holds(&inventory.target) != Certainty::No;
        let order_is_known = inventory.order.is_some() || order.len() < 2 || !nodeps;
        let entries = inventory.payloads.iter().map(entry).collect();
        let mut situation = Self { entries, order, order_is_known, version: inventory.version };
        situation.learn(learned);
        situation
    }

    /// Takes in facts that refusals have shown.
    pub(crate) fn learn(&mut self, learned: &Learned) {
        for entry in &mut self.entries {
            if let Some(id) = learned.twins.get(&entry.name).filter(|_| entry.build_id.is_none()) {
                entry.build_id = Some(id.clone());
                entry.unidentified = None;
            }
        }
        self.order.sort_by_key(|name| (learned.top.as_ref() == Some(name), !learned.buried.contains(name)));
    }

    /// The same payloads in the states of a list; `None` if something was uploaded or unloaded since.
    pub(crate) fn with_states(&self, rows: &[LoadedPayload], version: u32) -> Option<Self> {
        if version != self.version || !rows.iter().map(|row| &row.name).eq(self.entries.iter().map(|entry| &entry.name))
        {
            return None;
        }
        let mut now = self.clone();
        for (entry, row) in now.entries.iter_mut().zip(rows) {
            entry.state = row.status.state;
        }
        now.order_like(&self.order);
        Some(now)
    }

    /// Orders the applied payloads as they were before, with those that were applied since on top.
    pub(crate) fn order_like(&mut self, before: &[PayloadName]) {
        let applied = |name: &&PayloadName| self.entry(name).is_some_and(Entry::is_applied);
        let mut order: Vec<PayloadName> = before.iter().filter(applied).cloned().collect();
        let known: Vec<PayloadName> = self.order.iter().filter(applied).cloned().collect();
        let rest = self.entries.iter().filter(|entry| entry.is_applied()).map(|entry| entry.name.clone());
        for name in known.into_iter().chain(rest) {
            if !order.contains(&name) {
                order.push(name);
            }
        }
        self.order = order;
    }

    /// Returns true if this list of Xen shows the situation.
    pub(crate) fn is_shown_by(&self, rows: &[LoadedPayload], version: u32) -> bool {
        let shown = rows.iter().map(|row| (&row.name, row.status.state));
        version == self.version && shown.eq(self.entries.iter().map(|entry| (&entry.name, entry.state)))
    }

    /// The loaded payloads that may be linked with one.
    pub(super) fn needers(&self, entry: &Entry) -> Vec<&Entry> {
        let later = self.entries.iter().skip_while(|other| other.name != entry.name).skip(1);
        later.filter(|other| may_need(other.footprint.as_deref(), entry.footprint.as_deref())).collect()
    }

    pub(super) fn entry(&self, name: &PayloadName) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }

    /// The payloads that could not be identified.
    pub(crate) fn unidentified(&self) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.build_id.is_none()).collect()
    }

    /// The applied payloads from the bottom up.
    pub(crate) fn applied(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|name| self.entry(name))
    }

    /// The situation after a step.
    pub(crate) fn after(mut self, step: &Step) -> Self {
        match step {
            Step::Upload { name, build_id, payload } => self.entries.push(Entry {
                name: name.clone(),
                state: State::Checked,
                build_id: Some(build_id.clone()),
                depends: payload.depends().cloned(),
                footprint: Some(Arc::clone(payload.footprint())),
                unidentified: None,
            }),
            Step::Unload { name } => self.entries.retain(|entry| entry.name != *name),
            Step::Apply { name, .. } => self.set(name, true),
            Step::Revert { name } => self.set(name, false),
            Step::Replace { name, reverts } => {
                for reverted in reverts {
                    self.set(reverted, false);
                }
                self.set(name, true);
            }
        }
        if matches!(step, Step::Upload { .. } | Step::Unload { .. }) {
            self.version = self.version.wrapping_add(1);
        }
        self
    }

    fn set(&mut self, name: &PayloadName, applied: bool) {
        let state = if applied { State::Applied } else { State::Checked };
        self.entries.iter_mut().filter(|entry| entry.name == *name).for_each(|entry| entry.state = state);
        self.order.retain(|other| other != name);
        if applied {
            self.order.push(name.clone());
        }
    }
}
