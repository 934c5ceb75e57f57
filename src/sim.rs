//! A whole Xen in memory, and a builder of loadable payloads: tests of code that live-patches run without Xen.
//!
//! A [`SimulatedXen`] takes the same hypercalls as the real device, byte for byte, and answers as the chosen
//! [`Release`] does: same checks in the same order, same error numbers. It reads the same ELF payloads, links and
//! relocates them, patches its own code with them, and keeps the list, the stack of applied payloads and the console
//! ring. What a payload makes of `xen_extra_version` is what `XENVER_extraversion` then tells. It can be told to be
//! slow, to fail and to change behind a client's back, see [`On`].
//!
//! Handles are cheap to clone and share one host, as processes share one Xen:
//!
//! ```
//! use xen_livepatch::sim::{Call, FunctionPatch, Pace, PayloadBuilder, SimulatedXen};
//! use xen_livepatch::{Flags, LivepatchClient, PayloadName, Release};
//!
//! let xen = SimulatedXen::new(Release::V4_17);
//! let client = LivepatchClient::builder().connect(xen.clone())?;
//!
//! let hello = PayloadBuilder::named("hello", &client.build_id()?)
//!     .function(FunctionPatch::returning("xen_extra_version", "-hello"));
//! let name = PayloadName::new("hello")?;
//! xen.set_pace(Pace::Polls(3));
//! client.upload(&name, &hello.build())?;
//! client.apply(&name, Flags::empty())?;
//!
//! assert_eq!(client.xen_version()?.to_string(), "4.17-hello");
//! assert_eq!(xen.applied(), [name]);
//! assert_eq!(xen.calls().of(Call::Apply), 1);
//! # Ok::<(), xen_livepatch::Error>(())
//! ```
//!
//! # Beyond one process
//!
//! With feature `serde` a host can be saved and read again: for command line tools, scripts and training, where each call
//! is a process of its own. `SimulatedXen`'s `Serialize` has an example.
//!
//! # What is modelled
//!
//! The rules of each point release (of a constant such as `Release::V4_17` the last one), for x86-64 and 64-bit Arm: interface version, privileges, names, the
//! checks of UPLOAD in their stages, GET, LIST, ACTION with all its silent refusals, the one outstanding action of a
//! host and the `EAGAIN` mark that stays behind when there is one already, hooks, expectations, build-ids, the
//! console, and the three `XENVER_*` that a client of live patching needs.
//!
//! Requests that would bring a real host down or damage its memory end the simulation: [`SimulatedXen::crashed`] says
//! why, and this hypercall and all later ones fail with `EIO`.
//!
//! This was held against real Xens 4.11, 4.13, 4.14, 4.17, 4.20 and 4.22 on x86-64, and 4.17 on Arm:
//! `tests/fidelity/` runs thousands of random operations on both, and every answer must be the same. What it found is
//! what those point releases do; other releases follow from reading, and an early point release may differ from the last.
//!
//! # What is not
//!
//! * Memory of the caller beyond what an answer announces: how much of a number is written before a copy meets the end
//!   of a buffer differs between releases.
//! * Time: the rendezvous of the CPUs takes [a set time](SimulatedXen::set_quiesce_time), an action as long as its
//!   [`Pace`] says, a hook after it as [`SimulatedXen::set_hook_time`] says. The other races of Xen's last steps after an action
//!   don't happen, and LIST stops early only where
//!   [`On::stop_after`] says so.
//! * Code: of hooks, `mov $imm32,%eax; ret` and `xor %eax,%eax; ret` are understood, after an ENDBR64 too, and on Arm what
//!   moves a number to `w0` and returns. Others count as returning 0, and as having done the action where they stand in for
//!   one.
//! * Xen's own functions: few are known by name, and [`HostBuilder::symbol`] adds more. Patching an address where none is
//!   changes nothing.
//! * Memory: there is always enough but where [`On::fail`] orders `ENOMEM`.
//! * The debug messages of releases before 4.13, and the exact words of most messages.
//! * Virtual machines and everything else that a Xen does.

mod action;
mod builder;
mod bytes;
mod calls;
mod console;
mod dump;
mod faults;
mod guest_memory;
mod host;
mod list;
mod machine;
mod payload;
mod payload_builder;
mod raw_hypercall;
mod request;
#[cfg(feature = "serde")]
mod saved;
mod settings;
#[cfg(test)]
mod tests;
mod upload;
mod work;
mod xen_memory;

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::xen::release::Release;
pub use builder::HostBuilder;
pub use calls::{Call, Calls};
pub use faults::{On, PendingOrder, kinds};
pub use host::Support;
pub use payload_builder::{Defect, FunctionPatch, HookCode, PayloadBuilder};
pub use raw_hypercall::{PreparedSysctl, RawAnswer, RawSysctl, RawVersion};
pub use settings::{Access, LogLevel, Pace};

