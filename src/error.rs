//! What can go wrong, so that a program can match on it and a person can act on it.

use core::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

mod kind;
#[cfg(test)]
mod tests;

pub use kind::{Duplicate, ErrorKind};

pub(crate) use crate::types::action::Action;
use crate::types::build_id::InvalidBuildId;
use crate::types::errno::Errno;
use crate::types::name::{InvalidName, PayloadName, escaped};

/// A result whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// What a client was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening the device and finding the interface version.
    Open,
    /// Uploading a payload.
    Upload,
    /// Reading the status of a payload.
    Status,
    /// Listing the payloads.
    List,
    /// Reading the version or the build-id of Xen.
    Version,
    /// An action on a payload.
    Action(Action),
    /// Waiting for the end of an action.
    Wait,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Upload => "upload",
            Self::Status => "status",
            Self::List => "list",
            Self::Version => "version",
            Self::Wait => "wait",
            Self::Action(action) => return action.fmt(f),
        })
    }
}

/// An error of this crate: what was done to which payload, what went wrong, and the raw error number where there was one.
///
/// `Display` is one line that says what failed, why, and what to do about it. Match on [`kind`](Self::kind).
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    operation: Option<Operation>,
    payload: Option<PayloadName>,
    file: Option<String>,
    kind: ErrorKind,
    errno: Option<Errno>,
    log: Vec<String>,
    cleanup: Option<Cleanup>,
}

