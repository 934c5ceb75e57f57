//! The simulated Xens on which the payloads are tried.

use core::time::Duration;

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::SimulatedXen;
use xen_livepatch::{LivepatchClient, Release};

use super::shape::Shapes;
use super::trial::{self, Totals, Trial};

/// Functions and data of Xen that payloads refer to and that a simulated Xen does not have by itself.
const SYMBOLS: [&str; 4] = ["xen_changeset", "xen_compile_time", "xen_compiler", "hvm_funcs"];

/// The releases that take payloads of this version.
pub fn releases(version: u16, architecture: Architecture) -> impl Iterator<Item = Release> {
    // On Arm there is no live patching in 4.7.
    let first = if architecture == Architecture::AArch64 { Release::V4_8 } else { Release::V4_7 };
    let is_of = move |release: &Release| (*release >= Release::V4_14) == (version == 2);
    Release::ALL.into_iter().filter(move |release| *release >= first).filter(is_of)
}

/// A host for the payloads, under this version text.
fn host(shapes: &Shapes, release: Release, architecture: Architecture, text: &str) -> SimulatedXen {
    assert_eq!(trial::architecture(shapes), architecture);
    let builder = SimulatedXen::builder(release).architecture(architecture).extra_version(text);
    let builder = builder.build_id(shapes.xen().cloned());
    // The pointers are null; the bytes are no code that is run.
    SYMBOLS.iter().fold(builder, |builder, name| builder.symbol(*name, [0; 64])).build()
}

/// Tries all shapes that the release can take, each on a Xen of its own.
pub fn try_all(shapes: &Shapes, release: Release, architecture: Architecture, text: &str, totals: &mut Totals) {
    let host = host(shapes, release, architecture, text);
    for shape in shapes.for_release(release) {
        let xen = host.fork();
        let client = LivepatchClient::builder()
            .settle_time(Duration::ZERO)
            .hook_time(Duration::ZERO)
            .connect(xen.clone())
            .unwrap();
        let trial = Trial { client: &client, shown: None, original: text.to_owned() };
        trial.run(shapes, shape, totals);
        if let Some(how) = xen.crashed() {
            totals.crashed.push(format!("{} on the simulated Xen {release}{text}: {how}", shape.name));
        }
    }
}

/// Checks all shapes that the release can take.
pub fn check_all(shapes: &Shapes, release: Release, architecture: Architecture, text: &str, totals: &mut Totals) {
    let client = LivepatchClient::builder().connect(host(shapes, release, architecture, text)).unwrap();
    let trial = Trial { client: &client, shown: None, original: text.to_owned() };
    for shape in shapes.for_release(release) {
        trial.check(shape, totals);
    }
}