use crate::error::Action;
use crate::hypercall::sealed::Sealed;
use crate::hypercall::{AllocationError, End, HypercallBuffer, Hypervisor, Sysctl};
use crate::payload::Architecture;
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::PayloadName;
use crate::types::status::{State, Status};

/// A host with a Xen of a chosen release. Clones are further ways to the same host.
#[derive(Clone)]
pub struct SimulatedXen(Arc<Shared>);

struct Shared {
    /// Held through each hypercall, as Xen serialises them.
    host: Mutex<host::Host>,
    orders: Mutex<faults::Orders>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panics in a script leaves nothing half done that matters here.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedXen {
    /// A host with this release, nothing loaded.
    #[must_use]
    pub fn new(release: Release) -> Self {
        Self::builder(release).build()
    }

    /// A host with this release that differs from the usual.
    pub fn builder(release: Release) -> HostBuilder {
        HostBuilder::new(release)
    }

    /// Another host in the state that this one is in: what happens to one of them from now on doesn't happen to the
    /// other. What was ordered stays here, and hypercalls are counted anew.
    ///
    /// ```
    /// use xen_livepatch::sim::{FunctionPatch, Pace, PayloadBuilder, SimulatedXen};
    /// use xen_livepatch::{Action, Flags, Release};
    ///
    /// let xen = SimulatedXen::new(Release::V4_20);
    /// let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fixed"));
    /// xen.other_upload("fix", &fix.build())?;
    /// xen.set_pace(Pace::Held);
    /// xen.other_start("fix", Action::Apply, Flags::empty())?;
    /// // What if it were finished?
    /// let other = xen.fork();
    /// other.finish_action();
    /// assert_eq!((xen.applied().len(), other.applied().len()), (0, 1));
    /// # Ok::<(), xen_livepatch::Errno>(())
    /// ```
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_host(self.host().clone())
    }

    fn from_host(host: host::Host) -> Self {
        Self(Arc::new(Shared { host: Mutex::new(host), orders: Mutex::default() }))
    }

