//! The stack that payload files make for a Xen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::membership::Membership;
use super::{Ambiguity, Link, StoredPayload};
use crate::types::build_id::BuildId;

/// The indices of the payloads to have applied on a Xen, from the bottom up, as far as the files leave no doubt; and the
/// doubts.
pub(super) fn stack(
    payloads: &[StoredPayload],
    links: &[Link],
    xen: &BuildId,
    membership: &Membership,
) -> (Vec<usize>, Vec<Ambiguity>) {
    let forest = Forest::new(payloads, xen, &membership.here);
    let choice = Choice::of(payloads, links, membership);
    let mut doubts = choice.doubts;
    let stack = match choice.chosen.as_slice() {
        [] if choice.is_uncertain => forest.trunk(),
        [] => {
            doubts.extend(forest.doubts());
            forest.trunk()
        }
        chosen => {
            let (chains, broken): (Vec<_>, Vec<_>) =
                chosen.iter().map(|top| forest.down_from(*top)).partition(Result::is_ok);
            let is_certain = broken.is_empty();
            doubts.extend(broken.into_iter().filter_map(Result::err));
            let chains: Vec<Vec<usize>> = chains.into_iter().flatten().collect();
            if let [chain] = chains.as_slice() {
                doubts.extend(forest.outside(&choice.links, chain));
            }
            let certain = chains.into_iter().reduce(common).filter(|_| is_certain);
            certain.unwrap_or_else(|| forest.trunk())
        }
    };
    (stack, doubts)
}

/// The beginning that two chains have in common.
fn common(one: Vec<usize>, other: Vec<usize>) -> Vec<usize> {
    one.into_iter().zip(other).take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
}

/// The payloads that links `livepatch.livepatch` choose for a Xen.
struct Choice<'s> {
    /// The links.
    links: Vec<&'s Link>,
    /// The payloads that the links lead to. More than one is a doubt.
    chosen: Vec<usize>,
    /// True if there is none, but a link that may have been meant to choose one.
    is_uncertain: bool,
    doubts: Vec<Ambiguity>,
}

impl<'s> Choice<'s> {
    fn of(payloads: &[StoredPayload], links: &'s [Link], membership: &Membership) -> Self {
        let Membership { here, another, .. } = membership;
        let leads_into = |link: &&Link, set: &BTreeSet<usize>| link.target.is_some_and(|target| set.contains(&target));
        let choosing: Vec<&Link> = links.iter().filter(|link| leads_into(link, here)).collect();
        let chosen: BTreeSet<usize> = choosing.iter().filter_map(|link| link.target).collect();
        let members = || here.iter().filter_map(|index| payloads.get(*index)).flat_map(StoredPayload::paths);
        let mut doubts = Vec::new();
        let mut is_uncertain = false;
        if chosen.len() > 1 {
            doubts.push(Ambiguity::Links(choosing.iter().map(|link| link.path.clone()).collect()));
        }
        for link in links.iter().filter(|link| !leads_into(link, here)) {
            let Some(directory) = link.path.parent() else { continue };
            if leads_into(&link, another) {
                // The choice of the other Xen, unless nobody but this link can have chosen among the files beside it.
                if chosen.is_empty() && members().any(|path| path.parent() == Some(directory)) {
                    is_uncertain = true;
                    doubts.push(Ambiguity::LinkToAnother(link.path.clone()));
                }
            } else {
                is_uncertain |= chosen.is_empty() && members().any(|path| path.starts_with(directory));
                doubts.push(Ambiguity::BrokenLink(link.path.clone()));
            }
        }
        Self { links: choosing, chosen: chosen.into_iter().collect(), is_uncertain, doubts }
    }
}

/// The members of a store for one Xen, by their own build-ids and by those that they depend on.
struct Forest<'s> {
    payloads: &'s [StoredPayload],
    xen: &'s BuildId,
    members: &'s BTreeSet<usize>,
    being: BTreeMap<&'s BuildId, Vec<usize>>,
    on: BTreeMap<&'s BuildId, Vec<usize>>,
}

impl<'s> Forest<'s> {
    fn new(payloads: &'s [StoredPayload], xen: &'s BuildId, members: &'s BTreeSet<usize>) -> Self {
        let mut forest = Self { payloads, xen, members, being: BTreeMap::new(), on: BTreeMap::new() };
        for index in members {
            forest.being.entry(forest.own(*index)).or_default().push(*index);
            forest.on.entry(forest.base(*index)).or_default().push(*index);
        }
        forest
    }

    /// From Xen up to the first fork or gap.
    fn trunk(&self) -> Vec<usize> {
        let mut stack = Vec::new();
        let mut top = self.xen;
        while let Some([next]) = self.on.get(top).map(Vec::as_slice) {
            let id = self.own(*next);
            if self.of_id(id).len() > 1 {
                break;
            }
            stack.push(*next);
            // It would be below itself.
            if id == self.xen || stack.len() > self.members.len() {
                break;
            }
            top = id;
        }
        stack
    }

