//! A simulated Xen in memory, and a builder of loadable payloads, for tests of code that live-patches.
//!
//! A [`SimulatedXen`] takes the same hypercalls as the real device, byte for byte, and answers like the chosen [`Release`]:
//! the same checks in the same order, with the same error numbers. It reads the same ELF payloads, links and relocates
//! them, patches its own code with them, and keeps the list, the stack of applied payloads and the console ring. A payload
//! that patches `xen_extra_version` changes the answer of `XENVER_extraversion`. A simulated Xen can be made slow, made to
//! fail, or changed between calls, see [`On`].
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
//! With feature `serde` a host can be saved and read again, for command-line tools, scripts and training in which each call
//! is a process of its own. `Serialize` for `SimulatedXen` has an example.
//!
//! # Model
//!
//! The rules of each point release (a constant such as `Release::V4_17` is the last one), for x86-64 and 64-bit Arm:
//! interface version, privileges, names, the checks of UPLOAD in their stages, GET, LIST, ACTION with all its silent
//! refusals, the one outstanding action of a host and the `EAGAIN` mark that stays behind when there is one already, hooks,
//! expectations, build-ids, the console, and the `XENVER_*` calls that a client of live patching needs.
//!
//! Requests that would bring a real host down or damage its memory end the simulation: [`SimulatedXen::crashed`] returns
//! the reason, and this hypercall and all later ones fail with `EIO`.
//!
//! The model was compared with real Xens 4.11, 4.13, 4.14, 4.17, 4.20 and 4.22 on x86-64, and 4.17 on Arm:
//! `tests/fidelity/` runs thousands of random operations on both and requires equal answers. The rules of other releases
//! come from reading the source, and an early point release may differ from the last one of its series.
//!
//! # Limits
//!
//! * Memory of the caller beyond what an answer announces: the number of bytes written before a copy meets the end of a
//!   buffer differs between releases.
//! * Time: the rendezvous of the CPUs takes [a set time](SimulatedXen::set_quiesce_time), an action the time of its
//!   [`Pace`], and a hook after it that of [`SimulatedXen::set_hook_time`]. The other races of Xen's last steps after an
//!   action don't happen, and LIST stops early only after [`On::stop_after`].
//! * Code: the simulator understands hooks that consist of `mov $imm32,%eax; ret` or `xor %eax,%eax; ret`, also after an
//!   ENDBR64, and on Arm of code that moves a number to `w0` and returns. Other hooks count as returning 0, and as having
//!   done the action that they replace.
//! * Xen's own functions: few are known by name, and [`HostBuilder::symbol`] adds more. Patching an address without a
//!   function changes nothing.
//! * Memory: there is always enough, except after [`On::fail`] with `ENOMEM`.
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

pub use builder::HostBuilder;
pub use calls::{Call, Calls};
pub use faults::{On, PendingOrder, kinds};
pub use host::Support;
pub use payload_builder::{Defect, FunctionPatch, HookCode, PayloadBuilder};
pub use raw_hypercall::{PreparedSysctl, RawAnswer, RawSysctl, RawVersion};
pub use settings::{Access, LogLevel, Pace};

use crate::hypercall::sealed::Sealed;
use crate::hypercall::{AllocationError, End, HypercallBuffer, Hypervisor, Sysctl};
use crate::types::{Action, BuildId, Errno, Flags, PayloadName, State, Status};
use crate::xen::{Architecture, Release};

/// A host with a Xen of a chosen release. Clones share the host.
#[derive(Clone)]
pub struct SimulatedXen(Arc<Shared>);

struct Shared {
    /// Held through each hypercall, as Xen serialises them.
    host: Mutex<host::Host>,
    orders: Mutex<faults::Orders>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A script that panics runs outside of any change to the host.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedXen {
    /// A host with this release and without payloads.
    #[must_use]
    pub fn new(release: Release) -> Self {
        Self::builder(release).build()
    }

    /// A builder of a host with this release and other settings.
    pub fn builder(release: Release) -> HostBuilder {
        HostBuilder::new(release)
    }

    /// Returns another host in the same state, independent of this one. Orders for faults are not copied, and the count of
    /// hypercalls starts at 0.
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
    /// // Finished on one of them.
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

    /// The host, after the work that is due by now.
    fn host(&self) -> MutexGuard<'_, host::Host> {
        let mut host = lock(&self.0.host);
        host.catch_up();
        host
    }

