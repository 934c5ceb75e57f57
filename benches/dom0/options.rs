//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::step::Work;

/// Measure the costs of operations on a real Xen
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Measure the operations with a bar; exit with 1 if one costs too much
    #[arg(long, conflicts_with_all = ["brief", "profile", "clock", "only"])]
    check: bool,
    /// Measure fewer sizes
    #[arg(long, conflicts_with = "profile")]
    pub brief: bool,
    /// Count instructions by function, of the operations with a bar
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "WORK", value_parser = operations)]
    #[arg(conflicts_with_all = ["clock", "only"])]
    profile: Option<String>,
    /// Write the pages of DIRECTORY from the FILEs of full runs
    #[arg(long, num_args = 2.., value_names = ["DIRECTORY", "FILE"], exclusive = true)]
    pub page: Vec<PathBuf>,
    /// Measure times instead of instructions
    #[arg(long)]
    pub clock: bool,
    /// Measure only operations with WORK in their names
    #[arg(long, value_name = "WORK", value_parser = operations)]
    only: Option<String>,
    /// The directory of libxenctrl and the tools
    #[arg(long, value_name = "DIRECTORY", default_value = "/files")]
    pub files: PathBuf,
}

fn operations(name: &str) -> Result<String, String> {
    let names = Work::ALL.map(|(_, name)| name);
    let known = names.iter().any(|known| known.contains(name));
    known.then(|| name.into()).ok_or(format!("in none of the operations: {}", names.join(", ")))
}

impl Options {
    /// Returns true if all operations are measured.
    pub fn is_full(&self) -> bool {
        !self.brief && !self.bars_only()
    }

    /// A part of the names of the selected operations.
    pub fn only(&self) -> &str {
        self.profile.as_ref().or(self.only.as_ref()).map_or("", String::as_str)
    }

    /// Returns true if only operations with a bar are measured.
    pub fn bars_only(&self) -> bool {
        self.check || self.profile.is_some()
    }

    /// Returns true if system calls, hypercalls and memory are counted as well.
    pub fn counts(&self) -> bool {
        !self.bars_only()
    }

    /// Returns true if operations are also counted by function.
    pub fn profiles(&self) -> bool {
        !self.clock && (self.is_full() || self.profile.is_some())
    }

    /// Returns true if a missed bar fails the run.
    pub fn is_held_to_bars(&self) -> bool {
        (self.is_full() || self.check) && self.only().is_empty()
    }
}
