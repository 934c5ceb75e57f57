//! The hunt for payloads that pass the check and harm a real Xen.
//!
//! `cargo hunt` runs this in the dom0 of a real Xen. It generates payloads and changes them in one to five ways (see
//! `exclusions.rs` for changes that are left out). Payloads without findings, or only with those for which Xen refuses them,
//! are uploaded, applied, reverted and unloaded, sometimes on top of another. Xen has to survive, and to be unchanged
//! afterwards. If it does not survive, the trace names the payload to the runner outside.
//!
//! These variables control it, all with the prefix `XEN_LIVEPATCH_`:
//!
//! - `SEED`: the choice of payloads.
//! - `HUNT_PAYLOADS`, `HUNT_APPLIED`: the numbers of uploads and of applied and reverted payloads after which it ends.
//! - `HUNT_SECONDS`: the time after which it ends, in place of these.
//! - `HUNT_FROM`, `HUNT_TO`: the numbers of the first payload, and of the last one at most.
//! - `HUNT_ONE`: one payload to try and describe: its number, and a mask of the changes, parts and actions to leave out.
//! - `HUNT_FILE`: one of the runner's files to try.
//! - `HUNT_HARMFUL`: if set, only payloads are tried that the check calls harmful, each of which should crash its Xen.
#![cfg(test)]
#![allow(clippy::as_conversions, unreachable_pub, reason = "the modules of one test")]

mod exclusions;
#[path = "../common/elf.rs"]
mod fields;
mod generator;
#[path = "../common/host.rs"]
mod host;
mod hunter;
#[path = "../common/image.rs"]
mod image;
mod mutation;
mod numbers;
#[path = "../common/random.rs"]
mod random;
mod seed;
mod structure;
mod tables;
mod totals;
mod trace;
mod xen;

use std::env;
use std::time::{Duration, Instant};

use generator::Generator;
use hunter::Hunter;
use random::setting;
use seed::Ingredients;
use xen_livepatch::payload::Architecture;
use xen_livepatch::{BuildId, Payload, Target};

#[test]
#[ignore = "needs a real Xen"]
fn what_the_check_passes_hurts_no_xen() {
    let host = host::host();
    let seed = setting("XEN_LIVEPATCH_SEED").unwrap_or(1);
    let mut hunter = Hunter::new(&host, seed);
    if let Ok(one) = env::var("XEN_LIVEPATCH_HUNT_ONE") {
        let (number, without) = one.split_once('.').expect("XEN_LIVEPATCH_HUNT_ONE is NUMBER.WITHOUT");
        hunter.show(number.parse().unwrap(), without.parse().unwrap());
        hunter.end();
        return;
    }
    if let Ok(name) = env::var("XEN_LIVEPATCH_HUNT_FILE") {
        hunter.try_file(&name);
        hunter.end();
        return;
    }
    let seconds = setting("XEN_LIVEPATCH_HUNT_SECONDS");
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (payloads, applied) = if end.is_none() { (2_000, 200) } else { (usize::MAX, usize::MAX) };
    let payloads = setting("XEN_LIVEPATCH_HUNT_PAYLOADS").unwrap_or(payloads);
    let applied = setting("XEN_LIVEPATCH_HUNT_APPLIED").unwrap_or(applied);
    let mut number = setting("XEN_LIVEPATCH_HUNT_FROM").unwrap_or(0);
    let last = setting("XEN_LIVEPATCH_HUNT_TO").unwrap_or(u64::MAX);
    while end.is_none_or(|end| Instant::now() < end)
        && number < last
        && (hunter.totals.sent() < payloads || hunter.totals.reverted < applied)
    {
        hunter.try_one(number);
        number += 1;
    }
    hunter.end();
    println!("XEN_LIVEPATCH_SEED={seed}, payloads up to number {number}\n{}", hunter.totals);
}

/// The generators of some hosts, and the targets of the checks.
fn generators() -> Vec<(Generator, Target)> {
    let x86 = [((4, 13), 5), ((4, 14), 6), ((4, 17), 7), ((4, 20), 4), ((4, 22), 0)];
    let arm = [((4, 17), 5), ((4, 22), 0)];
    let x86 = x86.into_iter().map(|host| (Architecture::X86_64, host));
    let arm = arm.into_iter().map(|host| (Architecture::AArch64, host));
    let generator = |(architecture, (release, point))| {
        let xen = BuildId::new([0x78; 20]);
        let target = Target::new(release).point(point).build_id(xen.clone()).architecture(architecture);
        let (endbr, turned, made) = (release == (4, 14), release > (4, 14), Vec::new());
        (Generator::new(7, Ingredients { architecture, xen, release, endbr, turned, made }), target)
    };
    x86.chain(arm).map(generator).collect()
}

#[test]
fn payloads_pass_the_check_as_long_as_nothing_is_changed() {
    for (generator, target) in generators() {
        for number in 0..300 {
            let (seed, mutant, _) = generator.generate(number, 31);
            let findings = Payload::parse(&mutant.file).unwrap().check_against(&target);
            assert_eq!(findings, [], "{number}: {}", seed.text);
        }
    }
}

#[test]
fn a_number_always_makes_the_same_payload_and_numbers_make_different_ones() {
    for (generator, _) in generators() {
        let mut totals = totals::Totals::default();
        for number in 0..300 {
            let (_, mutant, plan) = generator.generate(number, 0);
            let (_, again, same) = generator.generate(number, 0);
            assert_eq!((&mutant.file, &mutant.changes, plan), (&again.file, &again.changes, same));
            totals.generated += usize::from(totals.is_new(&mutant.file));
        }
        assert!(totals.generated > 290, "only {} are distinct", totals.generated);
    }
}
