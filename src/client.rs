//! [`LivepatchClient`]: the operations a caller sees.

mod action;
mod action_lock;
mod builder;
mod capabilities;
mod carry_out;
mod console;
mod deadline;
mod events;
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
mod request;
mod target;
mod upload;
mod watched;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadline::Deadline;
use upload::Uploading;

pub use builder::ClientBuilder;
pub use capabilities::Capabilities;
pub use events::StepEvent;
pub use options::{ActionOptions, LoadOptions, QuiesceTimeout, UploadOptions};
pub use outcome::{EnsureError, Interrupted, Outcome};
pub use request::ActionRequest;

use crate::error::{Action, Error, ErrorKind, Operation, Result};
use crate::hypercall::Hypervisor;
use crate::hypercall::channel::{CallError, Channel};
use crate::payload::{Payload, Target};
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::PayloadName;
use crate::types::status::{LoadedPayload, Status};
use crate::types::version::XenVersion;

/// A client of one Xen's live patching. Blocking; shared between threads as it is.
///
/// Actions return when Xen has *finished* them: success means that Xen reported success and that the payload is in the
/// state asked for. One client runs one action at a time; [`status`](Self::status) and [`list`](Self::list) are not held
/// up. Clients in other processes, and other tools, may act at the same time.
///
/// Memory for hypercalls is kept from call to call: when nothing runs, less than 1 MiB and what the largest payload took. A forked child doesn't have it:
/// there the client can be dropped without harm, but should not be used, since another thread may have held its locks.
#[derive(Debug)]
pub struct LivepatchClient {
    channel: Channel,
    turn: action_lock::ActionLock,
    console: console::Console,
    defaults: ActionOptions,
    /// What payloads are checked against; this Xen doesn't change.
    target: target::KnownTarget,
    identities: identities::Identities,
}

impl LivepatchClient {
    /// Opens `/dev/xen/privcmd` (or `/proc/xen/privcmd`) and finds the interface version that this Xen speaks.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceMissing`], [`NotPermitted`](ErrorKind::NotPermitted), [`NotPrivcmd`](ErrorKind::NotPrivcmd)
    /// (`ENOTTY`, `EBADF`), [`InterfaceNotSupported`](ErrorKind::InterfaceNotSupported) (`EACCES` at every version),
    /// [`NotBuiltIn`](ErrorKind::NotBuiltIn) (`ENOSYS`), [`UnsupportedMachine`](ErrorKind::UnsupportedMachine),
    /// [`BufferMemory`](ErrorKind::BufferMemory), [`Device`](ErrorKind::Device).
    ///
    /// # Xen
    /// Any from 4.7 to 4.22. Asks `XENVER_version`, then LIST with `nr` = 0, which changes nothing.
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

    /// As [`open`](Self::open), with the device at another path.
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

    /// As [`open`](Self::open), with a descriptor of the device that the caller opened. It is closed at the end.
    ///
    /// Nothing else is opened: hypercalls use locked memory, which `RLIMIT_MEMLOCK` limits.
    /// [`from_fds`](Self::from_fds) is better where the caller can open `/dev/xen/hypercall` too. A program that changes
    /// its root directory makes a [`Privcmd`](crate::hypercall::Privcmd) before, since that verifies the descriptor.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`DeviceUnverified`](ErrorKind::DeviceUnverified).
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