    /// A payload and all that it depends on, the lowest first.
    fn down_from(&self, top: usize) -> Result<Vec<usize>, Ambiguity> {
        let mut stack = vec![top];
        let mut current = top;
        loop {
            let base = self.base(current);
            if base == self.xen {
                stack.reverse();
                return Ok(stack);
            }
            current = match self.of_id(base) {
                [] => return Err(self.missing(current)),
                [below] if stack.contains(below) => {
                    let cycle: Vec<usize> = stack.into_iter().skip_while(|index| index != below).collect();
                    return Err(Ambiguity::Cycle(self.paths(&cycle)));
                }
                [below] => *below,
                several => return Err(self.same_build_id(base, several)),
            };
            stack.push(current);
        }
    }

    /// The doubt about a choice that leaves out payloads in other directories: a link chooses among those beside it, below
    /// it, and beside the chosen one.
    fn outside(&self, links: &[&Link], chain: &[usize]) -> Option<Ambiguity> {
        let chosen = links.iter().filter_map(|link| link.target).map(|target| self.stored(target));
        let directories: Vec<&Path> = links
            .iter()
            .map(|link| &*link.path)
            .chain(chosen.flat_map(StoredPayload::paths))
            .filter_map(Path::parent)
            .collect();
        let is_inside = |stored: &StoredPayload| {
            stored.paths().any(|path| directories.iter().any(|directory| path.starts_with(directory)))
        };
        let left_out = self.members.iter().filter(|index| !chain.contains(index)).map(|index| self.stored(*index));
        let outside: Vec<PathBuf> =
            left_out.filter(|stored| !is_inside(stored)).map(|stored| stored.path.clone()).collect();
        if outside.is_empty() {
            return None;
        }
        Some(Ambiguity::OutsideChoice(links.iter().map(|link| link.path.clone()).chain(outside).collect()))
    }

    /// Everything that keeps the payloads from being one chain.
    fn doubts(&self) -> Vec<Ambiguity> {
        let several = self.being.iter().filter(|(_, payloads)| payloads.len() > 1);
        let mut doubts: Vec<Ambiguity> = several.map(|(id, payloads)| self.same_build_id(id, payloads)).collect();
        for (base, payloads) in &self.on {
            if *base != self.xen && self.of_id(base).is_empty() {
                doubts.extend(payloads.iter().map(|index| self.missing(*index)));
            } else if payloads.len() > 1 {
                doubts.push(Ambiguity::SameBase { base: (*base).clone(), payloads: self.paths(payloads) });
            }
        }
        doubts.extend(self.cycles().iter().map(|cycle| Ambiguity::Cycle(self.paths(cycle))));
        doubts
    }

    /// Payloads that depend on each other in a circle.
    fn cycles(&self) -> Vec<Vec<usize>> {
        let mut seen = BTreeSet::new();
        let mut cycles = Vec::new();
        for start in self.members {
            let mut way: Vec<usize> = Vec::new();
            let mut current = Some(*start);
            while let Some(index) = current {
                if !seen.insert(index) {
                    if let Some(at) = way.iter().position(|of_way| *of_way == index) {
                        cycles.push(way.split_off(at));
                    }
                    break;
                }
                way.push(index);
                current = match (self.base(index), self.of_id(self.base(index))) {
                    (base, [below]) if base != self.xen => Some(*below),
                    _ => None,
                };
            }
        }
        cycles
    }

    fn of_id(&self, id: &BuildId) -> &[usize] {
        self.being.get(id).map_or(&[], Vec::as_slice)
    }

    fn stored(&self, index: usize) -> &'s StoredPayload {
        self.payloads.get(index).expect("members and targets of links are places in the same store")
    }

    fn own(&self, member: usize) -> &'s BuildId {
        self.stored(member).payload.build_id().expect("a file without its build-id is no member")
    }

    fn base(&self, member: usize) -> &'s BuildId {
        self.stored(member).payload.depends().expect("a file without its dependency is no member")
    }

    fn missing(&self, member: usize) -> Ambiguity {
        Ambiguity::MissingBase { payload: self.stored(member).path.clone(), base: self.base(member).clone() }
    }

    fn same_build_id(&self, build_id: &BuildId, several: &[usize]) -> Ambiguity {
        Ambiguity::SameBuildId { build_id: build_id.clone(), payloads: self.paths(several) }
    }

    fn paths(&self, members: &[usize]) -> Vec<PathBuf> {
        members.iter().map(|member| self.stored(*member).path.clone()).collect()
    }
}
