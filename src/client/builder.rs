//! The builder of clients.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::LivepatchClient;
use super::action_lock::ActionLock;
use super::console::Console;
use super::identities::Identities;
use super::options::ActionOptions;
use super::target::KnownTarget;
use crate::error::{Operation, Result};
use crate::hypercall::channel::{Channel, Observer};
use crate::hypercall::{HypercallEvent, Hypervisor, Privcmd};
use crate::inventory::KnownIdentities;
use crate::xen::Target;

/// The longest time that Xen uses a payload after it has published the result of an action on it.
const SETTLE_TIME: Duration = Duration::from_millis(5);

/// The longest time that a hook may run after its action, if nothing shows its end: Xen's own watchdog considers a processor
/// that is inside one for longer as hung.
const HOOK_TIME: Duration = Duration::from_secs(5);

/// A builder of [`LivepatchClient`]s.
///
/// ```no_run
/// use std::time::Duration;
/// use xen_livepatch::{ActionOptions, LivepatchClient, QuiesceTimeout};
///
/// let large_host = ActionOptions::new()
///     .quiesce_timeout(QuiesceTimeout::new(Duration::from_millis(300))?)
///     .quiesce_retries(3)
///     .deadline(Duration::from_secs(60));
/// let client = LivepatchClient::builder().action_defaults(large_host).open()?;
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ClientBuilder {
    defaults: ActionOptions,
    settle_time: Option<Duration>,
    hook_time: Option<Duration>,
    without_xen_log: bool,
    interface: Option<u32>,
    observer: Option<Observer>,
    target: Option<Target>,
    identities: Option<KnownIdentities>,
}

impl ClientBuilder {
    /// Default options for actions; per-call options take precedence.
    pub fn action_defaults(mut self, options: ActionOptions) -> Self {
        self.defaults = options;
        self
    }

