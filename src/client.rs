//! [`LivepatchClient`]: the operations a caller sees.

mod action;
mod action_lock;
mod builder;
mod carry_out;
mod console;
mod deadline;
mod events;
mod hook_wait;
mod hooks;
mod identities;
mod idle;
mod inventory;
mod listing;
mod load;
mod options;
mod order;
mod outcome;
mod query;
mod target;
mod upload;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use console::LogWatch;

pub use action::ActionRequest;
pub use builder::ClientBuilder;
pub use events::StepEvent;
pub use options::{ActionOptions, LoadOptions, QuiesceTimeout, UploadOptions};
pub use outcome::{EnsureError, Ensured, Interrupted, Outcome};
pub use query::Capabilities;

use crate::diagnosis::{Known, Xen};
use crate::error::{Operation, Result};
use crate::hypercall::Hypervisor;
use crate::hypercall::channel::Channel;
use crate::types::PayloadName;
use crate::xen::Target;

/// A blocking client for one host's live-patching interface. `Send + Sync`: share it by reference.
///
/// Actions return when Xen has *finished* them: success means that Xen reported success and that the payload is in the
/// requested state. A client runs one action at a time; [`status`](Self::status) and [`list`](Self::list) do not wait for it.
/// Clients in other processes, and other tools, may act at the same time.
///
/// Hypercall buffers are pooled: under 1 MiB, plus one as large as the largest payload uploaded. They are not inherited across
/// `fork`: a child may drop the client but must not use it, since another thread may have held its locks.
#[derive(Debug)]
pub struct LivepatchClient {
    channel: Channel,
    action_lock: action_lock::ActionLock,
    console: console::Console,
    defaults: ActionOptions,
    target: target::KnownTarget,
    identities: identities::Identities,
}

impl LivepatchClient {
    /// Opens `/dev/xen/privcmd` (or `/proc/xen/privcmd`) and finds the interface version of this Xen.
    ///
    /// # Errors
    /// [`DeviceMissing`](crate::ErrorKind::DeviceMissing), [`NotPermitted`](crate::ErrorKind::NotPermitted), [`NotPrivcmd`](crate::ErrorKind::NotPrivcmd)
    /// (`ENOTTY`, `EBADF`), [`InterfaceNotSupported`](crate::ErrorKind::InterfaceNotSupported) (`EACCES` at every version),
    /// [`NotBuiltIn`](crate::ErrorKind::NotBuiltIn) (`ENOSYS`), [`UnsupportedMachine`](crate::ErrorKind::UnsupportedMachine),
    /// [`BufferMemory`](crate::ErrorKind::BufferMemory), [`Device`](crate::ErrorKind::Device).
    ///
    /// # Xen
    /// Any from 4.7 to 4.22. The calls are `XENVER_version` and then LIST with `nr` = 0, which change nothing.
    ///
    /// ```no_run
    /// # use xen_livepatch::*;
    /// let client = LivepatchClient::open()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_interface_open")]
    pub fn open() -> Result<Self> {
        Self::builder().open()
    }