    /// The host; an error if it is down.
    fn running_host(&self) -> Result<MutexGuard<'_, host::Host>, Errno> {
        let host = self.host();
        if host.crashed.is_some() { Err(host::HOST_IS_DOWN) } else { Ok(host) }
    }

    fn orders(&self) -> MutexGuard<'_, faults::Orders> {
        lock(&self.0.orders)
    }

    /// Makes a hypercall, with the faults that were ordered for it.
    fn call(
        &self,
        kind: Call,
        carry_out: impl FnOnce(&mut host::Host, &faults::Faults) -> Result<u32, Errno>,
    ) -> Result<u32, Errno> {
        let faults = self.orders().meet(kind);
        faults.run_before(self);
        let result = self.running_host().and_then(|mut host| match faults.error() {
            Some(errno) => Err(errno),
            None => carry_out(&mut host, &faults),
        });
        faults.run_after(self);
        result
    }

    /// Returns the release of Xen.
    #[must_use]
    pub fn release(&self) -> Release {
        self.host().release
    }

    /// Returns the architecture.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.host().architecture
    }

    /// Returns the build-id of Xen, if it has one.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        self.host().build_id.as_ref().map(BuildId::new)
    }

    /// Returns the names of all loaded payloads, in the order of their upload.
    #[must_use]
    pub fn loaded(&self) -> Vec<PayloadName> {
        self.host().payloads.iter().map(|payload| name_of(&payload.name)).collect()
    }

    /// Returns the names of the applied payloads, lowest first.
    #[must_use]
    pub fn applied(&self) -> Vec<PayloadName> {
        let host = self.host();
        host.applied.iter().map(|id| name_of(&host.payload(*id).name)).collect()
    }

    /// Returns the status of a payload, without a hypercall.
    #[must_use]
    pub fn status(&self, name: impl AsRef<[u8]>) -> Option<Status> {
        let (state, rc) = self.host().get(name.as_ref()).ok()?;
        Some(Status { state: if state == 2 { State::Applied } else { State::Checked }, rc })
    }

    /// Returns the numbers of hypercalls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.orders().calls.clone()
    }

    /// Returns the reason if the host is down.
    #[must_use]
    pub fn crashed(&self) -> Option<String> {
        self.host().crashed.clone()
    }

    /// Returns the contents of the console ring.
    #[must_use]
    pub fn console(&self) -> String {
        let (text, _) = self.host().console.read(None, u32::MAX);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Prints a line on the console, like another part of Xen.
    pub fn print(&self, line: &str) {
        self.host().console.line(line);
    }

    /// Sets the pace of later actions.
    pub fn set_pace(&self, pace: Pace) {
        self.host().settings.pace = pace;
    }

    /// Sets the time that the CPUs take to come to rest (100 µs by default). An action with a shorter timeout fails.
    pub fn set_quiesce_time(&self, time: Duration) {
        self.host().settings.quiesce_time = time;
    }

    /// Sets the domain that has a virtual CPU waiting inside Xen, as for its monitor, paging or sharing ring. Meanwhile Xen
    /// 4.13 and newer, 4.12.2 and 4.11.3 apply nothing on x86, and REPLACE fails only after it has reverted the others.
    pub fn set_waiting_domain(&self, domain: Option<u16>) {
        self.host().settings.waiting_domain = domain;
    }

    /// Sets the run time of hooks after an apply or a revert (none by default). Meanwhile GET and LIST show the action as
    /// finished. Its last line is logged when the hook returns.
    ///
    /// Unloading the payload meanwhile brings the host down, unless UNLOAD waits for all CPUs, as from 4.17.4, 4.18.1 and
    /// 4.19 on. So does any other action; on a real Xen, that is dangerous only until Xen has chosen the hook.
    pub fn set_hook_time(&self, time: Duration) {
        self.host().settings.hook_time = time;
    }

    /// Sets whether CPUs are being added or removed. Meanwhile no action can be scheduled (`EBUSY`, and the mark of a pending
    /// action stays behind), and one that was scheduled before fails.
    pub fn set_cpu_hotplug(&self, ongoing: bool) {
        self.host().settings.cpu_hotplug = ongoing;
    }

    /// Sets the log level.
    pub fn set_log_level(&self, level: LogLevel) {
        self.host().settings.log_level = level;
    }

    /// Sets the privileges of the caller.
    pub fn set_access(&self, access: Access) {
        self.host().settings.access = access;
    }

    /// Limits the size in bytes of each buffer for hypercalls; allocating a larger one fails.
    pub fn limit_buffers(&self, largest: Option<usize>) {
        self.host().settings.largest_buffer = largest;
    }

    /// Finishes the action under way, whatever its pace.
    pub fn finish_action(&self) {
        self.host().finish();
    }

    /// Uploads a payload as another toolstack. This is neither counted nor subject to orders for faults.
    ///
    /// # Errors
    /// Xen's answer.
    pub fn other_upload(&self, name: impl AsRef<[u8]>, payload: &[u8]) -> Result<(), Errno> {
        self.running_host()?.upload(name.as_ref(), || Ok(payload.to_vec())).map(drop)
    }

    /// Starts an action as another toolstack. It takes the time that [`Pace`] sets.
    ///
    /// # Errors
    /// Xen's answer.
    pub fn other_start(&self, name: impl AsRef<[u8]>, action: Action, flags: Flags) -> Result<(), Errno> {
        self.running_host()?.act(name.as_ref(), action::number(action), 0, flags.bits()).map(drop)
    }

    /// Starts and finishes an action as another toolstack.
    ///
    /// # Errors
    /// Xen's answer, or the result of the action.
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
        self.call(request::sysctl_kind(&block), |host, faults| request::sysctl(host, address, block, call, faults))
    }

    fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let mut argument = argument;
        self.call(request::version_kind(command), |host, faults| {
            request::xen_version(host, command, argument.as_mut(), faults)
        })
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
