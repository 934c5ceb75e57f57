//! The Xen that is asked, as the options of the command line have it.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use xen_livepatch::{ActionOptions, ClientBuilder, LivepatchClient, ProblemKind, QuiesceTimeout, UploadOptions};

use crate::failure::Failure;
use crate::lock;
use crate::memory::Memory;
use crate::output;
use crate::simulation::{Simulation, simulated};

/// The longest time to wait for another tool.
const PATIENCE: Duration = Duration::from_secs(30);

/// The access to Xen that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads what Xen lists. No earlier call of the tool knows anything about that, and no later one needs to.
    Lists,
    Reads,
    Changes,
}

/// Does this with a client. Other changes wait until it is done, so whatever it needs to read is read before: a pipe may
/// take its time.
pub(crate) fn with_client<T>(
    arguments: &ArgMatches,
    access: Access,
    work: impl FnOnce(&LivepatchClient) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let patience = patience(arguments);
    let memory = (access != Access::Lists).then(|| Memory::new(simulated(arguments)));
    let builder = memory.iter().fold(builder(arguments)?, |builder, memory| memory.recall(builder));
    let work = |client: LivepatchClient| {
        let done = work(&client);
        if let Some(memory) = &memory {
            memory.keep(&client);
        }
        done
    };
    if let Some(folder) = simulated(arguments) {
        let lock = Simulation::lock_file(folder)?;
        // Without one, what two calls did would not both be kept.
        let _lock = lock::of_file(&lock, patience)?;
        let simulation = Simulation::open(folder)?;
        let done = work(builder.connect(simulation.xen().clone())?);
        simulation.save()?;
        return done;
    }
    let _lock = match access {
        Access::Lists | Access::Reads => None,
        Access::Changes => lock::of_host(patience)?,
    };
    work(match arguments.get_one::<PathBuf>("device") {
        Some(path) => builder.open_at(path)?,
        None => builder.open()?,
    })
}

/// The longest time to wait for another tool, as the command line has it.
pub(crate) fn patience(arguments: &ArgMatches) -> Duration {
    arguments.get_one("deadline").copied().unwrap_or(PATIENCE)
}

fn builder(arguments: &ArgMatches) -> Result<ClientBuilder, Failure> {
    let builder = LivepatchClient::builder().action_defaults(action_options(arguments)?);
    Ok(if arguments.get_flag("verbose") { builder.on_hypercall(output::hypercall) } else { builder })
}

fn action_options(arguments: &ArgMatches) -> Result<ActionOptions, Failure> {
    let mut options = ActionOptions::new();
    if let Some(time) = arguments.get_one("timeout").copied() {
        options = options.quiesce_timeout(QuiesceTimeout::new(time)?);
    }
    if let Some(time) = arguments.get_one("deadline").copied() {
        options = options.deadline(time);
    }
    if let Some(retries) = arguments.get_one("retries").copied() {
        options = options.quiesce_retries(retries);
    }
    Ok(options)
}

pub(crate) fn upload_options(arguments: &ArgMatches) -> UploadOptions {
    let options = accepted(arguments).fold(UploadOptions::new(), UploadOptions::accept);
    if arguments.get_flag("force") { options.force() } else { options }
}

/// The kinds of findings that the command line accepts where they are only possible.
pub(crate) fn accepted(arguments: &ArgMatches) -> impl Iterator<Item = ProblemKind> {
    arguments.get_many("accept").into_iter().flatten().copied()
}
