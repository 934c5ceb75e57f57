//! Target levels of a plan: the wanted one, or the old one.

use std::path::PathBuf;

use super::situation::{Entry, Files, Situation};
use super::step::PlannedPayload;
use crate::loader::ProblemKinds;
use crate::payload::{Footprint, Reapply};
use crate::types::{BuildId, PayloadName};

/// A payload of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The path of its file, if it is one of a store.
    pub(super) path: Option<PathBuf>,
    /// The name to load it under, unless that is taken; or the one under which it was loaded when this level was seen.
    pub(super) name: PayloadName,
    pub(super) was_loaded: bool,
    pub(super) build_id: Option<BuildId>,
    pub(super) depends: Option<BuildId>,
    pub(super) file: Option<PlannedPayload>,
    /// True if it does not depend on the payload below it: it was applied with `NODEPS`.
    pub(super) nodeps: bool,
}

/// The changes that may be made for a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Payloads that are not part of it are reverted and unloaded.
    Everything,
    /// Payloads that are not part of it are reverted, and stay loaded.
    Applied,
    /// Payloads are only added.
    Additions,
}

/// A level, and the ways that a plan may take to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    /// From the bottom up.
    pub(super) members: Vec<Member>,
    pub(super) scope: Scope,
    pub(super) one_by_one: bool,
    /// The kinds of possible findings that do not keep files from Xen.
    pub(crate) accepted: ProblemKinds,
    /// Xen's own build-id.
    pub(super) xen: Option<BuildId>,
    pub(super) files: Files,
    /// True if the order of its members is known.
    pub(crate) ordered: bool,
}

impl Member {
    pub(super) fn is(&self, entry: &Entry) -> bool {
        match (&self.build_id, &entry.build_id) {
            // Two files may share a build-id.
            (Some(own), Some(other)) => {
                own == other && (self.depends.is_none() || entry.depends.is_none() || self.depends == entry.depends)
            }
            _ => self.was_loaded && self.name == entry.name,
        }
    }

    /// Xen's answer to a second apply after a revert, if it is known.
    pub(super) fn reapply(&self, entry: &Entry) -> Option<Reapply> {
        self.footprint().or(entry.footprint.as_deref()).map(|footprint| footprint.reapply)
    }

    pub(super) fn footprint(&self) -> Option<&Footprint> {
        self.file.as_ref().map(|file| &**file.footprint())
    }
}

impl Goal {
    /// The level of a situation, as the goal of a way back.
    pub(crate) fn back_to(situation: &Situation, goal: &Self) -> Self {
        let mut members: Vec<Member> = Vec::new();
        let mut below = goal.xen.as_ref();
        for entry in situation.applied() {
            let file = entry.build_id.as_ref().and_then(|id| goal.files.find(id, entry.depends.as_ref())).cloned();
            let nodeps = entry.depends.is_some() && below.is_some() && entry.depends.as_ref() != below;
            below = entry.build_id.as_ref();
            members.push(Member {
                path: None,
                name: entry.name.clone(),
                was_loaded: true,
                build_id: entry.build_id.clone(),
                depends: entry.depends.clone(),
                file,
                nodeps,
            });
        }
        Self {
            members,
            scope: Scope::Applied,
            one_by_one: false,
            // They have run on this Xen.
            accepted: ProblemKinds::ALL,
            xen: goal.xen.clone(),
            files: goal.files.clone(),
            ordered: situation.order_is_known,
        }
    }

    /// The lowest `len` payloads of the level.
    pub(crate) fn lowest(&self, len: usize) -> Self {
        let mut lower = self.clone();
        lower.members.truncate(len);
        lower
    }

    /// The place of a payload in it, from the bottom.
    pub(crate) fn position(&self, build_id: &BuildId) -> Option<usize> {
        self.members.iter().position(|member| member.build_id.as_ref() == Some(build_id))
    }

    /// The place of a payload of a store in it, and the path of the payload.
    pub(super) fn stored(&self, build_id: &BuildId) -> Option<(usize, &PathBuf)> {
        let index = self.position(build_id)?;
        Some((index, self.members.get(index)?.path.as_ref()?))
    }

    /// The lowest `len` payloads of the level, to be added only.
    pub(super) fn part(&self, len: usize) -> Self {
        Self { scope: Scope::Additions, ..self.lowest(len) }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Its payloads that are not applied.
    pub(super) fn missing<'g>(&'g self, situation: &'g Situation) -> impl Iterator<Item = &'g Member> {
        self.members.iter().filter(|member| !situation.applied().any(|entry| member.is(entry)))
    }

    /// Returns true if all of it is applied.
    pub(crate) fn is_covered(&self, situation: &Situation) -> bool {
        self.missing(situation).next().is_none()
    }

    /// Returns true if it is applied, in this order, and nothing else is.
    pub(crate) fn is_level_of(&self, situation: &Situation) -> bool {
        let mut applied = situation.applied();
        let same = self.members.iter().all(|member| applied.next().is_some_and(|entry| member.is(entry)));
        same && applied.next().is_none()
    }

    /// Returns true if all that is applied belongs to it.
    pub(crate) fn contains_all_of(&self, situation: &Situation) -> bool {
        situation.applied().all(|entry| self.members.iter().any(|member| member.is(entry)))
    }
}
