//! Hunts for payloads that the check passes and that hurt a real Xen.
//!
//! `cargo hunt` runs this in the dom0 of a real Xen. It makes payloads, changes them in one to five ways (see
//! `hunt/line.rs` for what is left alone), and those in which the check finds nothing, or nothing but what Xen refuses,
//! are uploaded, applied, reverted and unloaded, sometimes on top of another. Xen has to survive it, and to be afterwards
//! what it was before. When it does not, the runner outside knows from the trace which payload it was.
//!
//! `XEN_LIVEPATCH_SEED` chooses the payloads; the hunt goes on until `XEN_LIVEPATCH_HUNT_PAYLOADS` were uploaded and
//! `XEN_LIVEPATCH_HUNT_APPLIED` of them applied and reverted, or `XEN_LIVEPATCH_HUNT_SECONDS` have passed.
//! `XEN_LIVEPATCH_HUNT_FROM` and `XEN_LIVEPATCH_HUNT_TO` are where it begins and ends at the latest. `XEN_LIVEPATCH_HUNT_ONE` tries one payload, and tells all about it:
//! its number, a mask of the changes to make, masks of the parts and the actions to leave out.
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

#[path = "hunt/census.rs"]
mod census;
#[path = "hunt/fields.rs"]
mod fields;
#[allow(dead_code, reason = "shared with the tests that need all of it")]
#[path = "dom0/host.rs"]
mod host;
#[path = "hunt/hunter.rs"]
mod hunter;
#[path = "hunt/image.rs"]
mod image;
#[path = "hunt/line.rs"]
mod line;
#[path = "hunt/mutation.rs"]
mod mutation;
#[path = "hunt/numbers.rs"]
mod numbers;
#[path = "fidelity/random.rs"]
mod random;
#[path = "hunt/seed.rs"]
mod seed;
#[path = "hunt/structure.rs"]
mod structure;
#[path = "hunt/tables.rs"]
mod tables;
#[path = "hunt/trace.rs"]
mod trace;
#[path = "hunt/xen.rs"]
mod xen;

use std::env;
use std::str::FromStr;
use std::time::{Duration, Instant};

use hunter::Hunter;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
#[ignore = "needs a real Xen"]
fn what_the_check_passes_hurts_no_xen() {
    let host = host::host().unwrap();
    let seed = setting("XEN_LIVEPATCH_SEED", 1);
    let mut hunter = Hunter::new(&host, seed);
    if let Ok(one) = env::var("XEN_LIVEPATCH_HUNT_ONE") {
        let numbers: Vec<u32> = one.split('.').map(|number| number.parse().unwrap()).collect();
        let [number, keep, parts, actions] = numbers[..] else {
            panic!("XEN_LIVEPATCH_HUNT_ONE={one}: not four numbers")
        };
        hunter.show(number.into(), [keep, parts, actions]);
        hunter.end();
        return;
    }
    let (payloads, applied) =
        (setting("XEN_LIVEPATCH_HUNT_PAYLOADS", 2_000), setting("XEN_LIVEPATCH_HUNT_APPLIED", 200));
    let end = Instant::now() + Duration::from_secs(setting("XEN_LIVEPATCH_HUNT_SECONDS", 1 << 30));
    let mut index = setting("XEN_LIVEPATCH_HUNT_FROM", 0);
    let last = setting("XEN_LIVEPATCH_HUNT_TO", u64::MAX);
    while Instant::now() < end && index < last && (hunter.census.sent() < payloads || hunter.census.reverted < applied)
    {
        hunter.try_one(index);
        index += 1;
    }
    hunter.end();
    println!("XEN_LIVEPATCH_SEED={seed}, payloads up to number {index}\n{}", hunter.census);
}
