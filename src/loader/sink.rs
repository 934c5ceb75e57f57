//! The receivers of the loader's findings.

use super::finding::Finding;

/// A receiver of findings, in the order in which Xen would come upon them.
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

/// A sink that keeps all findings, those that differ only in their entry as one.
#[derive(Debug, Default)]
pub(super) struct Collected(pub(super) Vec<Finding>);

/// The number of last findings that are compared with a new one: more than there are kinds of problems with one thing.
const KINDS: usize = 16;

impl Sink for Collected {
    fn take(&mut self, finding: Finding) -> Result<(), Stopped> {
        if !self.0.iter_mut().rev().take(KINDS).any(|known| known.absorb(&finding)) {
            self.0.push(finding);
        }
        Ok(())
    }
}

/// A sink that stops at the first finding, unless removing debug sections resolves it.
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
