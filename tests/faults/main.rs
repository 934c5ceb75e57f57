//! Random faults in random order. A client never panics, never exceeds its deadline, makes a limited number of hypercalls,
//! never reports a success that is none, and reports Xen's state correctly as soon as the faults are over.
//!
//! `PROPTEST_CASES=10000 cargo test --test faults` runs more cases.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod lists;
mod one_client;
mod oracle;
#[path = "../common/orders.rs"]
mod orders;
mod scenario;
mod threads;
mod two_clients;

use proptest::test_runner::Config;

/// The names that most of these modules use.
mod prelude {
    pub use std::time::Duration;

    pub use proptest::collection::vec;
    pub use proptest::prelude::*;
    pub use proptest::sample::select;
    pub use xen_livepatch::payload::HookKind;
    pub use xen_livepatch::sim::{Access, Call, FunctionPatch, HookCode, LogLevel, Pace, PayloadBuilder, SimulatedXen};
    pub use xen_livepatch::{
        Action, ActionOptions, ClientBuilder, Duplicate, Errno, ErrorKind, Flags, LivepatchClient, LoadedPayload,
        PayloadName, QuiesceTimeout, Release, Result, State,
    };

    pub(crate) use crate::cases;
    pub use crate::oracle::*;
    pub use crate::orders::*;
    pub use crate::scenario::*;
}

/// This number of cases unless `PROPTEST_CASES` sets another. A failing case is printed after it was minimised.
fn cases(cases: u32) -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() }
}
