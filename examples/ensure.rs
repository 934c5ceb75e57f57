//! Brings a host to the level of some payload files: the lowest of the stack first, or a directory of them, or none of them
//! for Xen as it was booted.
//!
//!     cargo run --example ensure -- --dry-run /usr/lib/xen-livepatch
//!     cargo run --example ensure -- a.livepatch b.livepatch
//!     cargo in-xen --example ensure      # on a real Xen, booted for this
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output is what this example is for")]

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use xen_livepatch::{EnsureError, LivepatchClient, PayloadStore, Plan, StepEvent, StoredPayload, Wanted};

/// Brings this host to the level of some payload files, from the lowest of the stack to its top
#[derive(Parser)]
struct Arguments {
    /// Payload files, or a directory that has those for this Xen; none: reverts everything
    #[arg(value_name = "FILE|DIRECTORY")]
    paths: Vec<PathBuf>,
    /// Print the plan, and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let Arguments { paths, dry_run } = Arguments::parse();
    match ensure(&paths, dry_run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ensure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ensure(paths: &[PathBuf], dry_run: bool) -> Result<(), EnsureError> {
    let client = LivepatchClient::open()?;
    let wanted = match paths {
        [directory] if directory.is_dir() => {
            let store = PayloadStore::read(directory)?;
            let target = client.target()?;
            for stored in store.for_another(&target) {
                eprintln!("ensure: {} is for another Xen", stored.path().display());
            }
            store.wanted_for(&target)?
        }
        files => Wanted::stored(&files.iter().map(StoredPayload::read).collect::<Result<Vec<_>, _>>()?),
    };
    let inventory = client.inventory()?;
    println!("{inventory}");
    let plan = Plan::new(&inventory, &wanted)?;
    println!("{plan}");
    if !dry_run && !plan.is_empty() {
        client.carry_out(&plan, |event| {
            if let StepEvent::End { step, index, total, took, error: None, .. } = event {
                // A full disk is no reason to stop in the middle.
                let _ = writeln!(io::stdout(), "{} of {total} done in {took:.1?}: {step}", index + 1);
            }
        })?;
        println!("{}", client.inventory()?);
    }
    match plan.problems() {
        [] => Ok(()),
        // The plan only adds payloads, and these may not be all.
        problems => Err(EnsureError::Incomplete { problems: problems.to_vec(), plan: Some(Box::new(plan)) }),
    }
}
