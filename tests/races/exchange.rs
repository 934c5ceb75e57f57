//! An exchange of versions, observed from another processor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use xen_livepatch::sim::FunctionPatch;
use xen_livepatch::{Payload, Wanted};

use crate::host::{PATCHED, bare, host, name, shown};

/// A new version under the name of the old one: calls of the patched function meanwhile reach one or the other.
#[test]
#[ignore = "needs a real Xen"]
fn no_sample_is_unpatched_while_a_version_is_exchanged() {
    const ROUNDS: usize = 20;
    let host = host();
    let version = |id: &str| {
        let payload = bare(&host.client, id).function(FunctionPatch::returning(PATCHED, format!("-{id}")));
        Wanted::stack([(name("fix"), Payload::parse(&payload.build()).unwrap())])
    };
    let versions = [version("v1"), version("v2")];
    host.client.ensure(&versions[0], |_| ()).unwrap();
    let done = AtomicBool::new(false);
    let samples = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut samples: BTreeMap<String, u64> = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                *samples.entry(shown()).or_default() += 1;
            }
            samples
        });
        for round in 1..=ROUNDS {
            let plan = host.client.ensure(&versions[round % 2], |_| ()).map(|ensured| ensured.plan);
            // Also after a failure.
            if plan.as_ref().map_or(true, |plan| !plan.gaps().is_empty()) {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(plan.unwrap().gaps(), []);
        }
        done.store(true, Ordering::Relaxed);
        poller.join().unwrap()
    });
    println!("{ROUNDS} exchanges: {samples:?}");
    assert!(samples.keys().all(|sample| sample == "-v1" || sample == "-v2"), "{samples:?}");
    assert!(samples.len() == 2 && samples.values().sum::<u64>() > 100, "{samples:?}");
    host.client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}
