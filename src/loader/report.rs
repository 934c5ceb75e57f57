//! Who hears of what is found, and a host of which only the build-id may be known.

use super::finding::Finding;
use super::{Host, Known, NoRoom};
use crate::types::build_id::BuildId;

/// Takes findings, in the order in which Xen would come upon them.
pub(crate) trait Sink {
    /// Takes one.
    ///
    /// # Errors
    /// When it wants no more.
    fn take(&mut self, finding: Finding) -> Result<(), Stopped>;
}

/// The sink wanted no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// All findings, those that differ in nothing but their entry in one.
#[derive(Debug, Default)]
pub(super) struct Collected(Vec<Finding>);

/// A sink that records only that there is a finding.
#[derive(Debug, Default)]
pub(super) struct Any(pub(super) bool);

impl Sink for Any {
    fn take(&mut self, finding: Finding) -> Result<(), Stopped> {
        if finding.problem.ends_with_debug_sections() {
            return Ok(());
        }
        self.0 = true;
        Err(Stopped)
    }
}

/// A sink that drops all findings.
#[derive(Debug)]
pub(super) struct Ignored;

impl Sink for Ignored {
    fn take(&mut self, _: Finding) -> Result<(), Stopped> {
        Ok(())
    }
}

/// How far back one is looked for that a finding may go in with: more than there are kinds of problems with one thing.
const KINDS: usize = 16;

impl Collected {
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.0
    }
}

impl Sink for Collected {
    fn take(&mut self, finding: Finding) -> Result<(), Stopped> {
        if !self.0.iter_mut().rev().take(KINDS).any(|known| known.absorb(&finding)) {
            self.0.push(finding);
        }
        Ok(())
    }
}

/// A host that can't be asked.
#[derive(Debug)]
pub(super) struct Offline<'t> {
    pub(super) build_id: Option<&'t BuildId>,
    /// Where a payload is taken to be.
    pub(super) base: u64,
}

/// More memory than a payload can need that fits into 2 MiB, sections of zeros included. What takes more is not looked at,
/// so that a hostile file can't make the check take long.
const MOST_CHECKED: u64 = 16 << 20;

impl Host for Offline<'_> {
    fn symbol(&self, name: &[u8]) -> Known<u64> {
        // Xen finds nothing without a name.
        if name.is_empty() { Known::Absent } else { Known::Unknown }
    }

    fn build_id(&self) -> Known<&[u8]> {
        self.build_id.map_or(Known::Unknown, |build_id| Known::Is(build_id.as_bytes()))
    }

    fn is_loaded(&self, _: &[u8]) -> bool {
        false
    }

    fn room(&self, len: u64) -> Result<u64, NoRoom> {
        if len <= MOST_CHECKED { Ok(self.base) } else { Err(NoRoom::TooMuchToCheck) }
    }

    fn knows_addresses(&self) -> bool {
        false
    }

    fn code(&self, _: u64, _: u64) -> Option<&[u8]> {
        None
    }
}
