//! What goes on what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Ambiguity, Link, StoredPayload};
use crate::build_id::BuildId;

/// The indices of the payloads that are for a Xen.
pub(super) fn members(payloads: &[StoredPayload], xen: &BuildId) -> BTreeSet<usize> {
    let mut members = BTreeSet::new();
    let mut new = Vec::new();
    let mut on: BTreeMap<&BuildId, Vec<usize>> = BTreeMap::new();
    for (index, stored) in payloads.iter().enumerate() {
        match (stored.payload.xen_depends(), stored.payload.depends()) {
            (Some(for_xen), _) if for_xen == xen => new.push(index),
            (None, Some(base)) if base == xen => new.push(index),
            (None, Some(base)) => on.entry(base).or_default().push(index),
            _ => {}
        }
    }
    while let Some(index) = new.pop() {
        if members.insert(index) {
            let build_id = payloads.get(index).and_then(|stored| stored.payload.build_id());
            new.extend(build_id.and_then(|id| on.get(id)).into_iter().flatten());
        }
    }
    members
}

/// The indices of what to have applied on a Xen, from the bottom up.
pub(super) fn stack(payloads: &[StoredPayload], links: &[Link], xen: &BuildId) -> Result<Vec<usize>, Ambiguity> {
    let forest = Forest::new(payloads, xen);
    match forest.chosen(links)? {
        Some(top) => forest.down_from(top),
        None => forest.only_chain(),
    }
}

/// The build-id that a file's folder is named after.
fn folder_of(file: &Path) -> Option<BuildId> {
    file.parent()?.file_name()?.to_str()?.parse().ok()
}

/// The payloads for one Xen, by what they are and by what they go on.
struct Forest<'s> {
    payloads: &'s [StoredPayload],
    xen: &'s BuildId,
    members: BTreeSet<usize>,
    being: BTreeMap<&'s BuildId, Vec<usize>>,
    on: BTreeMap<&'s BuildId, Vec<usize>>,
}

impl<'s> Forest<'s> {
    fn new(payloads: &'s [StoredPayload], xen: &'s BuildId) -> Self {
        let members = members(payloads, xen);
        let mut forest = Self { payloads, xen, members, being: BTreeMap::new(), on: BTreeMap::new() };
        for index in &forest.members {
            let Some(stored) = payloads.get(*index) else { continue };
            if let Some(id) = stored.payload.build_id() {
                forest.being.entry(id).or_default().push(*index);
            }
            if let Some(id) = stored.payload.depends() {
                forest.on.entry(id).or_default().push(*index);
            }
        }
        forest
    }

    /// What the links choose for this Xen.
    fn chosen(&self, links: &[Link]) -> Result<Option<usize>, Ambiguity> {
        let leads_here = |link: &&Link| link.target.is_some_and(|target| self.members.contains(&target));
        if let Some(link) = links.iter().find(|link| !leads_here(link) && self.should_lead_here(link)) {
            return Err(Ambiguity::BrokenLink(link.path.clone()));
        }
        let choosing: Vec<&Link> = links.iter().filter(leads_here).collect();
        let targets: BTreeSet<usize> = choosing.iter().filter_map(|link| link.target).collect();
        if targets.len() > 1 {
            return Err(Ambiguity::Links(choosing.iter().map(|link| link.path.clone()).collect()));
        }
        Ok(targets.first().copied())
    }

    /// Whether a link that does not lead to a payload for this Xen was meant to: its folder is named after this Xen, or it
    /// leads to nothing and lies beside payloads for this Xen.
    fn should_lead_here(&self, link: &Link) -> bool {
        let folder = link.path.parent();
        let named = folder_of(&link.path);
        let beside = |index: &usize| self.payloads.get(*index).is_some_and(|stored| stored.path.parent() == folder);
        named.is_some_and(|id| id == *self.xen) || (link.target.is_none() && self.members.iter().any(beside))
    }