    /// The host as it is now: work that is due is done.
    fn host(&self) -> MutexGuard<'_, host::Host> {
        let mut host = lock(&self.0.host);
        host.catch_up();
        host
    }

    /// The host, unless it is down.
    fn running_host(&self) -> Result<MutexGuard<'_, host::Host>, Errno> {
        let host = self.host();
        if host.crashed.is_some() { Err(host::HOST_IS_DOWN) } else { Ok(host) }
    }

    fn orders(&self) -> MutexGuard<'_, faults::Orders> {
        lock(&self.0.orders)
    }

    /// Its release.
    #[must_use]
    pub fn release(&self) -> Release {
        self.host().release
    }

    /// What it runs on.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.host().architecture
    }

    /// Its build-id, if it has one.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        self.host().build_id.as_ref().map(BuildId::new)
    }

    /// The names of all loaded payloads, in the order of their upload.
    #[must_use]
    pub fn loaded(&self) -> Vec<PayloadName> {
        self.host().payloads.iter().map(|payload| name_of(&payload.name)).collect()
    }

    /// The names of the applied payloads, from the bottom of the stack to its top.
    #[must_use]
    pub fn applied(&self) -> Vec<PayloadName> {
        let host = self.host();
        host.applied.iter().map(|id| name_of(&host.payload(*id).name)).collect()
    }

    /// The status of a payload, without a hypercall.
    #[must_use]
    pub fn status(&self, name: impl AsRef<[u8]>) -> Option<Status> {
        let (state, rc) = self.host().get(name.as_ref()).ok()?;
        Some(Status { state: if state == 2 { State::Applied } else { State::Checked }, rc })
    }

    /// How many hypercalls were made.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.orders().calls.clone()
    }

    /// Why the host is down, if it is.
    #[must_use]
    pub fn crashed(&self) -> Option<String> {
        self.host().crashed.clone()
    }

    /// What the console ring holds.
    #[must_use]
    pub fn console(&self) -> String {
        let (text, _) = self.host().console.read(None, u32::MAX);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Prints a line on the console, as other parts of Xen do.
    pub fn print(&self, line: &str) {
        self.host().console.line(line);
    }

    /// Sets how long actions take from now on.
    pub fn set_pace(&self, pace: Pace) {
        self.host().settings.pace = pace;
    }

    /// Sets how long the CPUs take to come to rest (100 µs unless set). An action with a shorter timeout fails.
    pub fn set_quiesce_time(&self, time: Duration) {
        self.host().settings.quiesce_time = time;
    }

    /// Has a virtual CPU of this domain wait inside Xen, as for its monitor, paging or sharing ring: Xen 4.13 and newer,
    /// 4.12.2 and 4.11.3 apply nothing meanwhile on x86, and REPLACE notices only after it has reverted the others.
    pub fn set_waiting_domain(&self, domain: Option<u16>) {
        self.host().settings.waiting_domain = domain;
    }

    /// Sets how long the hooks after an apply or a revert run (no time unless set), while GET and LIST show the action as
    /// finished. The log has the action's last line when they return.
    ///
    /// To unload the payload meanwhile brings the host down, but where UNLOAD waits for all CPUs: in 4.17 and from 4.18 on.
    /// So does any other action, of which a real Xen is only in danger while it has not chosen the hook yet.
    pub fn set_hook_time(&self, time: Duration) {
        self.host().settings.hook_time = time;
    }

    /// Has CPUs come or go: as long as they do no action can be scheduled (`EBUSY`, and the mark of an action under
    /// way stays behind), and one that was scheduled before fails.
    pub fn set_cpu_hotplug(&self, ongoing: bool) {
        self.host().settings.cpu_hotplug = ongoing;
    }

    /// Sets what Xen prints from now on.
    pub fn set_log_level(&self, level: LogLevel) {
        self.host().settings.log_level = level;
    }

    /// Sets what the caller may do.
    pub fn set_access(&self, access: Access) {
        self.host().settings.access = access;
    }

    /// Limits the buffers for hypercalls to this many bytes each; a larger one is refused.
    pub fn limit_buffers(&self, largest: Option<usize>) {
        self.host().settings.largest_buffer = largest;
    }

    /// Finishes the action that is under way, whatever its pace.
    pub fn finish_action(&self) {
        self.host().finish();
    }

    /// Another toolstack uploads a payload. Neither counted nor subject to what was ordered.
    ///
    /// # Errors
    /// Xen's answer.
    pub fn other_upload(&self, name: impl AsRef<[u8]>, payload: &[u8]) -> Result<(), Errno> {
        self.running_host()?.upload(name.as_ref(), || Ok(payload.to_vec())).map(drop)
    }

    /// Another toolstack starts an action, which then takes its [`Pace`].
    ///
    /// # Errors
    /// Xen's answer.
    pub fn other_start(&self, name: impl AsRef<[u8]>, action: Action, flags: Flags) -> Result<(), Errno> {
        self.running_host()?.act(name.as_ref(), action::number(action), 0, flags.bits()).map(drop)
    }

    /// Another toolstack starts an action and waits for its end.
    ///
    /// # Errors
    /// Xen's answer, or how the action ended.
    pub fn other_action(&self, name: impl AsRef<[u8]>, action: Action, flags: Flags) -> Result<(), Errno> {
        self.other_start(&name, action, flags)?;
        self.finish_action();
        match self.status(name).map(|status| status.rc) {
            None | Some(0) => Ok(()),
            Some(rc) => Err(Errno::new(rc.wrapping_neg())),
        }
    }
}

/// A name as Xen keeps it, which may be empty.
fn name_of(bytes: &[u8]) -> PayloadName {
    let with_nul = [bytes, &[0]].concat();
    let len = with_nul.len();
    PayloadName::from_xen(&with_nul.into(), 0..len)
        .expect("the simulated Xen keeps names of up to 127 bytes without a NUL")
}

impl Hypervisor for SimulatedXen {}

impl Sealed for SimulatedXen {
    fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno> {
        let address = call.address();
        let block = call.memory(address, request::SIZE).and_then(|bytes| bytes.first_chunk().copied());
        let block = block.ok_or(Errno::EFAULT)?;
        let faults = self.orders().meet(request::sysctl_kind(&block));
        faults.run_before(self);
        let result = request::sysctl(&mut self.host(), address, block, call, &faults);
        faults.run_after(self);
        result
    }

    fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let faults = self.orders().meet(request::version_kind(command));
        faults.run_before(self);
        let mut argument = argument;
        let result = request::xen_version(&mut self.host(), command, argument.as_mut(), &faults);
        faults.run_after(self);
        result
    }

    fn architecture(&self) -> crate::Result<Architecture> {
        Ok(self.host().architecture)
    }

    fn allocate(&self, len: usize, end: End) -> Result<HypercallBuffer, AllocationError> {
        match self.host().settings.largest_buffer {
            Some(largest) if len > largest => Err(AllocationError { bytes: len, errno: Errno::ENOMEM }),
            _ => HypercallBuffer::plain(len, end),
        }
    }
}

impl fmt::Debug for SimulatedXen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedXen")
            .field("release", &self.release())
            .field("loaded", &self.loaded())
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}
