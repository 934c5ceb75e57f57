//! The exit statuses of the tool.

use std::process::ExitCode;

/// An exit status. Scripts and the units of systemd depend on the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitStatus {
    #[default]
    Done = 0,
    Failed = 1,
    Retry = 2,
    SuspectLeftOut = 3,
    Unguarded = 4,
    OutputLost = 5,
    Worse = 6,
    Incomplete = 7,
    NotAsWanted = 8,
    NoneForThisXen = 9,
    NoPayloads = 10,
}

impl ExitStatus {
    pub(crate) const ALL: [(Self, &str); 11] = [
        (Self::Done, "done"),
        (Self::Failed, "failed, or the command line is wrong"),
        (Self::Retry, "failed because the host or another tool was busy: try again"),
        (Self::SuspectLeftOut, "a payload was skipped at boot, because an earlier boot crashed after it"),
        (Self::Unguarded, "done, but not guarded: the guard's state could not be written"),
        (Self::OutputLost, "done, but the output could not be written"),
        (Self::Worse, "failed, and the host runs without payloads that were applied before"),
        (Self::Incomplete, "some files could not be used, so wanted payloads may be missing"),
        (Self::NotAsWanted, "ensure --dry-run: there is something to do"),
        (Self::NoneForThisXen, "ensure: no payload is for this Xen"),
        (Self::NoPayloads, "ensure: there are no payloads"),
    ];

    #[expect(clippy::as_conversions, reason = "the discriminant of a `repr(u8)`")]
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.number())
    }
}
