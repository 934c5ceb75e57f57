//! A comparison of the simulated Xen with the real one: random sequences of operations on both, with all answers.
//!
//! `cargo fidelity` runs this in the dom0 of a real Xen. `XEN_LIVEPATCH_SEED` chooses the sequences, and
//! `XEN_LIVEPATCH_OPERATIONS` the number of operations. A difference is reported with the shortest sequence that shows it.
//!
//! The comparison covers the result of each operation (the value, or the kind of error and the number), and after each the whole
//! list and the end of Xen's version. So what `tests/client/` and `tests/plan/` assert on the simulated Xen holds on the real one.
//! Some actions overlap with other requests: then the simulated Xen must give all the answers of the real one in some order of the
//! requests. It excludes results that depend on time: timeouts of quiescing (both have plenty of time, or none at all), and the
//! number of rows after which LIST stops early. It also excludes the words of Xen's log, except those that identify a cause.
//!
//! Operations that would harm a real hypervisor are never tried: few are generated, and one that the simulated Xen does not survive
//! ends its sequence.
#![cfg(test)]
#![allow(clippy::as_conversions, unreachable_pub, reason = "the modules of one test")]

mod beside;
mod comparison;
#[path = "../common/elf.rs"]
mod fields;
mod flaws;
mod generator;
#[path = "../common/host.rs"]
mod host;
#[path = "../common/image.rs"]
mod image;
mod order;
#[path = "../common/random.rs"]
mod random;
mod recipe;
mod request;
mod side;
mod step;
mod tables;

use std::io::{self, Write as _};
use std::thread;

use comparison::{Census, Comparison};
use generator::Generator;
use random::setting;
use recipe::Ingredients;
use side::Side;

use crate::prelude::*;

/// Steps of one sequence, after which nothing is loaded again.
const STEPS: usize = 40;

fn print(census: &Census) {
    for (class, count) in census {
        println!("{count:6} {class}");
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn the_simulated_xen_answers_as_the_real_one() {
    let host = host::host();
    let seed: u64 = setting("XEN_LIVEPATCH_SEED").unwrap_or(1);
    let operations: usize = setting("XEN_LIVEPATCH_OPERATIONS").unwrap_or(10_240);
    let say = |text: String| io::stderr().write_all(text.as_bytes()).unwrap();
    let mut comparison = Comparison::new(&host);
    say(format!("comparing with Xen {}: XEN_LIVEPATCH_SEED={seed}\n", comparison.release));

    let sequences = operations.div_ceil(STEPS);
    for sequence in (0..u64::try_from(sequences).unwrap()).map(|index| seed.wrapping_add(index)) {
        comparison.run(Generator::new(sequence, STEPS, &comparison.ingredients));
    }
    // What refuses to be reverted stays for ever, so this comes last, and its host is of no use any more.
    comparison.run(Generator::new(seed, 4 * STEPS, &comparison.ingredients).irreversible());
    core::mem::forget(host);

    print(&comparison.census);
    println!("beside actions: {:?}", comparison.beside);
    println!("{} of {sequences} sequences would not have been survived to their end", comparison.harmful);
    assert!(comparison.harmful * 20 <= sequences.max(20), "too much is made that can't be tried on a real Xen");
    // Chance decides, but not every time. The only CPU there is has done the work before anything else is asked.
    let chances = if thread::available_parallelism().unwrap().get() > 1 { comparison.beside.actions } else { 0 };
    assert!(chances < 50 || comparison.beside.pending > 0, "nothing was asked beside pending work");
    say(format!("{} operations compared on Xen {}: no difference\n", comparison.operations, comparison.release));
}

/// For each request a simulated Xen reports whether a real one would have survived it.
#[test]
fn nothing_is_generated_that_would_hurt_a_real_xen() {
    let points = |last: Release| (0..=last.point()).map(move |point| last.at(point));
    let x86 = Release::ALL.into_iter().flat_map(points).map(|release| (release, Architecture::X86_64));
    // On Arm there is none in 4.7.
    let arm = Release::ALL.into_iter().skip(1).flat_map(points).map(|release| (release, Architecture::AArch64));
    for (release, architecture) in x86.chain(arm) {
        let last = Release::ALL.contains(&release);
        let mut census = Census::default();
        let xen = BuildId::new([0x78; 20]);
        let opcode = if architecture == Architecture::X86_64 { vec![0x48, 0x8d, 0x05] } else { Vec::new() };
        let ingredients = Ingredients { release, architecture, xen, opcode, also: [0x90; 16] };
        for seed in 0..if last { 40 } else { 1 } {
            let xen = side::twin(&ingredients, &release.extra_version());
            let side = Side::simulated(&xen);
            let mut generator = Generator::new(seed, STEPS, &ingredients);
            for _ in 0..STEPS {
                let step = generator.next(&xen);
                let outcome = step.run(&side, generator.attentive, &ingredients);
                assert_eq!(xen.crashed(), None, "{step:?}");
                *census.entry(step.class(&outcome)).or_default() += 1;
            }
            side.clear();
            assert_eq!(xen.loaded(), []);
        }
        println!("Xen {release} on {architecture}:");
        print(&census);
    }
}

/// The names that most of these modules use.
mod prelude {
    pub use std::time::Duration;

    pub use xen_livepatch::payload::*;
    pub use xen_livepatch::sim::*;
    pub use xen_livepatch::*;
}