/// The fate of a payload that was uploaded to be applied at once, and could not be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cleanup {
    /// It was unloaded again.
    Unloaded,
    /// Another tool had already unloaded it.
    Gone,
    /// It was not unloaded: it may be applied, or an action is running that must not be disturbed.
    Left,
    /// Another tool has applied it.
    Applied,
    /// Unloading it failed too, so that it may still be loaded.
    Failed(Error),
}

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unloaded => f.write_str("it was unloaded again"),
            Self::Gone => f.write_str("another tool has unloaded it"),
            Self::Applied => f.write_str("another tool has applied it meanwhile"),
            Self::Left => f.write_str("it was not unloaded, since it may be applied or an action may be running"),
            Self::Failed(error) => write!(f, "it may still be loaded, since unloading it failed: {error}"),
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            operation: None,
            payload: None,
            file: None,
            kind,
            errno: None,
            log: Vec::new(),
            cleanup: None,
        }))
    }

    /// A file that can't be used, and why.
    pub(crate) fn of_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::File { path: escaped(path.as_os_str().as_bytes()), reason: reason.into() })
    }

    /// A file that the system did not let us read.
    pub(crate) fn of_io(path: &Path, error: &io::Error) -> Self {
        Self::of_file(path, error.to_string()).errno(error.raw_os_error().map_or(Errno::EIO, Errno::new))
    }

    /// With the file that it is about.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.0.file.get_or_insert_with(|| escaped(path.as_os_str().as_bytes()));
        self
    }

    /// With the number that Xen or the kernel returned.
    pub(crate) fn errno(mut self, errno: impl Into<Errno>) -> Self {
        self.0.errno = Some(errno.into());
        self
    }

    /// With what was being done, unless that is known already.
    pub(crate) fn during(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// With the payload that it was done to.
    pub(crate) fn of(mut self, name: &PayloadName) -> Self {
        self.0.payload.get_or_insert_with(|| name.clone());
        self
    }

    /// With what Xen wrote to its log about it.
    pub(crate) fn log(mut self, lines: Vec<String>) -> Self {
        self.0.log = lines;
        self
    }

    /// With what became of the payload.
    pub(crate) fn with_cleanup(mut self, cleanup: Cleanup) -> Self {
        self.0.cleanup = Some(cleanup);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Whether the same call may well succeed later, and does no harm: the host was busy, a list changed, a CPU was late.
    /// Not a load whose payload is still [loaded](Self::cleanup), which is in the way of the next.
    ///
    /// ```
    /// # use xen_livepatch::{sim::Call, *};
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// # xen.on_apply().time_out();
    /// while let Err(error) = client.apply(&fix, Flags::empty()) {
    ///     if !error.is_retryable() {
    ///         return Err(error);
    ///     }
    /// }
    /// # assert_eq!(xen.calls().of(Call::Apply), 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.meaning().retryable && !self.stays()
    }

    /// Returns true if a payload that was uploaded to be applied at once is, or may be, still loaded.
    fn stays(&self) -> bool {
        matches!(self.0.cleanup, Some(Cleanup::Left | Cleanup::Applied | Cleanup::Failed(_)))
    }

    /// Whether what was asked for, or a part of it, may be in effect all the same, or may still come into effect.
    ///
    /// [`wait`](crate::LivepatchClient::wait) and then [`list`](crate::LivepatchClient::list) show the result. True also of a
    /// [`load`](crate::LivepatchClient::load) whose payload is still loaded: see [`cleanup`](Self::cleanup).
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        let to_xen = !matches!(
            self.0.operation,
            Some(Operation::Open | Operation::Status | Operation::List | Operation::Version)
        );
        to_xen && (self.0.kind.meaning().may_have_happened || self.stays())
    }

    /// What was being done; `None` where a value was refused before any operation began.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The payload that it was done to.
    #[must_use]
    pub fn payload(&self) -> Option<&PayloadName> {
        self.0.payload.as_ref()
    }

    /// The payload file that it is about, [escaped](crate::escaped).
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::File { path, .. } => Some(path),
            _ => self.0.file.as_deref(),
        }
    }

    /// The error number that Xen or the kernel returned, if the error comes from one.
    #[must_use]
    pub fn raw_errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The fate of a payload that [`load`](crate::LivepatchClient::load) uploaded and did not apply.
    #[must_use]
    pub fn cleanup(&self) -> Option<&Cleanup> {
        self.0.cleanup.as_ref()
    }

    /// The lines that Xen wrote to its log about this, where they could be read.
    #[must_use]
    pub fn xen_log(&self) -> &[String] {
        &self.0.log
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.operation, &self.0.payload) {
            (Some(operation), Some(name)) => write!(f, "{operation} {name:?}: ")?,
            (Some(operation), None) => write!(f, "{operation}: ")?,
            (None, Some(name)) => write!(f, "{name:?}: ")?,
            (None, None) => {}
        }
        // The text of `File` has it.
        if let Some(file) = self.0.file.as_ref().filter(|_| !matches!(self.0.kind, ErrorKind::File { .. })) {
            write!(f, "{file}: ")?;
        }
        match self.0.kind.cause().filter(|_| self.stays()) {
            Some(cause) => f.write_str(cause)?,
            None => write!(f, "{}", self.0.kind)?,
        }
        if matches!(self.0.kind, ErrorKind::InvalidPayload { xen: None, .. }) && self.0.errno.is_some() {
            f.write_str("; Xen's log (xl dmesg) may say more")?;
        }
        if let Some(errno) = self.0.errno.filter(|errno| self.0.kind.code_told() != Some(*errno)) {
            write!(f, " [{errno}]")?;
        }
        self.0.cleanup.as_ref().map_or(Ok(()), |cleanup| write!(f, "; {cleanup}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, payload, file, kind, errno, log, cleanup } = &*self.0;
        f.debug_struct("Error")
            .field("operation", operation)
            .field("payload", payload)
            .field("file", file)
            .field("kind", kind)
            .field("errno", errno)
            .field("log", log)
            .field("cleanup", cleanup)
            .finish()
    }
}

/// Without a source: [`Display`](fmt::Display) has the number, and [`raw_errno`](Error::raw_errno) gives it.
impl std::error::Error for Error {}

impl From<InvalidName> for Error {
    fn from(invalid: InvalidName) -> Self {
        Self::new(ErrorKind::InvalidName(invalid))
    }
}

impl From<InvalidBuildId> for Error {
    fn from(invalid: InvalidBuildId) -> Self {
        Self::new(ErrorKind::InvalidBuildId(invalid))
    }
}
