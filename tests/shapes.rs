//! Payloads with the shapes of vendors' ones: what a Xen takes and survives, the check takes.
//!
//! `tests/vendor-payloads/make` makes them. `cargo test` has them checked for every release, under the version texts of
//! vendors, and tried on the simulated Xen of each. `cargo shapes` does the same on a real one: a payload that the check
//! refuses there is uploaded unchecked, and if Xen takes it, runs it and lives, it was refused wrongly.
//!
//! `XEN_LIVEPATCH_SHAPES` names the shapes to try, separated by colons; all unless set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and speaks to the process that started it"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

#[allow(dead_code, reason = "shared with the tests that need all of it")]
#[path = "dom0/host.rs"]
mod host;
#[path = "shapes/shape.rs"]
mod shape;
#[path = "shapes/simulated.rs"]
mod simulated;
#[path = "shapes/trial.rs"]
mod trial;

use std::path::Path;

use shape::Shapes;
use trial::{Census, Trial};
use xen_livepatch::sim::Release;

/// What version texts of vendors look like, with the point release for `N`.
const TEXTS: [&str; 5] = [".N-1.xs8", ".N_04-150600.3", ".N+23-g0123", ".N-1.el6", "-custom"];

/// The last point releases of 4.16 write to `.livepatch.funcs` even where it is read-only, and die of it.
const DIES_OF_READ_ONLY: Release = Release::V4_16;

#[test]
fn the_simulated_xen_of_every_release_takes_every_shape_under_every_version_text() {
    let mut census = Census::default();
    for (version, flags) in [(1, "a"), (2, "a"), (2, "aw")] {
        let shapes = Shapes::make(version, flags);
        let architecture = trial::architecture(&shapes);
        let releases = simulated::releases(version, architecture);
        for release in releases.filter(|release| (*release == DIES_OF_READ_ONLY) == (flags == "aw")) {
            simulated::try_all(&shapes, release, architecture, &release.extra_version(), &mut census);
            for text in TEXTS.map(|text| text.replace('N', &release.point().to_string())) {
                simulated::check_all(&shapes, release, architecture, &text, &mut census);
            }
        }
    }
    println!("{census}");
    assert!(census.tried > 1000, "{census}");
    census.assert_nothing_refused_wrongly();
}

#[test]
#[ignore = "needs a real Xen"]
fn a_real_xen_and_the_check_take_every_shape() {
    let host = host::host();
    let release = host.client.xen_version().unwrap().release();
    let directory = Path::new("/files").join(if host.since(14) { "vendor-v2" } else { "vendor-v1" });
    let shapes = Shapes::read(&directory);
    assert!(!shapes.is_empty(), "there are no payloads in {}", directory.display());
    let mut census = Census::default();
    let trial = Trial { client: &host.client, shown: Some(host::shown), original: host.original.clone() };
    for shape in shapes.for_release(release) {
        trial.run(&shapes, shape, &mut census);
    }
    println!("Xen 4.{}{}: {census}", release.1, host.original);
    census.assert_nothing_refused_wrongly();

    // The simulated Xen of this release, under the same version text, and on AArch64, where cargo does not run, of all.
    let architecture = xen_livepatch::payload::Architecture::of_this_program();
    let mut census = Census::default();
    for simulated in Release::ALL {
        let same = simulated.minor() == release.1;
        if same || cfg!(target_arch = "aarch64") && simulated >= Release::V4_14 {
            simulated::try_all(&shapes, simulated, architecture, &host.original, &mut census);
        }
    }
    println!("simulated: {census}");
    census.assert_nothing_refused_wrongly();
}