    /// As [`open`](Self::open), with descriptors of both devices that the caller opened, for a program that then gives
    /// up the right to open them: nothing else is opened, ever. They are closed at the end.
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd), and [`NotHypercallDevice`](ErrorKind::NotHypercallDevice).
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

    /// A client of this hypervisor: a [`Privcmd`](crate::hypercall::Privcmd), or a simulated Xen.
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

    /// The descriptor of the device; `None` with a simulated Xen, which has none.
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

    /// A builder, to set deadlines, timeouts and the settle time for all actions.
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

    /// Uploads a payload: Xen loads, links and checks it, and it is [`Checked`](crate::State::Checked). Nothing is patched yet.
    ///
    /// While this client runs an action, uploads wait for it, as long as an action may take: a processor that is inside
    /// an upload can't be stopped.
    ///
    /// # Errors
    /// Before Xen is asked: [`EmptyPayload`](ErrorKind::EmptyPayload), [`PayloadTooLarge`](ErrorKind::PayloadTooLarge) (over 2 MiB),
    /// [`InvalidPayload`](ErrorKind::InvalidPayload) (not a payload at all), [`BuiltForAnotherXen`](ErrorKind::BuiltForAnotherXen),
    /// [`UnfitPayload`](ErrorKind::UnfitPayload), [`OperationInProgress`](ErrorKind::OperationInProgress),
    /// [`DeadlinePassed`](ErrorKind::DeadlinePassed).
    ///
    /// From Xen: [`AlreadyLoaded`](ErrorKind::AlreadyLoaded) (`EEXIST`), [`InvalidPayload`](ErrorKind::InvalidPayload)
    /// (`EINVAL`, `EOPNOTSUPP`, `ENOENT`, `EOVERFLOW`, `ERANGE`, `ENOEXEC`, `ENODATA`),
    /// [`BuiltForAnotherXen`](ErrorKind::BuiltForAnotherXen) (`EINVAL`), [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`),
    /// [`XenOutOfMemory`](ErrorKind::XenOutOfMemory) (`ENOMEM`). A refused upload leaves nothing behind.
    ///
    /// After `EEXIST`, unless Xen's log names a symbol, an [`inventory`](Self::inventory) is taken to find a payload with the
    /// same build-id: a debug key is pressed once, if not all are known, and unless the client is to leave Xen's log alone.
    ///
    /// After `EFAULT` the list is read: [`Fault`](ErrorKind::Fault) if the payload is not there, and
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) if one of this name is, since it may be this one or an older one
    /// ([`AlreadyLoaded`](ErrorKind::AlreadyLoaded) where its metadata tell that it is another).
    ///
    /// And those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// From 4.14 on Xen compares the payload's `.livepatch.xen_depends` with its own build-id.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// assert_eq!(client.status(&fix)?.state, State::Checked);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_upload")]
    pub fn upload(&self, name: &PayloadName, payload: &[u8]) -> Result<()> {
        self.upload_with(name, payload, UploadOptions::new())
    }

    /// As [`upload`](Self::upload), with options.
    ///
    /// # Errors
    /// As [`upload`](Self::upload), and [`UnsupportedForce`](ErrorKind::UnsupportedForce) where this Xen does not understand FORCE.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload_with(&fix, &payload, UploadOptions::new().force())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_with(&self, name: &PayloadName, payload: &[u8], options: UploadOptions) -> Result<()> {
        self.watched(Operation::Upload, name, |watch| {
            Uploading { client: self, watch, name, options, turn: None }.bytes(payload)
        })
    }

    /// Uploads a payload from a file, which is read straight into the memory that Xen reads.
    ///
    /// # Errors
    /// As [`upload`](Self::upload), and [`File`](ErrorKind::File) where it can't be read or changes meanwhile.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # let file = std::env::temp_dir().join(format!("upload-file-{}", std::process::id()));
    /// # std::fs::write(&file, payload).unwrap();
    /// client.upload_file(&fix, &file)?;
    /// assert!(client.upload_file(&fix, "/no/such/file").is_err());
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_file(&self, name: &PayloadName, path: impl AsRef<Path>) -> Result<()> {
        self.upload_file_with(name, path, UploadOptions::new())
    }

    /// As [`upload_file`](Self::upload_file), with options.
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file) and [`upload_with`](Self::upload_with).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, _) = doctest::fix()?;
    /// let error = client.upload_file_with(&fix, "/no/such/file", UploadOptions::new().force()).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::File { .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_file_with(&self, name: &PayloadName, path: impl AsRef<Path>, options: UploadOptions) -> Result<()> {
        let path = path.as_ref();
        self.watched(Operation::Upload, name, |watch| {
            Uploading { client: self, watch, name, options, turn: None }.file(path)
        })
    }

    /// Uploads the payload of a file under the file's name less its last suffix (`/x/xsa-500.livepatch` becomes
    /// `xsa-500`) and applies it, with [`Flags`] or [`LoadOptions`]. If it can't be applied, it is unloaded again;
    /// [`Error::cleanup`] has the result of that.
    ///
    /// # Errors
    /// [`InvalidName`](ErrorKind::InvalidName), and those of [`Payload::read`], [`upload_with`](Self::upload_with) and
    /// [`apply`](Self::apply). Where the payload stays loaded, because it may be applied, because another tool has applied it
    /// or because it could not be unloaded, [`Error::may_have_happened`] is true, and [`Error::is_retryable`] is not: the
    /// next call would meet [`AlreadyLoaded`](ErrorKind::AlreadyLoaded).
    ///
    /// If Xen can't report the result of the upload (`EFAULT`), an [`inventory`](Self::inventory) is taken, and a payload
    /// that was not there before and has this one's build-id is unloaded again.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, _, payload) = doctest::fix()?;
    /// # let file = std::env::temp_dir().join(format!("xsa-500-{}.livepatch", std::process::id()));
    /// # std::fs::write(&file, payload).unwrap();
    /// let name = client.load(&file, Flags::empty())?;
    /// assert_eq!(client.status(&name)?.state, State::Applied);
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn load(&self, path: impl AsRef<Path>, options: impl Into<LoadOptions>) -> Result<PayloadName> {
        let path = path.as_ref();
        let name = PayloadName::of_file(path).map_err(|error| Error::from(error).during(Operation::Upload))?;
        let payload = Payload::read(path).map_err(|error| error.during(Operation::Upload).of(&name))?;
        self.load_as(&name, &payload, options)?;
        Ok(name)
    }

    /// As [`load`](Self::load), of a payload that was read already, under a name of the caller's choice.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = doctest::fix()?;
    /// use std::time::Duration;
    ///
    /// let payload = Payload::parse(&bytes)?;
    /// let in_a_hurry = ActionOptions::new().deadline(Duration::from_secs(5));
    /// client.load_as(&fix, &payload, LoadOptions::new().flags(Flags::NODEPS).action(in_a_hurry))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn load_as(&self, name: &PayloadName, payload: &Payload, options: impl Into<LoadOptions>) -> Result<()> {
        load::load(self, name, payload, options.into())
    }

    /// The running Xen, as payloads are checked against it: its series, architecture and build-id, and bounds on its point
    /// release.
    ///
    /// The bounds come from the text that Xen reports after its version ([`Target`]'s conversion from [`XenVersion`]), which
    /// a live patch can change. So that text counts if it was read by this client while nothing was applied, if Xen's log
    /// still begins with it, or if no applied payload replaces a function that it comes from; to find that out, this may
    /// take an [`inventory`](Self::inventory), which may write to the host's console. Where none of that holds, the lower bound
    /// is 0, unless the date of the last commit of Xen's source confirms the text. The time at which Xen was compiled gives
    /// an upper bound.
    ///
    /// Once the bounds can't change any more they are remembered: later calls ask Xen nothing.
    /// [`ClientBuilder::known_target`] takes them over into another process.
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

    /// The running Xen as [`target`](Self::target) gives it, if that can't change any more and this client has found it out
    /// on the way, before an upload or an apply: to be kept for [`ClientBuilder::known_target`] in another process.
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

    /// Puts a payload into effect on top of what is applied.
    ///
    /// By default its `.livepatch.depends` must be the build-id of the payload applied last, or Xen's own when none is.
    /// [`Flags::NODEPS`] lifts that; what the payload says about Xen itself was checked at upload and still holds.
    ///
    /// # Errors
    /// Before Xen is asked: [`UnsupportedFlag`](ErrorKind::UnsupportedFlag), [`NoSuchPayload`](ErrorKind::NoSuchPayload),
    /// [`WrongState`](ErrorKind::WrongState) when it is applied already (Xen itself calls that a success),
    /// [`OperationInProgress`](ErrorKind::OperationInProgress), [`DeadlinePassed`](ErrorKind::DeadlinePassed),
    /// [`ListKeptChanging`](ErrorKind::ListKeptChanging).
    ///
    /// Xen refuses it: [`DependsOnAnother`](ErrorKind::DependsOnAnother), [`ExpectationNotMet`](ErrorKind::ExpectationNotMet)
    /// or [`DependencyOrExpectation`](ErrorKind::DependencyOrExpectation) (`EINVAL`, `ERANGE`, `EFAULT`),
    /// [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`), [`HookRefused`](ErrorKind::HookRefused) (any number), and
    /// [`Unexplained`](ErrorKind::Unexplained) where it may have been a hook or not.
    ///
    /// It fails: [`QuiesceTimeout`](ErrorKind::QuiesceTimeout) (`EBUSY`),
    /// [`ReapplyNeedsReupload`](ErrorKind::ReapplyNeedsReupload) (`EINVAL`), [`ActionFailed`](ErrorKind::ActionFailed).
    ///
    /// What came of it is not known: [`Unfinished`](ErrorKind::Unfinished) at the deadline,
    /// [`StaleInProgress`](ErrorKind::StaleInProgress), [`Overtaken`](ErrorKind::Overtaken) by another tool,
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown). [`wait`](Self::wait) goes on from there.
    ///
    /// And those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault) (`EFAULT`),
    /// [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// `NODEPS` is from 4.14 on; on an older Xen it is an error, as Xen would not look at it.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// assert_eq!(client.xen_version()?.extra, "-fix");
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_apply")]
    pub fn apply(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Apply, name).flags(flags).run()
    }

    /// Takes a payload out of effect. Only the one applied last can be.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) when it is not applied (Xen itself calls that a success),
    /// [`NotOnTop`](ErrorKind::NotOnTop) (`EBUSY`), [`HookRefused`](ErrorKind::HookRefused),
    /// [`Unexplained`](ErrorKind::Unexplained), and those of [`apply`](Self::apply) that do not come from its dependency,
    /// its expectations or an earlier revert.
    ///
    /// # Xen
    /// No release has a flag for this.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// client.apply(&fix, Flags::empty())?;
    /// client.revert(&fix, Flags::empty())?;
    /// let error = client.revert(&fix, Flags::empty()).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::WrongState { .. }));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_revert")]
    pub fn revert(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Revert, name).flags(flags).run()
    }

    /// Reverts everything that is applied and puts this payload into effect instead, all while the CPUs are stopped
    /// once. The replaced payloads stay loaded.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) when it is applied already (Xen itself calls that a success, and leaves others applied),
    /// [`DependsOnAnother`](ErrorKind::DependsOnAnother) when its `.livepatch.depends` is not *Xen's* build-id,
    /// [`NoBuildId`](ErrorKind::NoBuildId), [`VetoingHooks`](ErrorKind::VetoingHooks) (`EOPNOTSUPP`),
    /// [`ReplaceFailed`](ErrorKind::ReplaceFailed) with what is still applied, [`Overtaken`](ErrorKind::Overtaken) with what
    /// is applied besides, and those of [`apply`](Self::apply) about the host and about what is not known.
    ///
    /// # Xen
    /// No release has a flag for this; `NODEPS` means nothing here.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # let old = PayloadName::new("old")?;
    /// # let function = sim::FunctionPatch::returning("xen_extra_version", "-old");
    /// # client.upload(&old, &sim::PayloadBuilder::named("old", &client.build_id()?).function(function).build())?;
    /// # client.upload(&fix, &payload)?;
    /// client.apply(&old, Flags::empty())?;
    /// client.replace(&fix, Flags::empty())?;
    /// assert_eq!(client.status(&old)?.state, State::Checked);
    /// client.unload(&old, Flags::empty())?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_replace")]
    pub fn replace(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Replace, name).flags(flags).run()
    }

    /// Removes a payload that is not applied from Xen's memory.
    ///
    /// # Errors
    /// [`WrongState`](ErrorKind::WrongState) when it is applied, [`NoSuchPayload`](ErrorKind::NoSuchPayload) (`ENOENT`),
    /// [`HookMayBeRunning`](ErrorKind::HookMayBeRunning), and those of [`apply`](Self::apply) about the host and about what
    /// is not known.
    ///
    /// # Xen
    /// No release has a flag for this, nor counts who uses the payload's symbols. Xen 4.14 to 4.16, 4.17.0 to 4.17.3 and
    /// 4.18.0 crash if a hook of the payload is still running, and report its action as finished before. There the call
    /// may wait for up to 5 s, see [`hook_time`](ClientBuilder::hook_time).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// client.unload(&fix, Flags::empty())?;
    /// assert_eq!(client.status(&fix).unwrap_err().kind(), &ErrorKind::NoSuchPayload);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_unload")]
    pub fn unload(&self, name: &PayloadName, flags: Flags) -> Result<()> {
        self.action(Action::Unload, name).flags(flags).run()
    }

    /// Any action, with flags, times and retries for this call alone.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// use std::time::Duration;
    ///
    /// let longer = QuiesceTimeout::new(Duration::from_millis(200))?;
    /// client.action(Action::Apply, &fix).quiesce_timeout(longer).quiesce_retries(2).run()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn action<'a>(&'a self, action: Action, name: &'a PayloadName) -> ActionRequest<'a> {
        ActionRequest::new(self, action, name)
    }

    /// Waits until no action is under way on a payload, and returns its status then: what to call after
    /// [`Unfinished`](ErrorKind::Unfinished) and [`OutcomeUnknown`](ErrorKind::OutcomeUnknown).
    ///
    /// The status is that of the last action on it, whoever asked for that. The next action of this client leaves Xen
    /// time to settle, counted from then.
    ///
    /// # Errors
    /// [`Unfinished`](ErrorKind::Unfinished) if it is still under way when this time has passed,
    /// [`StaleInProgress`](ErrorKind::StaleInProgress) if it is marked so although nothing is,
    /// [`NoSuchPayload`](ErrorKind::NoSuchPayload), and those of any call: [`NotPermitted`](ErrorKind::NotPermitted),
    /// [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// use std::time::Duration;
    ///
    /// # xen.set_pace(sim::Pace::Time(Duration::from_millis(50)));
    /// let error = client.action(Action::Apply, &fix).deadline(Duration::from_millis(10)).run().unwrap_err();
    /// assert!(error.may_have_happened());
    /// let status = client.wait(&fix, Duration::from_secs(10))?;
    /// assert_eq!((status.state, status.rc), (State::Applied, 0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait(&self, name: &PayloadName, time: Duration) -> Result<Status> {
        let ended = self.wait_for(name, Deadline::after(time));
        ended.map_err(|error| error.during(Operation::Wait).of(name))
    }

    /// The status of a payload, as Xen has it at this moment.
    ///
    /// # Errors
    /// [`NoSuchPayload`](ErrorKind::NoSuchPayload) (`ENOENT`), and those of any call:
    /// [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// let status = client.status(&fix)?;
    /// assert_eq!((status.state, status.rc), (State::Checked, 0));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_get")]
    pub fn status(&self, name: &PayloadName) -> Result<Status> {
        self.get(name).map_err(|error| query::not_got(error).during(Operation::Status).of(name))
    }

    /// Everything that is loaded, in the order of upload, as it was at one moment, states included: never a row
    /// missing, doubled or mixed from two. Where Xen returns a list in parts, it is read until two readings agree.
    ///
    /// # Errors
    /// [`ListKeptChanging`](ErrorKind::ListKeptChanging), and those of any call:
    /// [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// There is no metadata before 4.14. The order in which payloads were applied can't be asked for in any release.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// for payload in client.list()? {
    ///     assert_eq!(format!("{} {} {}", payload.name, payload.status.state, payload.metadata), "fix CHECKED author=we");
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_list")]
    #[doc(alias = "xc_livepatch_list_get_sizes")]
    pub fn list(&self) -> Result<Vec<LoadedPayload>> {
        let listing = listing::list(&self.channel).map_err(|error| error.during(Operation::List))?;
        Ok(listing.rows)
    }

    /// Xen's own build-id, on which the first payload depends.
    ///
    /// # Errors
    /// [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`), and those of any call: [`NotPermitted`](ErrorKind::NotPermitted)
    /// (`EPERM`), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// assert_eq!(client.build_id()?.as_bytes().len(), 20);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_version")]
    pub fn build_id(&self) -> Result<BuildId> {
        let error = |error| match error {
            CallError::Refused(Errno::ENODATA) => Error::new(ErrorKind::NoBuildId).errno(Errno::ENODATA),
            other => other.general(),
        };
        self.channel.build_id().map_err(|e| error(e).during(Operation::Version))
    }

    /// The version of the running Xen.
    ///
    /// # Errors
    /// Only if the device fails, since every domain may ask this: [`NotPrivcmd`](ErrorKind::NotPrivcmd),
    /// [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// assert_eq!(client.xen_version()?.to_string(), "4.20.4");
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_version")]
    pub fn xen_version(&self) -> Result<XenVersion> {
        self.channel.xen_version().map_err(|error| error.general().during(Operation::Version))
    }

    /// What the running Xen understands, so that nobody need compare versions.
    ///
    /// # Errors
    /// Those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault),
    /// [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// From 4.17 to 4.20 the interface version does not tell whether FORCE is accepted: there Xen is asked, once, with a
    /// LIST that changes nothing.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// let xen = client.capabilities()?;
    /// assert!(xen.apply_flags.contains(Flags::NODEPS) && xen.metadata);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn capabilities(&self) -> Result<Capabilities> {
        capabilities::of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<LivepatchClient>();
        shared::<Error>();
    }
}