    /// Opens the device at another path, like [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```no_run
    /// # use xen_livepatch::*;
    /// let client = LivepatchClient::open_at("/dev/xen/privcmd")?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open_at(path)
    }

    /// Creates a client on a descriptor of the device, like [`open`](Self::open). The descriptor is closed with the client.
    ///
    /// Nothing else is opened: hypercalls use locked memory, which `RLIMIT_MEMLOCK` limits.
    /// [`from_fds`](Self::from_fds) is better where the caller can open `/dev/xen/hypercall` too. A program that changes its
    /// root directory makes a [`Privcmd`](crate::hypercall::Privcmd) beforehand, since that verifies the descriptor.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`DeviceUnverified`](crate::ErrorKind::DeviceUnverified).
    ///
    /// ```no_run
    /// # use xen_livepatch::*;
    /// use std::fs::File;
    ///
    /// let device = File::options().read(true).write(true).open("/dev/xen/privcmd").unwrap();
    /// let client = LivepatchClient::from_fd(device.into())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_fd(privcmd: OwnedFd) -> Result<Self> {
        Self::builder().from_fd(privcmd)
    }

    /// Creates a client on descriptors of both devices, like [`open`](Self::open), for a program that gives up the right to
    /// open them: the client opens nothing else. The descriptors are closed with the client.
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd), and [`NotHypercallDevice`](crate::ErrorKind::NotHypercallDevice).
    ///
    /// ```no_run
    /// # use xen_livepatch::*;
    /// use std::fs::File;
    ///
    /// let open = |path| File::options().read(true).write(true).open(path).unwrap();
    /// let (privcmd, hypercall) = (open("/dev/xen/privcmd"), open("/dev/xen/hypercall"));
    /// // Here the program changes its user.
    /// let client = LivepatchClient::from_fds(privcmd.into(), hypercall.into())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_fds(privcmd: OwnedFd, hypercall: OwnedFd) -> Result<Self> {
        Self::builder().from_fds(privcmd, hypercall)
    }

    /// Creates a client of this hypervisor: a [`Privcmd`](crate::hypercall::Privcmd), or a simulated Xen.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// use xen_livepatch::sim::SimulatedXen;
    /// use xen_livepatch::Release;
    ///
    /// let client = LivepatchClient::connect(SimulatedXen::new(Release::V4_14))?;
    /// assert_eq!(client.xen_version()?.release(), (4, 14));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn connect(hypervisor: impl Hypervisor + 'static) -> Result<Self> {
        Self::builder().connect(hypervisor)
    }

    /// Returns the descriptor of the device; `None` for a simulated Xen, which has none.
    ///
    /// ```
    /// # use xen_livepatch::{sim::SimulatedXen, *};
    /// let client = LivepatchClient::connect(SimulatedXen::new(Release::V4_20))?;
    /// assert!(client.device_fd().is_none());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn device_fd(&self) -> Option<BorrowedFd<'_>> {
        self.channel.device()
    }

    /// Returns a builder, which sets deadlines, timeouts and the settle time of all actions.
    ///
    /// ```
    /// # use xen_livepatch::{sim::SimulatedXen, *};
    /// use std::time::Duration;
    ///
    /// let hurried = ActionOptions::new().deadline(Duration::from_secs(5));
    /// let client = LivepatchClient::builder().action_defaults(hurried).connect(SimulatedXen::new(Release::V4_20))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Describes the running Xen for the check of payloads: its series, architecture and build-id, and bounds on its point
    /// release.
    ///
    /// The bounds come from the text that Xen reports after its version ([`Target`]'s conversion from [`XenVersion`](crate::XenVersion)), which
    /// a live patch can change. So that text counts only if this client read it while nothing was applied, if Xen's log
    /// still begins with it, or if no applied payload replaces a function that it comes from. The last condition may need an
    /// [`inventory`](Self::inventory), which may write to the host's console. If none of them holds, the lower bound is 0,
    /// unless the date of the last commit of Xen's source confirms the text. The time at which Xen was compiled gives an upper
    /// bound.
    ///
    /// Final bounds are remembered, so that later calls make no hypercalls. [`ClientBuilder::known_target`] passes them to
    /// another process.
    ///
    /// # Errors
    /// Those of [`list`](Self::list), [`xen_version`](Self::xen_version) and [`inventory`](Self::inventory).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// let target = client.target()?;
    /// assert_eq!((target.release(), target.known_points()), ((4, 20), (4, Some(4))));
    /// client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// assert_eq!(client.xen_version()?.extra, "-fix");
    /// assert_eq!(client.target()?, target);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn target(&self) -> Result<Target> {
        inventory::target(self, None).map(Arc::unwrap_or_clone)
    }

    /// Returns the final [`target`](Self::target) if this client has determined it already, as before an upload or an apply. Keep
    /// it for [`ClientBuilder::known_target`] in another process.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// assert_eq!(client.known_target(), None);
    /// client.upload(&fix, &payload)?;
    /// assert_eq!(client.known_target(), Some(client.target()?));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn known_target(&self) -> Option<Target> {
        self.target.known(self)
    }

    /// Runs an operation on a payload. Its error names both, and carries the lines that Xen logged about the payload.
    fn watched<R>(
        &self,
        operation: Operation,
        name: &PayloadName,
        run: impl FnOnce(&LogWatch<'_>) -> Result<R>,
    ) -> Result<R> {
        let log = LogWatch::new(&self.console, &self.channel, name);
        run(&log).map_err(|error| error.during(operation).of(name).log(log.into_lines()))
    }

    /// The release and the architecture, as far as rules depend on them.
    fn xen(&self) -> Xen {
        let release = self.channel.interface.release(self.channel.release);
        Xen { release, architecture: self.channel.architecture }
    }

    fn known(&self, name: &PayloadName) -> Known {
        Known { xen: self.channel.build_id().ok(), payload: self.identities.of(name), others: self.identities.all() }
    }
}

/// Locks state, which no panic leaves half changed.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<LivepatchClient>();
        shared::<crate::Error>();
    }
}
