//! Xen's error numbers.

use core::fmt;

/// An error number of Xen or the kernel.
///
/// Xen's numbers equal Linux's on every release (`public/errno.h`). Every number is kept, also one without a name, since
/// the hooks of a payload may return any.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(into = "Fields", from = "Fields"))]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "` (", $value, "): ", $text, ".")]
            pub const $name: Self = Self($value);)*

            /// The numbers that Xen can return: value, name, text.
            pub(crate) const KNOWN: &[(i32, &str, &str)] = &[$(($value, stringify!($name), $text),)*];
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such entry";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "too many at once";
    ENOEXEC = 8, "not an executable format";
    EBADF = 9, "bad file descriptor";
    ECHILD = 10, "no child process";
    EAGAIN = 11, "not finished, try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "exists already";
    EXDEV = 18, "cross-device link";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files on this host";
    EMFILE = 24, "too many open files";
    ENOTTY = 25, "not a device of this kind";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    EMLINK = 31, "too many links";
    EDOM = 33, "outside the domain";
    ERANGE = 34, "out of range";
    EDEADLK = 35, "would deadlock";
    ENAMETOOLONG = 36, "name too long";
    ENOLCK = 37, "no locks left";
    ENOSYS = 38, "not implemented";
    ENOTEMPTY = 39, "not empty";
    ENODATA = 61, "no data";
    ETIME = 62, "timer expired";
    EBADMSG = 74, "bad message";
    EOVERFLOW = 75, "value too large";
    EILSEQ = 84, "illegal sequence";
    ERESTART = 85, "to be restarted";
    ENOTSOCK = 88, "not a socket";
    EMSGSIZE = 90, "message too long";
    EOPNOTSUPP = 95, "not supported";
    EADDRINUSE = 98, "address in use";
    EADDRNOTAVAIL = 99, "address not available";
    ENOBUFS = 105, "buffer too small";
    EISCONN = 106, "already connected";
    ENOTCONN = 107, "not connected";
    ETIMEDOUT = 110, "timed out";
    ECONNREFUSED = 111, "connection refused";
}

impl Errno {
    /// Makes an error number of a positive number.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns the symbolic name, such as `EINVAL`; `None` for a number without one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|(_, name, _)| *name)
    }

    fn known(self) -> Option<&'static (i32, &'static str, &'static str)> {
        Self::KNOWN.iter().find(|(value, ..)| *value == self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((value, name, text)) => write!(f, "{name} ({value}, {text})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<i32> for Errno {
    fn from(number: i32) -> Self {
        Self(number)
    }
}

/// The number and, where it has one, the name.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Fields {
    number: i32,
    #[serde(skip_deserializing)]
    name: Option<&'static str>,
}

#[cfg(feature = "serde")]
impl From<Errno> for Fields {
    fn from(errno: Errno) -> Self {
        Self { number: errno.number(), name: errno.name() }
    }
}

#[cfg(feature = "serde")]
impl From<Fields> for Errno {
    fn from(fields: Fields) -> Self {
        Self(fields.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_and_named() {
        assert_eq!(Errno::EINVAL.to_string(), "EINVAL (22, invalid argument)");
        assert_eq!(Errno::new(4242).to_string(), "error 4242");
        assert_eq!(format!("{:?} {:?}", Errno::ENOBUFS, Errno::new(-7)), "ENOBUFS(105) Errno(-7)");
    }

    #[test]
    fn the_table_is_sorted_and_agrees_with_this_kernel() {
        assert!(Errno::KNOWN.is_sorted_by(|a, b| a.0 < b.0), "one row a number");
        for (value, name, _) in Errno::KNOWN {
            let linux = format!("{:?}", nix::errno::Errno::from_raw(*value));
            assert_eq!(&linux, name, "{value}");
        }
    }
}
