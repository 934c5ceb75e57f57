//! `simulate`: makes a simulated Xen, and payloads for it.

use std::fs;

use serde_json::json;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
use xen_livepatch::{Payload, PayloadName};

use crate::arguments::{Deferred, NewSimulation, Simulate, SimulatedPayload};
use crate::failure::{Failure, as_json};
use crate::options::CommonOptions;
use crate::output::Done;
use crate::simulation::Simulation;
use crate::terminal::shown;

/// The bytes that Xen keeps of what its version ends with.
const LONGEST_TEXT: usize = 15;

pub(super) fn simulate(options: &CommonOptions, arguments: Simulate) -> Result<Done, Failure> {
    match arguments {
        Simulate::New(Deferred(arguments)) => new(arguments),
        Simulate::Payload(Deferred(arguments)) => payload(options, &arguments),
    }
}

fn new(NewSimulation { directory, release, build_id }: NewSimulation) -> Result<Done, Failure> {
    let mut builder = SimulatedXen::builder(release);
    if let Some(id) = build_id {
        builder = builder.build_id(Some(id));
    }
    let xen = builder.build();
    Simulation::create(&directory, &xen)?;
    let id = xen.build_id().expect("it was made with one");
    let text = format!("{} is a simulated Xen {release}, build-id {id}\n", shown(&directory));
    Ok(Done::new(text, json!({ "release": release.to_string(), "build_id": as_json(&id) })))
}

/// Makes a payload that changes what Xen's version ends with, and nothing else.
fn payload(options: &CommonOptions, arguments: &SimulatedPayload) -> Result<Done, Failure> {
    let file = &arguments.file;
    let directory = options.simulate.as_deref();
    let directory = directory
        .ok_or_else(|| Failure::new("usage", "--simulate DIR is missing; it names the Xen to build the payload for"))?;
    Simulation::lock_file(directory)?;
    let simulation = Simulation::open(directory)?;
    let xen = simulation.xen();
    let name = PayloadName::of_file(file)?.to_string();
    let text = arguments.text.clone().unwrap_or_else(|| format!("-{name}"));
    if text.len() > LONGEST_TEXT {
        let message = format!("the text {text:?} has {} bytes, and Xen keeps {LONGEST_TEXT}; see --text", text.len());
        return Err(Failure::new("usage", message));
    }
    let mut builder =
        PayloadBuilder::for_xen(xen, &name).function(FunctionPatch::returning("xen_extra_version", &text));
    if let Some(below) = &arguments.on {
        let below = Payload::read(below)?;
        let id = below.build_id().ok_or_else(|| Failure::new("no_build_id", "the payload below has no build-id"))?;
        builder = builder.depends_on(id);
    }
    if arguments.read_only {
        builder = builder.read_only_funcs();
    }
    let bytes = builder.build();
    fs::write(file, &bytes).map_err(|error| Failure::file(file, &error))?;
    let text = format!("{}: {} bytes, build-id {}\n", shown(file), bytes.len(), builder.build_id());
    Ok(Done::new(text, json!({ "file": file.to_string_lossy(), "build_id": as_json(builder.build_id()) })))
}
