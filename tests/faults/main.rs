//! Whatever goes wrong, in whatever order: a client never panics, never hangs past its deadline, never asks without end,
//! never says that something was done which wasn't, and always knows what Xen has when it looks again.
//!
//! `PROPTEST_CASES=10000 cargo test --test faults` looks harder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod lists;
mod one_client;
mod oracle;
mod plan;
mod threads;
mod two_clients;

use proptest::test_runner::Config;

/// So many cases unless `PROPTEST_CASES` says otherwise. What fails is printed, as small as it can be made.
fn cases(cases: u32) -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() }
}
