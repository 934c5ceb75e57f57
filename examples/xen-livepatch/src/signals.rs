//! Signals held while a gap is open: a process that is killed in a gap leaves the host in it.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

/// Signals of faults in this program, which can't be held.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGTRAP];

/// Holds all signals while it lives, except SIGKILL and SIGSTOP, which no program can hold.
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
