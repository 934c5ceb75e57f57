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
            let payload = &stored.payload;
            let is_here = claims.here.contains(&index);
            let fault = if let Some(section) = payload.unreadable_build_id() {
                Some(StoreFault::Note { section })
            } else if is_here {
                // A finding that depends on the point release of this Xen is left to the plan.
                let finding = payload.check_against(target).into_iter().find(|finding| finding.severity.is_certain());
                finding.map(|finding| StoreFault::Unfit { finding })
            } else if let Some((xen, depends)) = claims.contradiction(payload) {
                Some(StoreFault::Contradiction { xen: xen.clone(), depends: depends.clone() })
            } else if let Some(finding) = stored.damage() {
                Some(StoreFault::Damaged { finding: finding.clone() })
            } else {
                // One that names no Xen may be for this one, and have lost its base.
                let base = payload.depends().filter(|_| payload.xen_depends().is_none() && !all_name_it);
                let missing =
                    |base: &BuildId| Ambiguity::MissingBase { payload: stored.path.clone(), base: base.clone() };
                base.map(|base| StoreFault::Ambiguous(missing(base)))
            };
            match fault {
                Some(fault) => membership.problems.push(StoreProblem::new(stored.path.clone(), fault)),
                None if is_here => _ = membership.here.insert(index),
                None => _ = membership.another.insert(index),
            }
        }
        membership
    }
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

/// The Xens that all payloads claim to be for, whether they are whole or not.
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

    /// The Xen that a payload names, and the build-id that it depends on, if that is this Xen or belongs to it.
    fn contradiction<'p>(&self, payload: &'p Payload) -> Option<(&'p BuildId, &'p BuildId)> {
        let (for_xen, base) = payload.xen_depends().zip(payload.depends())?;
        // Payloads for two builds of Xen can have one build-id, where they contain the same.
        let has_base_there = self.elsewhere.contains(&(for_xen, base));
        (base == self.xen || (self.ids_here.contains(base) && !has_base_there)).then_some((for_xen, base))
    }
}
