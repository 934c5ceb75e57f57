//! The command line.

use std::path::PathBuf;

use super::step::Work;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Full,
    Brief,
    /// Only operations that have a bar, and only their costs.
    Check,
    /// Only operations that have a bar, with their functions.
    Profile,
    /// No measurement.
    Page {
        directory: PathBuf,
        files: Vec<PathBuf>,
    },
}

impl Mode {
    pub fn bars_only(&self) -> bool {
        matches!(self, Self::Check | Self::Profile)
    }

    /// Returns whether system calls, hypercalls and memory are counted as well.
    pub fn counts(&self) -> bool {
        matches!(self, Self::Full | Self::Brief)
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    /// Costs are times.
    pub clock: bool,
    /// The names of operations contain it.
    pub only: String,
    pub files: PathBuf,
}

const USAGE: &str = "wanted is [--check | --brief | --profile [WORK]] [--clock] [--only WORK] [--files DIRECTORY], \
                     or --page DIRECTORY FILE...";

impl Options {
    pub fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut options = Self { mode: Mode::Full, clock: false, only: String::new(), files: PathBuf::from("/files") };
        let mut arguments = arguments.into_iter().peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} lacks a value: {USAGE}"));
            match argument.as_str() {
                "--check" => options.mode = Mode::Check,
                "--brief" => options.mode = Mode::Brief,
                "--profile" => {
                    options.mode = Mode::Profile;
                    options.only = arguments.next_if(|word| !word.starts_with("--")).unwrap_or_default();
                }
                "--page" => {
                    let directory = PathBuf::from(value()?);
                    let files: Vec<PathBuf> = arguments.by_ref().map(PathBuf::from).collect();
                    if files.is_empty() {
                        return Err(USAGE.into());
                    }
                    options.mode = Mode::Page { directory, files };
                }
                "--clock" => options.clock = true,
                "--only" => options.only = value()?,
                "--files" => options.files = value()?.into(),
                _ => return Err(format!("unknown argument {argument}: {USAGE}")),
            }
        }
        if options.mode == Mode::Check && !options.only.is_empty() {
            return Err("--check measures all that has a bar: --only goes with --brief, or alone".into());
        }
        if !Work::ALL.iter().any(|(_, name)| name.contains(&options.only)) {
            let names: Vec<&str> = Work::ALL.iter().map(|(_, name)| *name).collect();
            return Err(format!("no operation has {} in its name, of: {}", options.only, names.join(", ")));
        }
        if options.clock && options.mode.bars_only() {
            return Err("--check and --profile are about instructions, not about time".into());
        }
        Ok(options)
    }

    /// Returns whether operations are also counted by function.
    pub fn profiles(&self) -> bool {
        !self.clock && matches!(self.mode, Mode::Full | Mode::Profile)
    }

    /// Returns whether a missed bar fails the run.
    pub fn is_held_to_bars(&self) -> bool {
        matches!(self.mode, Mode::Full | Mode::Check) && self.only.is_empty()
    }
}
