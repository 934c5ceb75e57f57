//! A comparison of our command-line tool with the C tool of the running Xen: the same commands, each tool on a fresh host.
//! `tests/real-xen/beside-c-tool` boots both hosts, and runs this program in their dom0.
//!
//! The commands are generated from a seed and from properties that both hosts share. After each command, its exit status, the
//! output of `list` and the end of Xen's version are compared with the prediction for the tool. The predictions for the two
//! tools differ only by the intended differences, which `differences.rs` lists by name.
//!
//! | variable | meaning |
//! |---|---|
//! | `XEN_LIVEPATCH_TOOL` | the tool: its path in dom0, perhaps after a loader and its options, separated by blanks |
//! | `XEN_LIVEPATCH_TOOL_IS` | `c-tool` or `ours` |
//! | `XEN_LIVEPATCH_SEED` | the seed of the commands, 1 by default |
//! | `XEN_LIVEPATCH_TOOL_COMMANDS` | the least number of generated commands, 210 by default |
#![cfg(test)]
#![allow(clippy::as_conversions, unreachable_pub, reason = "the modules of one test")]

mod differences;
mod files;
mod generator;
#[path = "../common/host.rs"]
mod host;
mod model;
#[path = "../common/random.rs"]
mod random;
mod script;
mod tool;

use std::collections::BTreeSet;

use differences::Fault;
use random::setting;
use script::{Script, XenUnderTest};
use tool::Tool;
use xen_livepatch::{BuildId, Release};

#[test]
#[ignore = "needs a real Xen"]
fn random_commands() {
    let host = host::host();
    let tool = Tool::of_the_environment();
    let seed = setting("XEN_LIVEPATCH_SEED").unwrap_or(1);
    let least = setting("XEN_LIVEPATCH_TOOL_COMMANDS").unwrap_or(210);
    let script = Script::new(seed, least, &host.client);
    script.files.write();
    let differences = script.differences(&tool, &host.client);
    host::clean(&host.client);
    println!("{}", script.census());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Since every command is predicted, this needs no host: `Script` asserts that both hosts return to the same state, and that
/// every difference is an intended one.
#[test]
fn every_intended_difference_occurs_and_no_other() {
    let mut met = BTreeSet::new();
    for release in [Release::V4_14, Release::V4_17, Release::V4_20] {
        let ground = XenUnderTest { release, xen: BuildId::new([0x78; 20]), extra: ".0".into() };
        for seed in 0..40 {
            let script = Script::on(&ground, seed, 210);
            met.extend(script.steps.iter().filter(|step| step.differs()).flat_map(|step| step.faults.clone()));
            println!("{}", script.census());
        }
    }
    assert_eq!(met, Fault::ALL.iter().copied().collect());
}
