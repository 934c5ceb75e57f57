//! Errors: the operation, the cause, the remedy, and the evidence.

use core::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

mod kind;
mod meaning;
#[cfg(test)]
mod tests;
mod text;

pub use kind::{Duplicate, ErrorKind};

use crate::types::{Action, Errno, InvalidBuildId, InvalidName, PayloadName, escaped};

/// A result whose error is [`Error`], unless another one is given.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// The operation of a client that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
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
    /// Waiting for the end of an action.
    Wait,
    /// An action on a payload.
    #[cfg_attr(feature = "serde", serde(untagged))]
    Action(Action),
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
            Self::Action(action) => action.word(),
        })
    }
}

/// An error of this crate: the operation, the payload, the cause, and the error number if there was one.
///
/// `Display` is one line with the failure, its cause and its remedy. `Debug` adds the lines of Xen's log, for a `main` that
/// returns the error; `{:#?}` shows the structure. Match on [`kind`](Self::kind).
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    operation: Option<Operation>,
    payload: Option<PayloadName>,
    file: Option<String>,
    kind: ErrorKind,
    errno: Option<Errno>,
    log: Vec<String>,
    cleanup: Option<Cleanup>,
}

/// The fate of a payload that [`load`](crate::LivepatchClient::load) uploaded and could not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleanup {
    /// The payload was unloaded again.
    Unloaded,
    /// Another tool had already unloaded it.
    Gone,
    /// It was left loaded, since it may be applied, or an action may be running that must not be disturbed.
    Left,
    /// Another tool has applied it.
    Applied,
    /// Unloading it failed too, so it may still be loaded.
    Failed(Error),
}

