//! The payload files that a plan may use.

use std::sync::Arc;

use crate::payload::{Footprint, Payload};
use crate::types::build_id::BuildId;
use crate::xen::release::Release;

/// A payload file with its footprint.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFile {
    pub(crate) payload: Arc<Payload>,
    pub(crate) footprint: Arc<Footprint>,
}

/// The files at hand: of what is wanted, and of what may be loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(Vec<PlannedFile>);

impl Files {
    pub(super) fn of<'p>(payloads: impl Iterator<Item = &'p Arc<Payload>>, release: Release) -> Self {
        let file = |payload: &Arc<Payload>| PlannedFile {
            payload: Arc::clone(payload),
            footprint: Arc::new(Footprint::of_file(payload, release)),
        };
        // What is larger than Xen takes is in no Xen.
        Self(payloads.filter(|payload| payload.excess().is_none()).map(file).collect())
    }

    /// The file of a loaded payload. Payloads may share a build-id, but not both.
    pub(super) fn find(&self, build_id: &BuildId, depends: Option<&BuildId>) -> Option<&PlannedFile> {
        let same = |file: &&PlannedFile| {
            file.payload.build_id() == Some(build_id) && (depends.is_none() || file.payload.depends() == depends)
        };
        self.0.iter().find(same)
    }
}
