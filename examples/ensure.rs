//! Makes a host what some payload files are: the lowest of the stack first, or a folder of them, or none of them for Xen as
//! it was booted.
//!
//!     cargo run --example ensure -- --dry-run /usr/lib/xen-livepatch
//!     cargo run --example ensure -- a.livepatch b.livepatch
//!     cargo in-xen --example ensure      # on a real Xen, booted for this
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output is what this example is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, value_parser};
use xen_livepatch::{LivepatchClient, Payload, PayloadName, PayloadStore, Plan, StepEvent, Wanted};

fn main() -> ExitCode {
    let arguments = Command::new("ensure")
        .about("Makes this host what some payload files are, from the lowest of the stack to its top")
        .arg(
            Arg::new("what")
                .value_name("FILE|FOLDER")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("Payload files, or a folder that has those for this Xen; none: reverts everything"),
        )
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Print the plan, and do nothing"))
        .get_matches();
    let what: Vec<&PathBuf> = arguments.get_many("what").into_iter().flatten().collect();
    match ensure(&what, arguments.get_flag("dry-run")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ensure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ensure(what: &[&PathBuf], dry_run: bool) -> Result<(), Box<dyn Error>> {
    let client = LivepatchClient::open()?;
    let wanted = match what {
        [folder] if folder.is_dir() => {
            let store = PayloadStore::read(folder)?;
            // Without what can't be read the host would be brought down to what is left.
            if let Some((_, error)) = store.problems().first() {
                return Err(error.clone().into());
            }
            Wanted::stored(store.stack_for(&client.build_id()?)?)
        }
        files => Wanted::stack(files.iter().map(|file| named(file)).collect::<Result<Vec<_>, _>>()?),
    };
    let inventory = client.inventory()?;
    println!("{inventory}");
    let plan = Plan::new(&inventory, &wanted)?;
    println!("{plan}");
    if dry_run || plan.is_empty() {
        return Ok(());
    }
    client.carry_out(&plan, |event| {
        if let StepEvent::End { step, index, total, took, error: None, .. } = event {
            println!("{} of {total} done in {took:.1?}: {step}", index + 1);
        }
    })?;
    println!("{}", client.inventory()?);
    Ok(())
}

fn named(file: &Path) -> Result<(PayloadName, Payload), Box<dyn Error>> {
    Ok((PayloadName::of_file(file)?, Payload::read(file)?))
}
