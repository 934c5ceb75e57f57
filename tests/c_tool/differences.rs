//! What our tool does otherwise than the C tool on purpose, each by name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use Answer::{Exit, Table};
use Since::{Always, From, Until};

/// Exit statuses.
pub const DONE: i32 = 0;
pub const FAILED: i32 = 1;
pub const AGAIN: i32 = 2;
/// A shell's for what a segmentation fault ended.
pub const CRASHED: i32 = 139;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    C,
    Ours,
}

/// In which releases the C tool has it.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    Always,
    /// From this 4.x on.
    From(u16),
    /// Up to this one.
    Until(u16),
}

/// What a tool answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Exit(i32),
    /// What `list` prints of a payload: names and metadata as they are, or escaped.
    Table {
        escaped: bool,
    },
    /// The command is carried out, and may fail as any other.
    Obeys,
}

#[derive(Debug)]
pub struct Mended {
    pub name: &'static str,
    /// The commands that it can be met in; none: all of them.
    pub commands: &'static [&'static str],
    pub since: Since,
    pub c_tool: Answer,
    pub ours: Answer,
}

macro_rules! faults {
    ($($id:ident: $name:literal, $commands:expr, $since:expr, $c_tool:expr, $ours:expr;)*) => {
        /// A row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($id),* }

        const FAULTS: &[(Fault, Mended)] = &[$((Fault::$id, Mended {
            name: $name, commands: &$commands, since: $since, c_tool: $c_tool, ours: $ours,
        })),*];
    };
}

faults! {
    // Trying again can never help.
    NotOnTop: "revert of what is not on top says: try again", ["revert"], Always, Exit(AGAIN), Exit(FAILED);
    // It was the payload that refused, not the host that was busy.
    HookAgain: "a hook that refuses with EAGAIN says: try again", ["apply", "load"], Always, Exit(AGAIN), Exit(FAILED);
    // Xen does nothing, and what is above stays in effect.
    OthersStay: "replace of what is applied is done while others stay", ["replace"], Always, Exit(DONE), Exit(FAILED);
    // It can be listed and got rid of where others let it in, but nothing that is sensible is called so.
    EmptyName: "a payload may have an empty name", ["upload", "load", "apply", "revert", "replace", "unload"], Always,
        Answer::Obeys, Exit(FAILED);
    HiddenFile: "load of .hidden names it by nothing", ["load"], Always, Answer::Obeys, Exit(FAILED);
    NoFile: "load of an empty path crashes", ["load"], Always, Exit(CRASHED), Exit(FAILED);
    // What changes a host is written out.
    Shortened: "commands may be shortened", [], Until(18), Answer::Obeys, Exit(FAILED);
    NoCommand: "no command at all is help", [], Always, Exit(DONE), Exit(FAILED);
    EmptyCommand: "an empty command is help", [], Until(18), Exit(DONE), Exit(FAILED);
    HelpOfNothing: "help takes anything", ["help"], Always, Exit(DONE), Exit(FAILED);
    LongHelp: "--help and -h are errors", [], Always, Exit(FAILED), Exit(DONE);
    // It means something in every release: that Xen can't do it.
    ForceUnknown: "--force is unknown", [], Until(18), Exit(FAILED), Answer::Obeys;
    ForceAfter: "--force counts only before the command", [], From(19), Exit(FAILED), Answer::Obeys;
    HyphenName: "a name may look like an option", [], Always, Answer::Obeys, Exit(FAILED);
    TwiceNodeps: "a flag may be given twice", ["apply", "load"], Always, Answer::Obeys, Exit(FAILED);
    // Control characters act on a terminal, and break the table.
    RawTable: "list prints names and metadata raw", [], Always, Table { escaped: false }, Table { escaped: true };
    // The mark that stays behind is not an action under way.
    StaleMark: "a stale mark of an action under way blocks for ever", ["apply", "revert", "replace", "unload", "load"],
        Always, Exit(AGAIN), Answer::Obeys;
}

impl Fault {
    pub fn row(self) -> &'static Mended {
        let (_, row) = FAULTS.iter().find(|(fault, _)| *fault == self).unwrap();
        row
    }

    pub fn all() -> impl Iterator<Item = Self> {
        FAULTS.iter().map(|(fault, _)| *fault)
    }

    /// Whether the C tool of this release has it.
    pub fn is_in(self, minor: u16) -> bool {
        match self.row().since {
            Always => true,
            From(first) => minor >= first,
            Until(last) => minor <= last,
        }
    }

    pub fn answer(self, of: Kind) -> Answer {
        if of == Kind::C { self.row().c_tool } else { self.row().ours }
    }

    /// Returns true if it can be met in a command line, in which the command may be shortened.
    pub fn concerns(self, arguments: &[OsString]) -> bool {
        let commands = self.row().commands;
        let begins =
            |command: &str, word: &OsString| !word.is_empty() && command.as_bytes().starts_with(word.as_bytes());
        commands.is_empty() || commands.iter().any(|command| arguments.iter().any(|word| begins(command, word)))
    }

    /// The exit status, where it is always the same.
    pub fn exit(self, of: Kind) -> i32 {
        match self.answer(of) {
            Exit(status) => status,
            other => panic!("{self:?}: {other:?} is no exit status"),
        }
    }
}
