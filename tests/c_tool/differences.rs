//! The intended differences between our tool and the C tool, by name. `model.rs` has the behaviour of each.

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
enum Since {
    Always,
    /// From Xen 4.x on.
    From(u16),
    /// Up to Xen 4.x.
    Until(u16),
}

macro_rules! faults {
    ($($id:ident, $since:expr, $name:literal;)*) => {
        /// A fault of the C tool, which ours does not have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($id),* }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$id),*];

            fn since(self) -> Since {
                match self { $(Self::$id => $since),* }
            }

            pub fn name(self) -> &'static str {
                match self { $(Self::$id => $name),* }
            }
        }
    };
}

faults! {
    // Trying again can't help.
    NotOnTop, Always, "revert of a payload that is not on top asks to try again";
    // The payload refused; the host was not busy.
    HookAgain, Always, "a hook that fails with EAGAIN asks to try again";
    // Xen does nothing, and the payloads above stay in effect.
    OthersStay, Always, "replace of an applied payload succeeds while others stay applied";
    // Ours can list and unload such a payload, but not upload one.
    EmptyName, Always, "a payload may have an empty name";
    HiddenFile, Always, "load of .hidden uploads it under an empty name";
    NoFile, Always, "load of an empty path crashes";
    // Commands that change a host must be written in full.
    Shortened, Until(18), "commands may be shortened";
    NoCommand, Always, "no command prints the help";
    EmptyCommand, Until(18), "an empty command prints the help";
    HelpOfNothing, Always, "help accepts any arguments";
    LongHelp, Always, "--help and -h are errors";
    // Ours refuses it if Xen does not support it.
    ForceUnknown, Until(18), "--force is unknown";
    ForceAfter, From(19), "--force is accepted only before the command";
    HyphenName, Always, "a name may look like an option";
    TwiceNodeps, Always, "a flag may be given twice";
    // Control characters act on a terminal or break the table.
    RawTable, Always, "list prints names and metadata raw";
    // A stale mark is no pending action.
    StaleMark, Always, "a stale mark of a pending action blocks forever";
}

impl Fault {
    /// Returns true if the C tool of this release has the fault.
    pub fn is_in(self, minor: u16) -> bool {
        match self.since() {
            Always => true,
            From(first) => minor >= first,
            Until(last) => minor <= last,
        }
    }
}
