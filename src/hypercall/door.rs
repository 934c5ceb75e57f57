//! A hypervisor, and who watches what it is asked.

use core::cell::Cell;
use core::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::event::{Hypercall, HypercallEvent};
use super::operation::Operation;
use super::{HypercallBuffer, Hypervisor, Sysctl};
use crate::types::errno::Errno;

thread_local! {
    /// Whether an observer is being told something in this thread. What it asks a client meanwhile is not told, which
    /// would go on for ever.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Who is told of each hypercall.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&HypercallEvent<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observer: impl Fn(&HypercallEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Where hypercalls go through. Where nobody watches, nothing but the hypercall is done: the clock isn't read either.
#[derive(Debug)]
pub(crate) struct Door {
    hypervisor: Box<dyn Hypervisor>,
    observer: Option<Observer>,
}

impl Door {
    pub(crate) fn new(hypervisor: Box<dyn Hypervisor>, observer: Option<Observer>) -> Self {
        Self { hypervisor, observer }
    }

    pub(crate) fn hypervisor(&self) -> &dyn Hypervisor {
        &*self.hypervisor
    }

    /// Issues a sysctl that was encoded into `block`.
    #[inline]
    pub(crate) fn sysctl(&self, block: &mut HypercallBuffer, operation: &mut impl Operation) -> Result<u32, Errno> {
        let started = self.started();
        let mut memory = operation.memory();
        let result = self.hypervisor.sysctl(&mut Sysctl::new(block, memory.as_mut_slice()));
        self.tell(started, result, || operation.about());
        result
    }

    /// Issues an `xen_version` hypercall.
    pub(crate) fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let started = self.started();
        let result = self.hypervisor.xen_version(command, argument);
        self.tell(started, result, || Hypercall::XenVersion { command });
        result
    }

    /// When a hypercall of which somebody wants to know begins.
    #[inline]
    fn started(&self) -> Option<Instant> {
        self.observer.as_ref().filter(|_| !TELLING.get()).map(|_| Instant::now())
    }

    #[inline]
    fn tell<'a>(&self, started: Option<Instant>, result: Result<u32, Errno>, call: impl FnOnce() -> Hypercall<'a>) {
        let (Some(Observer(observer)), Some(started)) = (&self.observer, started) else { return };
        let took = started.elapsed();
        let _telling = Telling::begin();
        observer(&HypercallEvent { call: call(), result, took });
    }
}

/// An observer is being told, until dropped: also where it panics.
struct Telling;

impl Telling {
    fn begin() -> Self {
        TELLING.set(true);
        Self
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(false);
    }
}