    /// A payload and all that it goes on.
    fn down_from(&self, top: usize) -> Result<Vec<usize>, Ambiguity> {
        let mut stack = vec![top];
        let mut current = top;
        loop {
            let base = self.base(current);
            if base == Some(self.xen) {
                stack.reverse();
                return Ok(stack);
            }
            current = match base.and_then(|base| Some((base, self.being.get(base)?.as_slice()))) {
                None => return Err(self.missing(current)),
                Some((_, [below])) if stack.contains(below) => {
                    let cycle: Vec<usize> = stack.into_iter().skip_while(|index| index != below).collect();
                    return Err(Ambiguity::Cycle(self.paths(&cycle)));
                }
                Some((_, [below])) => *below,
                Some((base, several)) => return Err(self.same_build_id(base, several)),
            };
            stack.push(current);
        }
    }

    /// All payloads, if they make one chain.
    fn only_chain(&self) -> Result<Vec<usize>, Ambiguity> {
        if let Some((id, several)) = self.being.iter().find(|(_, payloads)| payloads.len() > 1) {
            return Err(self.same_build_id(id, several));
        }
        let founded =
            |index: &usize| self.base(*index).is_some_and(|base| base == self.xen || self.being.contains_key(base));
        let unfounded = self.members.iter().copied().find(|index| !founded(index));
        if let Some(index) = unfounded.or_else(|| self.stray()) {
            return Err(self.missing(index));
        }
        if let Some((base, several)) = self.on.iter().find(|(_, payloads)| payloads.len() > 1) {
            return Err(Ambiguity::SameBase { base: (*base).clone(), payloads: self.paths(several) });
        }
        // Each base carries one payload now. What can't be reached from Xen goes round in circles.
        let mut rest = self.members.clone();
        let mut stack = Vec::new();
        let mut top = Some(self.xen);
        while let Some(next) = top.and_then(|top| self.on.get(top)?.first()).filter(|next| rest.remove(next)) {
            stack.push(*next);
            top = self.payloads.get(*next).and_then(|stored| stored.payload.build_id()).filter(|id| *id != self.xen);
        }
        let Some(first) = rest.first() else { return Ok(stack) };
        let mut cycle = vec![*first];
        let below = |index: usize| self.base(index).and_then(|base| self.being.get(base)?.first());
        let mut current = below(*first);
        while let Some(next) = current.filter(|next| !cycle.contains(next)) {
            cycle.push(*next);
            current = below(*next);
        }
        Err(Ambiguity::Cycle(self.paths(&cycle)))
    }

    /// A payload that does not say which Xen it is for, goes on what isn't here, and lies in the folder of this Xen.
    fn stray(&self) -> Option<usize> {
        let is_stray = |(index, stored): &(usize, &StoredPayload)| {
            let ours = folder_of(&stored.path).is_some_and(|id| id == *self.xen);
            ours && stored.payload.xen_depends().is_none() && !self.members.contains(index)
        };
        self.payloads.iter().enumerate().find(is_stray).map(|(index, _)| index)
    }

    fn base(&self, index: usize) -> Option<&'s BuildId> {
        self.payloads.get(index).and_then(|stored| stored.payload.depends())
    }

    fn missing(&self, index: usize) -> Ambiguity {
        let payload = self.payloads.get(index).map(|stored| stored.path.clone()).unwrap_or_default();
        Ambiguity::MissingBase { payload, base: self.base(index).cloned() }
    }

    fn same_build_id(&self, build_id: &BuildId, several: &[usize]) -> Ambiguity {
        Ambiguity::SameBuildId { build_id: build_id.clone(), payloads: self.paths(several) }
    }

    fn paths(&self, indices: &[usize]) -> Vec<PathBuf> {
        indices.iter().filter_map(|index| self.payloads.get(*index)).map(|stored| stored.path.clone()).collect()
    }
}