impl Cleanup {
    /// Returns the case in one word, such as `unloaded`, as it is serialised.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Gone => "gone",
            Self::Left => "left",
            Self::Applied => "applied",
            Self::Failed(_) => "failed",
        }
    }
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

    /// Makes the error of a file that can't be used for this reason.
    pub(crate) fn of_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::File { path: escaped(path.as_os_str().as_bytes()), reason: reason.into() })
    }

    /// Makes the error of a file that could not be read.
    pub(crate) fn of_io(path: &Path, error: &io::Error) -> Self {
        Self::of_file(path, error.to_string()).errno(error.raw_os_error().map_or(Errno::EIO, Errno::new))
    }

    /// Adds the payload file, unless there is one already.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.0.file.get_or_insert_with(|| escaped(path.as_os_str().as_bytes()));
        self
    }

    /// Sets the number that Xen or the kernel returned.
    pub(crate) fn errno(mut self, errno: impl Into<Errno>) -> Self {
        self.0.errno = Some(errno.into());
        self
    }

    /// Adds the operation, unless there is one already.
    pub(crate) fn during(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Adds the payload, unless there is one already.
    pub(crate) fn of(mut self, name: &PayloadName) -> Self {
        self.0.payload.get_or_insert_with(|| name.clone());
        self
    }

    /// Sets the lines of Xen's log.
    pub(crate) fn log(mut self, lines: Vec<String>) -> Self {
        self.0.log = lines;
        self
    }

    /// Sets the fate of the uploaded payload.
    pub(crate) fn with_cleanup(mut self, cleanup: Cleanup) -> Self {
        self.0.cleanup = Some(cleanup);
        self
    }

    /// Returns the cause.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns true if the same call may well succeed later, and does no harm: the host was busy, a list changed, or a CPU
    /// was late.
    ///
    /// False for a [`load`](crate::LivepatchClient::load) whose payload is still [loaded](Self::cleanup), since that
    /// prevents another load.
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use xen_livepatch::{sim::Call, *};
    /// # let (xen, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// # xen.on_apply().time_out();
    /// let mut attempts = 1..=3;
    /// while let Err(error) = client.apply(&fix, Flags::empty()) {
    ///     if !error.is_retryable() || attempts.next().is_none() {
    ///         return Err(error);
    ///     }
    ///     thread::sleep(Duration::from_millis(100));
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

    /// Returns true if the operation, or a part of it, may have taken effect nevertheless, or may still do so.
    ///
    /// Call [`wait`](crate::LivepatchClient::wait) and then [`list`](crate::LivepatchClient::list) for the result. Also true
    /// for a [`load`](crate::LivepatchClient::load) whose payload is still loaded: see [`cleanup`](Self::cleanup).
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        let to_xen = !matches!(
            self.0.operation,
            Some(Operation::Open | Operation::Status | Operation::List | Operation::Version)
        );
        to_xen && (self.0.kind.meaning().may_have_happened || self.stays())
    }

    /// Returns the operation; `None` if a value was refused before any operation began.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// Returns the payload of the operation.
    #[must_use]
    pub fn payload(&self) -> Option<&PayloadName> {
        self.0.payload.as_ref()
    }

    /// Returns the payload file of the operation, [escaped](crate::escaped).
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::File { path, .. } => Some(path),
            _ => self.0.file.as_deref(),
        }
    }

    /// Returns the error number of Xen or the kernel, if the error comes from one.
    #[must_use]
    pub fn raw_errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// Returns the fate of a payload that [`load`](crate::LivepatchClient::load) uploaded and did not apply.
    #[must_use]
    pub fn cleanup(&self) -> Option<&Cleanup> {
        self.0.cleanup.as_ref()
    }

    /// Returns the lines of Xen's log about the operation, if they could be read.
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
        // The text of `File` names it.
        if let Some(file) = self.0.file.as_ref().filter(|_| !matches!(self.0.kind, ErrorKind::File { .. })) {
            write!(f, "{file}: ")?;
        }
        match self.0.kind.cause().filter(|_| self.stays()) {
            Some(cause) => f.write_str(cause)?,
            None => write!(f, "{}", self.0.kind)?,
        }
        if matches!(self.0.kind, ErrorKind::InvalidPayload { xen: None, .. }) && self.0.errno.is_some() {
            f.write_str("; Xen's log (xl dmesg) may have more")?;
        }
        if let Some(errno) = self.0.errno.filter(|errno| self.0.kind.code_in_text() != Some(*errno)) {
            write!(f, " [{errno}]")?;
        }
        self.0.cleanup.as_ref().map_or(Ok(()), |cleanup| write!(f, "; {cleanup}"))
    }
}

/// `Display`, and below it the lines of Xen's log; the structure with `{:#?}`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, payload, file, kind, errno, log, cleanup } = &*self.0;
        if f.alternate() {
            return f
                .debug_struct("Error")
                .field("operation", operation)
                .field("payload", payload)
                .field("file", file)
                .field("kind", kind)
                .field("errno", errno)
                .field("log", log)
                .field("cleanup", cleanup)
                .finish();
        }
        write!(f, "{self}")?;
        if !log.is_empty() {
            f.write_str("\n\nXen's log:")?;
        }
        log.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Without a source, since `Display` contains the cause with its error number.
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

/// An error that contains this one, with the kind of its error number.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (error.kind(), error.raw_errno()) {
            (_, Some(errno)) => Self::from_raw_os_error(errno.number()).kind(),
            (ErrorKind::InvalidName(_) | ErrorKind::InvalidBuildId(_) | ErrorKind::InvalidTimeout { .. }, None) => {
                io::ErrorKind::InvalidInput
            }
            (_, None) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The [word](Cleanup::word).
#[cfg(feature = "serde")]
impl serde::Serialize for Cleanup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// The values of its methods, `Display` as the message, and the fields of its kind as the details.
    Error as |error| {
        operation: error.operation(),
        payload: error.payload(),
        kind: error.kind().word(),
        errno: error.raw_errno(),
        message: error.to_string(),
        retryable: error.is_retryable(),
        may_have_happened: error.may_have_happened(),
        details: error.kind(),
        cleanup: error.cleanup(),
        log: error.xen_log(),
    }
}