    /// Sets the time for which the next action of this client waits after a finished one (default: 5 ms), since Xen still uses
    /// the payload for a moment. The call that finished does not wait.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settle_time = Some(time);
        self
    }

    /// Sets the longest time that a hook of a payload takes after an apply or a revert (default: 5 s).
    ///
    /// Xen reports an action as finished before it calls the hook, and reports the hook's end only in its log, at
    /// `loglvl=info` and above. Xen 4.14 to 4.16, 4.17.0 to 4.17.3 and 4.18.0 crash if the payload is unloaded meanwhile.
    /// Newer ones wait for the hook themselves, unless it calls Xen's `process_pending_softirqs`: then they crash as well (seen on
    /// 4.17.7). So [`unload`](LivepatchClient::unload) and the cleanup of [`load`](LivepatchClient::load) first wait for
    /// evidence that no hook of the payload is running. They do so on the older releases and those that may be older, and on
    /// all releases for a payload with such hooks that this client uploaded. The evidence is one of these:
    ///
    /// * the payload has no such hooks, as shown by the file that this client uploaded, or by a REPLACE with it or of it;
    /// * Xen's log reports the end of the last action;
    /// * a later action of the same plan has succeeded, which requires every processor to be outside hooks.
    ///
    /// Without evidence they wait for this time. [`HookMayBeRunning`](crate::ErrorKind::HookMayBeRunning) is the error if the
    /// deadline leaves less, or if Xen's log shows that the hook is still running then.
    ///
    /// Other actions, on every Xen since 4.14, wait as long for hooks of payloads that this client uploaded and for hooks that
    /// Xen's log shows.
    pub fn hook_time(mut self, time: Duration) -> Self {
        self.hook_time = Some(time);
        self
    }

    /// Never reads Xen's log: errors contain none of its lines, no debug key is sent to explain one, and uploads and actions make
    /// one hypercall less.
    pub fn without_xen_log(mut self) -> Self {
        self.without_xen_log = true;
        self
    }

    /// Uses this interface version of the sysctl hypercall (`XEN_SYSCTL_INTERFACE_VERSION`), and tries no other.
    ///
    /// For a Xen that is newer than this crate. A later version than that of 4.22 is assumed to have the layout of 4.22; a
    /// version that this crate knows has the layout of its release.
    ///
    /// # Safety
    /// Xen reads and writes memory at addresses that it finds in a request. If a Xen has a later version than that of 4.22,
    /// its `XEN_SYSCTL_LIVEPATCH_*`, `readconsole` and `debug_keys` operations must be laid out as in 4.22: otherwise it may
    /// misinterpret other bytes as addresses, and overwrite any memory of this process.
    #[allow(unsafe_code, reason = "the layout of an unknown interface version can't be verified")]
    pub unsafe fn interface_version(mut self, version: u32) -> Self {
        self.interface = Some(version);
        self
    }

    /// Sets bounds on the point release of the running Xen, such as those of [`LivepatchClient::target`] in an earlier process,
    /// before a payload changed the version text. They count only for a Xen of the same series with the same build-id.
    pub fn known_target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Sets the identities of loaded payloads, such as [`LivepatchClient::known_identities`] of an earlier process in the same
    /// boot. They count as long as nothing has been uploaded or unloaded since, and only for the Xen with the same build-id.
    pub fn known_identities(mut self, identities: KnownIdentities) -> Self {
        self.identities = Some(identities);
        self
    }

    /// Registers an observer that is called after every hypercall, including the version probes of `open`, with its result and
    /// the time that it took. Without an observer, no time is measured.
    ///
    /// It runs in the thread that made the hypercall, before the client evaluates the result, so its own time is added to the
    /// operation. It may be called in several threads at once. Setting it again replaces the previous observer.
    ///
    /// No observer, of this or of another client, is called for hypercalls that an observer makes. During an action or an
    /// upload of the client, the observer can't act, upload, or take an inventory that sends the debug key: such calls fail
    /// at once ([`InsideOperation`](crate::ErrorKind::InsideOperation)).
    ///
    /// If it panics, so does the operation. Xen still carries out the hypercall that was made, but its result is lost. The client
    /// remains usable, and [`wait`](LivepatchClient::wait) reports the end of an action that was sent.
    ///
    /// ```
    /// # use xen_livepatch::{sim::SimulatedXen, *};
    /// let client = LivepatchClient::builder()
    ///     .on_hypercall(|event| eprintln!("{event}"))
    ///     .connect(SimulatedXen::new(Release::V4_20))?;
    /// // LIVEPATCH_LIST: 0 in 0.004 ms
    /// client.list()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn on_hypercall(mut self, observer: impl Fn(&HypercallEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// Opens the usual device, see [`LivepatchClient::open`].
    ///
    /// # Errors
    /// As [`LivepatchClient::open`].
    pub fn open(self) -> Result<LivepatchClient> {
        self.connect(Privcmd::open()?)
    }

    /// Opens the device at another path.
    ///
    /// # Errors
    /// As [`LivepatchClient::open`].
    pub fn open_at(self, path: impl AsRef<Path>) -> Result<LivepatchClient> {
        self.connect(Privcmd::open_at(path)?)
    }

    /// Uses a descriptor of the device, see [`LivepatchClient::from_fd`].
    ///
    /// # Errors
    /// As [`LivepatchClient::from_fd`].
    pub fn from_fd(self, privcmd: OwnedFd) -> Result<LivepatchClient> {
        self.connect(Privcmd::from_fd(privcmd)?)
    }

    /// Uses descriptors of both devices, see [`LivepatchClient::from_fds`].
    ///
    /// # Errors
    /// As [`LivepatchClient::from_fds`].
    pub fn from_fds(self, privcmd: OwnedFd, hypercall: OwnedFd) -> Result<LivepatchClient> {
        self.connect(Privcmd::from_fds(privcmd, hypercall)?)
    }

    /// Uses this hypervisor.
    ///
    /// # Errors
    /// As [`LivepatchClient::open`].
    pub fn connect(self, hypervisor: impl Hypervisor + 'static) -> Result<LivepatchClient> {
        let channel = Channel::open(Box::new(hypervisor), self.observer, self.interface);
        let channel = channel.map_err(|error| error.during(Operation::Open))?;
        let (settle_time, hook_time) = (self.settle_time.unwrap_or(SETTLE_TIME), self.hook_time.unwrap_or(HOOK_TIME));
        Ok(LivepatchClient {
            channel,
            action_lock: ActionLock::new(settle_time, hook_time),
            console: if self.without_xen_log { Console::off() } else { Console::default() },
            defaults: self.defaults,
            target: KnownTarget::new(self.target),
            identities: Identities::new(self.identities),
        })
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::hypercall::interface::Interface;
    use crate::hypercall::sealed::Sealed;
    use crate::hypercall::{AllocationError, End, HypercallBuffer, Sysctl};
    use crate::sim::{Call, SimulatedXen};
    use crate::types::{Errno, to_u64};
    use crate::xen::Release;

    /// A Xen that reports another release than its own.
    #[derive(Debug)]
    struct Claims(SimulatedXen, u32);

    impl Hypervisor for Claims {}

    impl Sealed for Claims {
        fn sysctl(&self, call: &mut Sysctl<'_>) -> core::result::Result<u32, Errno> {
            self.0.sysctl(call)
        }

        fn xen_version(
            &self,
            command: u32,
            argument: Option<&mut HypercallBuffer>,
        ) -> core::result::Result<u32, Errno> {
            if command == 0 { Ok(self.1) } else { self.0.xen_version(command, argument) }
        }

        fn architecture(&self) -> Result<crate::xen::Architecture> {
            Ok(self.0.architecture())
        }

        fn allocate(&self, len: usize, end: End) -> core::result::Result<HypercallBuffer, AllocationError> {
            self.0.allocate(len, end)
        }
    }

    #[test]
    fn the_interface_version_is_found_whatever_xen_calls_itself() {
        for release in Release::ALL {
            for (major, minor) in [(4, 6), (4, 0xffff), (5, 0), (4, 7), (4, 22), (4, 17), (0xffff, 0xffff)] {
                let xen = SimulatedXen::new(release);
                let claims = Claims(xen.clone(), major << 16 | minor);
                let client = ClientBuilder::default().connect(claims).unwrap();
                let tried = xen.calls().of(Call::List);
                assert!((1..=to_u64(Interface::candidates((4, 17)).count())).contains(&tried), "{tried}");
                assert_eq!(client.list().unwrap(), [], "{release} as {major}.{minor}");
                let version = client.xen_version().unwrap();
                assert_eq!((u32::from(version.major), u32::from(version.minor)), (major, minor));
            }
        }
    }
}
