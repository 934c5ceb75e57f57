//! Payload files, by the Xen that they are for: this one, another one, or none because they are damaged.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{StoreFault, StoreProblem};
use super::{Ambiguity, StoredPayload};
use crate::loader::Finding;
use crate::payload::Payload;
use crate::types::build_id::BuildId;
use crate::xen::release::Release;
use crate::xen::rules;
use crate::xen::target::Target;

/// The payloads of a store, sorted for a Xen.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The indices of the whole ones that are for this Xen.
    pub(super) here: BTreeSet<usize>,
    /// The indices of the whole ones that are for another.
    pub(super) another: BTreeSet<usize>,
    /// The rest.
    pub(super) problems: Vec<StoreProblem>,
}

impl Membership {
    pub(super) fn of(payloads: &[StoredPayload], target: &Target, xen: &BuildId) -> Self {
        let claims = Claims::of(payloads, xen);
        // From this release on Xen refuses payloads that name no Xen.
        let all_name_it = rules::XEN_DEPENDS.holds(target).surely();
        let mut membership = Self::default();
        for (index, stored) in payloads.iter().enumerate() {
            let fault = match claims.of_payload(index, stored) {
                Claim::Nothing { section } => Some(StoreFault::Note { section }),
                Claim::Here => {
                    let finding = certain_finding(&stored.payload, target);
                    if finding.is_none() {
                        membership.here.insert(index);
                    }
                    finding.map(|finding| StoreFault::Unfit { finding })
                }
                Claim::Contradiction { xen, depends } => Some(StoreFault::Contradiction { xen, depends }),
                Claim::Another | Claim::Unnamed { .. } if stored.damage().is_some() => {
                    stored.damage().cloned().map(|finding| StoreFault::Damaged { finding })
                }
                Claim::Unnamed { base } if !all_name_it => {
                    Some(StoreFault::Ambiguous(Ambiguity::MissingBase { payload: stored.path.clone(), base }))
                }
                Claim::Another | Claim::Unnamed { .. } => {
                    membership.another.insert(index);
                    None
                }
            };
            membership.problems.extend(fault.map(|fault| StoreProblem::new(stored.path.clone(), fault)));
        }
        membership
    }
}

/// The first finding about a payload that does not depend on the point release of this Xen.
fn certain_finding(payload: &Payload, target: &Target) -> Option<Finding> {
    payload.check_against(target).into_iter().find(|finding| finding.severity.is_certain())
}

/// The first finding for the release with the fewest findings; `None` if a release accepts the payload.
pub(super) fn damage(payload: &Payload) -> Option<Finding> {
    let mut nearest: Option<Vec<Finding>> = None;
    for last in Release::ALL.iter().rev() {
        let findings = payload.check_against(&Target::from(*last));
        if findings.is_empty() {
            return None;
        }
        if nearest.as_ref().is_none_or(|nearest| findings.len() < nearest.len()) {
            nearest = Some(findings);
        }
    }
    // The other point releases are checked only if no last one of a series accepts it.
    nearest?.into_iter().next().filter(|_| payload.releases().is_empty())
}

/// The Xen that a payload claims to be for, whether it is whole or not.
enum Claim {
    /// This one.
    Here,
    /// Another one.
    Another,
    /// It names none, and depends on nothing for this Xen.
    Unnamed { base: BuildId },
    /// It names another one, but depends on this one or on a payload for it.
    Contradiction { xen: BuildId, depends: BuildId },
    /// It lacks a build-id.
    Nothing { section: &'static str },
}

/// The claims of all payloads, by their build-ids.
struct Claims<'s> {
    xen: &'s BuildId,
    /// Those that claim to be for this Xen.
    here: BTreeSet<usize>,
    /// This Xen's build-id and theirs.
    ids_here: BTreeSet<&'s BuildId>,
    /// The build-ids of those that name another Xen, with that.
    elsewhere: BTreeSet<(&'s BuildId, &'s BuildId)>,
}

impl<'s> Claims<'s> {
    fn of(payloads: &'s [StoredPayload], xen: &'s BuildId) -> Self {
        let mut claims =
            Self { xen, here: BTreeSet::new(), ids_here: BTreeSet::from([xen]), elsewhere: BTreeSet::new() };
        let mut new = Vec::new();
        let mut on: BTreeMap<&BuildId, Vec<usize>> = BTreeMap::new();
        for (index, stored) in payloads.iter().enumerate() {
            let payload = &stored.payload;
            match (payload.xen_depends(), payload.depends()) {
                (Some(for_xen), _) if for_xen == xen => new.push(index),
                (Some(for_xen), _) => claims.elsewhere.extend(payload.build_id().map(|own| (for_xen, own))),
                (None, Some(base)) if base == xen => new.push(index),
                (None, Some(base)) => on.entry(base).or_default().push(index),
                (None, None) => {}
            }
        }
        while let Some(index) = new.pop() {
            if claims.here.insert(index) {
                let build_id = payloads.get(index).and_then(|stored| stored.payload.build_id());
                claims.ids_here.extend(build_id);
                new.extend(build_id.and_then(|id| on.get(id)).into_iter().flatten());
            }
        }
        claims
    }

    fn of_payload(&self, index: usize, stored: &StoredPayload) -> Claim {
        let payload = &stored.payload;
        if let Some(section) = payload.unreadable_build_id() {
            return Claim::Nothing { section };
        }
        match (payload.xen_depends(), payload.depends()) {
            _ if self.here.contains(&index) => Claim::Here,
            (Some(for_xen), Some(base)) => {
                // Payloads for two builds of Xen can have one build-id, where they contain the same.
                let has_base_there = self.elsewhere.contains(&(for_xen, base));
                if base == self.xen || (self.ids_here.contains(base) && !has_base_there) {
                    Claim::Contradiction { xen: for_xen.clone(), depends: base.clone() }
                } else {
                    Claim::Another
                }
            }
            (None, Some(base)) => Claim::Unnamed { base: base.clone() },
            (_, None) => Claim::Another,
        }
    }
}
