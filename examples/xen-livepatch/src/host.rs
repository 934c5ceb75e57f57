//! The Xen that a command accesses: this machine's or a simulated one.

use std::time::Duration;

use xen_livepatch::{ActionOptions, ClientBuilder, LivepatchClient, ProblemKind, QuiesceTimeout, UploadOptions};

use crate::failure::Failure;
use crate::lock;
use crate::memory::Memory;
use crate::options::CommonOptions;
use crate::simulation::Simulation;
use crate::terminal;

/// The longest time to wait for another tool.
const PATIENCE: Duration = Duration::from_secs(30);

/// The access to Xen that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads the list of payloads, which needs no knowledge from earlier calls of the tool.
    Lists,
    Reads,
    Changes,
}

/// Runs `work` with a client. Other changes wait until it is done, so input must be read before: a pipe may be slow.
pub(crate) fn with_client<T>(
    options: &CommonOptions,
    access: Access,
    work: impl FnOnce(&LivepatchClient) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let patience = options.deadline.unwrap_or(PATIENCE);
    let memory = (access != Access::Lists).then(|| Memory::new(options.simulate.as_deref()));
    let builder = memory.iter().fold(builder(options)?, |builder, memory| memory.recall(builder));
    let work = |client: LivepatchClient| {
        let done = work(&client);
        if let Some(memory) = &memory {
            memory.keep(&client);
        }
        done
    };
    if let Some(directory) = &options.simulate {
        let lock = Simulation::lock_file(directory)?;
        // Without the lock, one of two calls would overwrite what the other did.
        let _lock = lock::of_file(&lock, patience)?;
        let simulation = Simulation::open(directory)?;
        let done = work(builder.connect(simulation.xen().clone())?);
        simulation.save()?;
        return done;
    }
    let _lock = match access {
        Access::Lists | Access::Reads => None,
        Access::Changes => lock::of_host(patience)?,
    };
    work(match &options.device {
        Some(path) => builder.open_at(path)?,
        None => builder.open()?,
    })
}

fn builder(options: &CommonOptions) -> Result<ClientBuilder, Failure> {
    let mut defaults = ActionOptions::new();
    if let Some(time) = options.timeout {
        defaults = defaults.quiesce_timeout(QuiesceTimeout::new(time)?);
    }
    if let Some(time) = options.deadline {
        defaults = defaults.deadline(time);
    }
    if let Some(retries) = options.retries {
        defaults = defaults.quiesce_retries(retries);
    }
    let builder = LivepatchClient::builder().action_defaults(defaults);
    Ok(if options.verbose { builder.on_hypercall(terminal::hypercall) } else { builder })
}

pub(crate) fn upload_options(options: &CommonOptions, accept: &[ProblemKind]) -> UploadOptions {
    let upload = accept.iter().copied().fold(UploadOptions::new(), UploadOptions::accept);
    if options.force { upload.force() } else { upload }
}
