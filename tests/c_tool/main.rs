//! A command line tool beside the C tool of the running Xen: the same commands, one after the other, to each on a fresh
//! host. `tests/real-xen/beside-c-tool` boots both, and runs this in their dom0.
//!
//! The commands follow from a seed and from what is the same on both hosts, so that nothing has to be told from one boot to
//! the other but what came of them. After each command its exit status, what `list` prints and what Xen's version ends with
//! are held against what is expected of the tool, and against what the other one did. What our tool does otherwise on
//! purpose is in `differences.rs`, by name; any other difference is a failure.
//!
//! | variable | meaning |
//! |---|---|
//! | `XEN_LIVEPATCH_TOOL` | the tool: its path in dom0, perhaps after a loader and its options, separated by blanks |
//! | `XEN_LIVEPATCH_TOOL_IS` | `c-tool` or `ours` |
//! | `XEN_LIVEPATCH_TOOL_BESIDE` | what the C tool's boot printed |
//! | `XEN_LIVEPATCH_SEED` | which commands, 1 unless set |
//! | `XEN_LIVEPATCH_TOOL_COMMANDS` | how many at least (210) |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and speaks to the process that started it"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod differences;
mod files;
mod generator;
#[allow(dead_code, reason = "shared with the tests that need all of it")]
#[path = "../common/host.rs"]
mod host;
mod model;
#[path = "../common/random.rs"]
mod random;
mod script;
mod sequence;
mod tool;
mod transcript;
mod xapi;

use std::collections::BTreeSet;
use std::env;
use std::str::FromStr;

use differences::{Fault, Kind};
use script::{Ground, Script};
use tool::Tool;
use transcript::Transcript;
use xen_livepatch::{BuildId, Release};

fn setting<T: FromStr>(name: &str, default: T) -> T {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
#[ignore = "needs a real Xen"]
fn random_commands() {
    let host = host::host();
    let tool = Tool::of_the_environment();
    let (seed, least) = (setting("XEN_LIVEPATCH_SEED", 1), setting("XEN_LIVEPATCH_TOOL_COMMANDS", 210));
    let script = Script::new(seed, least, &host.client);
    script.files.write();
    let transcript = Transcript::take(&script, &tool, &host.client);
    println!("\n{transcript}");

    let mut differences = transcript.against_what_is_expected(&script, tool.kind);
    if let Ok(other) = env::var("XEN_LIVEPATCH_TOOL_BESIDE") {
        let other: Transcript = std::fs::read_to_string(other).unwrap().parse().unwrap();
        differences.extend(transcript.against_the_c_tool(&other, &script, tool.kind));
    }
    host::clean(&host.client);
    println!("{}", script.census());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Every command is predicted, so no host is needed to see that the hosts come together again, and that nothing differs
/// without a name.
#[test]
fn every_difference_on_purpose_is_met_and_nothing_else_differs() {
    let mut met = BTreeSet::new();
    for release in [Release::V4_14, Release::V4_17, Release::V4_20] {
        let ground = Ground { release, xen: BuildId::new([0x78; 20]), extra: ".0".into() };
        for seed in 0..40 {
            let script = Script::on(&ground, seed, 210);
            met.extend(script.steps.iter().filter(|step| step.differs()).flat_map(|step| step.faults.clone()));
            let [c_tool, ours] = [Kind::C, Kind::Ours].map(|kind| Transcript::expected(&script, kind));
            let told: Transcript = c_tool.to_string().parse().unwrap();
            assert_eq!(told.against_what_is_expected(&script, Kind::C), Vec::<String>::new());
            assert_eq!(ours.against_the_c_tool(&told, &script, Kind::Ours), Vec::<String>::new());
            assert_ne!(ours.against_what_is_expected(&script, Kind::C), Vec::<String>::new());
            assert_ne!(ours.against_the_c_tool(&told, &script, Kind::C), Vec::<String>::new());
            println!("{}", script.census());
        }
    }
    assert_eq!(met, Fault::all().collect());
}
