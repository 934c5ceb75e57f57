//! The intended differences between our tool and the C tool, by name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use Behaviour::{Exit, Table};
use Since::{Always, From, Until};

pub const DONE: i32 = 0;
pub const FAILED: i32 = 1;
pub const AGAIN: i32 = 2;
/// The exit status of a shell for a program that a segmentation fault ended.
pub const CRASHED: i32 = 139;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    C,
    Ours,
}

/// The releases whose C tool has a fault.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    Always,
    /// From Xen 4.x on.
    From(u16),
    /// Up to Xen 4.x.
    Until(u16),
}

/// The behaviour of a tool where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Exit(i32),
    /// `list` prints names and metadata raw or escaped.
    Table {
        escaped: bool,
    },
    /// The command is carried out, and may fail like any other.
    Obeys,
}

#[derive(Debug)]
pub struct Difference {
    pub name: &'static str,
    /// The commands in which it can occur; empty: all of them.
    pub commands: &'static [&'static str],
    pub since: Since,
    pub c_tool: Behaviour,
    pub ours: Behaviour,
}

macro_rules! faults {
    ($($id:ident: $name:literal, $commands:expr, $since:expr, $c_tool:expr, $ours:expr;)*) => {
        /// A fault of the C tool, as a row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($id),* }

        const FAULTS: &[(Fault, Difference)] = &[$((Fault::$id, Difference {
            name: $name, commands: &$commands, since: $since, c_tool: $c_tool, ours: $ours,
        })),*];
    };
}

faults! {
    // Trying again can't help.
    NotOnTop: "revert of a payload that is not on top asks to try again", ["revert"], Always, Exit(AGAIN), Exit(FAILED);
    // The payload refused; the host was not busy.
    HookAgain: "a hook that fails with EAGAIN asks to try again", ["apply", "load"], Always, Exit(AGAIN), Exit(FAILED);
    // Xen does nothing, and the payloads above stay in effect.
    OthersStay: "replace of an applied payload succeeds while others stay applied", ["replace"], Always, Exit(DONE), Exit(FAILED);
    // Ours can list and unload such a payload, but not upload one.
    EmptyName: "a payload may have an empty name", ["upload", "load", "apply", "revert", "replace", "unload"], Always,
        Behaviour::Obeys, Exit(FAILED);
    HiddenFile: "load of .hidden uploads it under an empty name", ["load"], Always, Behaviour::Obeys, Exit(FAILED);
    NoFile: "load of an empty path crashes", ["load"], Always, Exit(CRASHED), Exit(FAILED);
    // Commands that change a host must be written in full.
    Shortened: "commands may be shortened", [], Until(18), Behaviour::Obeys, Exit(FAILED);
    NoCommand: "no command prints the help", [], Always, Exit(DONE), Exit(FAILED);
    EmptyCommand: "an empty command prints the help", [], Until(18), Exit(DONE), Exit(FAILED);
    HelpOfNothing: "help accepts any arguments", ["help"], Always, Exit(DONE), Exit(FAILED);
    LongHelp: "--help and -h are errors", [], Always, Exit(FAILED), Exit(DONE);
    // Ours refuses it if Xen does not support it.
    ForceUnknown: "--force is unknown", [], Until(18), Exit(FAILED), Behaviour::Obeys;
    ForceAfter: "--force is accepted only before the command", [], From(19), Exit(FAILED), Behaviour::Obeys;
    HyphenName: "a name may look like an option", [], Always, Behaviour::Obeys, Exit(FAILED);
    TwiceNodeps: "a flag may be given twice", ["apply", "load"], Always, Behaviour::Obeys, Exit(FAILED);
    // Control characters act on a terminal or break the table.
    RawTable: "list prints names and metadata raw", [], Always, Table { escaped: false }, Table { escaped: true };
    // A stale mark is no pending action.
    StaleMark: "a stale mark of a pending action blocks forever", ["apply", "revert", "replace", "unload", "load"],
        Always, Exit(AGAIN), Behaviour::Obeys;
}

impl Fault {
    pub fn row(self) -> &'static Difference {
        let (_, row) = FAULTS.iter().find(|(fault, _)| *fault == self).unwrap();
        row
    }

    pub fn all() -> impl Iterator<Item = Self> {
        FAULTS.iter().map(|(fault, _)| *fault)
    }

    /// Returns true if the C tool of this release has the fault.
    pub fn is_in(self, minor: u16) -> bool {
        match self.row().since {
            Always => true,
            From(first) => minor >= first,
            Until(last) => minor <= last,
        }
    }

    pub fn behaviour(self, of: Kind) -> Behaviour {
        if of == Kind::C { self.row().c_tool } else { self.row().ours }
    }

    /// Returns true if it can occur in a command line, whose command may be abbreviated.
    pub fn concerns(self, arguments: &[OsString]) -> bool {
        let commands = self.row().commands;
        let begins =
            |command: &str, word: &OsString| !word.is_empty() && command.as_bytes().starts_with(word.as_bytes());
        commands.is_empty() || commands.iter().any(|command| arguments.iter().any(|word| begins(command, word)))
    }

    /// The exit status, if it is always the same.
    pub fn exit(self, of: Kind) -> i32 {
        match self.behaviour(of) {
            Exit(status) => status,
            other => panic!("{self:?}: {other:?} is not an exit status"),
        }
    }
}
