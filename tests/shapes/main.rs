//! Payloads modelled on vendors' payloads: the check accepts those that a Xen accepts and survives.
//!
//! `tests/vendor-payloads/make` makes them. `cargo test` checks them for every release, under the version texts of vendors,
//! and tries them on the simulated Xen of each. `cargo shapes` does the same on a real one: a payload that the check refuses is
//! uploaded unchecked there, and if Xen accepts, runs and survives it, the refusal was wrong.
//!
//! `XEN_LIVEPATCH_SHAPES` names the shapes to try, separated by colons; all unless set.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one test")]

#[path = "../common/host.rs"]
mod host;
mod shape;
mod simulated;
mod trial;

use std::path::Path;

use shape::Shapes;
use trial::{Totals, Trial};
use xen_livepatch::Release;
use xen_livepatch::payload::Architecture;

/// Version texts of vendors, with `N` for the point release.
const TEXTS: [&str; 5] = [".N-1.xs8", ".N-6", ".N_04-150600.3", ".N+23-g0123", ".N-1.el6"];

/// A version text that does not reveal the point release.
const HIDDEN: &str = "-custom";

/// Returns true for a release that writes to `.livepatch.funcs` even if it is read-only, and crashes.
fn dies_of_read_only(release: Release, architecture: Architecture) -> bool {
    let number = (release.minor(), release.point());
    // It writes to all of its memory, or no longer to it (commits 8676092a0f and 82182ad7b4).
    let writes_elsewhere = matches!(number, (19.., _) | (17, 3..) | (18, 1..));
    let protects_it = matches!(number, (18.., _) | (16, 4..) | (17, 1..));
    !writes_elsewhere && (protects_it || architecture == Architecture::AArch64)
}

#[test]
fn the_simulated_xen_of_every_release_takes_every_shape_under_every_version_text() {
    let mut totals = Totals::default();
    let mut hidden = Totals::default();
    for (version, flags) in [(1, "a"), (1, "aw"), (2, "a"), (2, "aw")] {
        let shapes = Shapes::make(version, flags);
        let architecture = trial::architecture(&shapes);
        let is_fit = |release: &Release| dies_of_read_only(*release, architecture) == (flags == "aw");
        for last in simulated::releases(version, architecture) {
            if is_fit(&last) {
                simulated::try_all(&shapes, last, architecture, &last.extra_version(), &mut totals);
            }
            for release in (0..=last.point()).map(|point| last.at(point)).filter(is_fit) {
                simulated::check_all(&shapes, release, architecture, &release.extra_version(), &mut totals);
                // A vendor's text leaves open whether it has what the next point release has.
                let vendors = if release == last { &mut totals } else { &mut hidden };
                for text in TEXTS.map(|text| text.replace('N', &release.point().to_string())) {
                    simulated::check_all(&shapes, release, architecture, &text, vendors);
                }
                simulated::check_all(&shapes, release, architecture, HIDDEN, &mut hidden);
            }
        }
    }
    println!("{totals}\nwhere the point release is not known: {hidden}");
    assert!(totals.tried > 1000, "{totals}");
    totals.assert_nothing_refused_wrongly();
    totals.assert_nothing_accepted();
    hidden.assert_nothing_refused_wrongly();
}

#[test]
#[ignore = "needs a real Xen"]
fn a_real_xen_and_the_check_take_every_shape() {
    let host = host::host();
    let running = host.running();
    let directory = Path::new("/files").join(if host.since(14) { "vendor-v2" } else { "vendor-v1" });
    let shapes = Shapes::read(&directory);
    assert!(!shapes.is_empty(), "there are no payloads in {}", directory.display());
    let architecture = Architecture::of_this_program();
    let writable =
        shapes.replaced().payload.writable_sections().iter().any(|name| name.to_string() == ".livepatch.funcs");
    assert!(writable || !dies_of_read_only(running, architecture), "this Xen would die of these: set FUNCS_FLAGS=aw");
    let mut totals = Totals::default();
    let trial = Trial { client: &host.client, shown: Some(host::shown), original: host.original.clone() };
    for shape in shapes.for_release(running) {
        trial.run(&shapes, shape, &mut totals);
    }
    println!("Xen 4.{}{}: {totals}", running.minor(), host.original);
    totals.assert_nothing_refused_wrongly();

    // The simulated Xen of this release, under the same version text, and on AArch64, where cargo does not run, of all
    // that take read-only functions.
    let mut totals = Totals::default();
    for simulated in Release::ALL {
        let same = simulated.minor() == running.minor();
        let simulated = if same { running } else { simulated };
        if same || cfg!(target_arch = "aarch64") && simulated.minor() >= 17 {
            simulated::try_all(&shapes, simulated, architecture, &host.original, &mut totals);
        }
    }
    println!("simulated: {totals}");
    totals.assert_nothing_refused_wrongly();
}
