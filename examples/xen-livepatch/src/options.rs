//! The options that commands have in common.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use xen_livepatch::Release;

use crate::exit_status::ExitStatus;

// The doc comments are the help.
#[derive(Debug, Default, Parser)]
#[command(
    name = "xen-livepatch",
    version,
    about = "Live-patch the running Xen hypervisor",
    long_about = long_about(),
    after_help = exit_statuses(),
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    next_help_heading = "Common options"
)]
pub(crate) struct CommonOptions {
    /// Print one JSON object, for errors too, but not for help
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Use the simulated Xen stored in DIR instead of this machine's
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "device")]
    pub(crate) simulate: Option<PathBuf>,

    /// Use this device [default: /dev/xen/privcmd]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) device: Option<PathBuf>,

    /// The time that Xen may take to stop all processors, such as 100ms [default: Xen's 30ms]
    #[arg(long, value_name = "TIME", value_parser = time, global = true)]
    pub(crate) timeout: Option<Duration>,

    /// The time that an action, a gap, or waiting for another tool may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time, global = true)]
    pub(crate) deadline: Option<Duration>,

    /// The number of further attempts if not all processors stopped in time [default: 0]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) retries: Option<u32>,

    /// Set FORCE on uploads: Xen accepts it from 4.19 on, and it has no effect
    #[arg(long, global = true)]
    pub(crate) force: bool,

    /// Show each hypercall, with its time, on stderr
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

impl CommonOptions {
    /// The given directory or the default, which is another one in a simulated Xen than on this machine.
    pub(crate) fn directory(&self, given: Option<&Path>, simulated: &str, real: &str) -> PathBuf {
        match (given, &self.simulate) {
            (Some(given), _) => given.into(),
            (None, Some(simulation)) => simulation.join(simulated),
            (None, None) => real.into(),
        }
    }
}

/// The series of Xen that the crate supports, as in `4.7 to 4.22`.
pub(crate) fn releases() -> String {
    let [oldest, .., newest] = Release::ALL;
    format!("4.{} to 4.{}", oldest.minor(), newest.minor())
}

fn long_about() -> String {
    format!(
        "Live-patch the running Xen hypervisor, of any release from {}.\n\nA payload is uploaded under a name, applied on \
         top of the payloads that are applied already, reverted from the top down, and unloaded. By default it must have \
         been built for the payload below it or, at the bottom, for the running Xen. Payloads are identified by build-id. \
         `inspect` shows the contents of a payload, `check` whether this Xen would accept it, `status` the payloads that \
         run; `ensure` brings the host to a desired state.",
        releases()
    )
}

fn exit_statuses() -> String {
    let lines: Vec<String> =
        ExitStatus::ALL.iter().map(|(status, meaning)| format!("  {}  {meaning}", status.number())).collect();
    format!("Exit status:\n{}", lines.join("\n"))
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 100ms or 5s"))
}
