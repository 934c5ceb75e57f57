//! Signals that wait until a gap is closed: whoever is killed in one leaves the host in it.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Faults of this program itself, for which waiting makes no sense.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGTRAP];

/// Signals are kept waiting while this lives. SIGKILL and SIGSTOP are not: no program can.
#[derive(Debug)]
pub(crate) struct Held {
    before: Option<SigSet>,
}

impl Held {
    pub(crate) fn new() -> Self {
        let mut all = SigSet::all();
        for fault in FAULTS {
            all.remove(fault);
        }
        let mut before = SigSet::empty();
        let held = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&all), Some(&mut before));
        Self { before: held.is_ok().then_some(before) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(before), None);
        }
    }
}
