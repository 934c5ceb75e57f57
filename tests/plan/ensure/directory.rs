//! A host that follows a directory, whatever happens to its files.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use xen_livepatch::sim::SimulatedXen;
use xen_livepatch::{EnsureError, LivepatchClient, PayloadStore, Plan, Release};

use super::host::{builder, connect, level};

/// Something that happens to a file of the directory.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// It is cut after so many thousandths.
    Cut(usize),
    /// A byte at so many thousandths changes.
    Flip(usize, u8),
    /// It is copied under another name.
    Copied,
    /// The beginning of another one is in its place.
    Overwritten(usize),
    /// It is empty.
    Emptied,
    /// Nobody may read it: a directory is in its place.
    Unreadable,
    /// A file of random bytes is beside it.
    Stray(u8),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => (0..1000_usize).prop_map(Mishap::Cut),
        4 => (0..1000_usize, 1..=255_u8).prop_map(|(at, mask)| Mishap::Flip(at, mask)),
        1 => Just(Mishap::Copied),
        2 => (1..1000_usize).prop_map(Mishap::Overwritten),
        1 => Just(Mishap::Emptied),
        1 => Just(Mishap::Unreadable),
        1 => any::<u8>().prop_map(Mishap::Stray),
    ]
}

impl Mishap {
    fn befall(self, directory: &Path, file: &str, other: &str) {
        let path = directory.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let place = |thousandths: usize| thousandths * bytes.len() / 1000;
        match self {
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Flip(at, mask) => {
                let at = place(at);
                bytes[at] ^= mask;
            }
            Self::Copied => fs::write(directory.join("copy.livepatch"), &bytes).unwrap(),
            Self::Overwritten(until) => {
                let until = place(until);
                let other = fs::read(directory.join(other)).unwrap();
                let until = until.min(other.len());
                bytes[..until].copy_from_slice(&other[..until]);
            }
            Self::Emptied => bytes.clear(),
            Self::Unreadable => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                return;
            }
            Self::Stray(byte) => fs::write(directory.join("stray.livepatch"), [byte; 100]).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

fn follow(client: &LivepatchClient, directory: &Path) -> Result<Plan, EnsureError> {
    let wanted = PayloadStore::read(directory)?.wanted_for(&client.target()?)?;
    client.ensure(&wanted, |_| ())
}

/// A finding that is only possible keeps out the payload that it is about, and those above it.
#[test]
fn a_possible_finding_keeps_out_no_payload_below() {
    let xen = SimulatedXen::builder(Release::V4_17).extra_version("-custom").build();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.livepatch"), builder(&xen, "a").build()).unwrap();
    fs::write(place.path().join("b.livepatch"), builder(&xen, "b").read_only_funcs().build()).unwrap();
    let client = connect(&xen);
    for _ in 0..2 {
        let error = follow(&client, place.path()).unwrap_err();
        assert!(matches!(&error, EnsureError::Incomplete { problems, .. } if problems.len() == 1), "{error}");
        assert!(error.to_string().contains("b.livepatch: it does not pass the check for this Xen: "), "{error}");
        assert_eq!(level(&xen), ["a"]);
    }
}

/// The text that the patched function returns.
fn effective(xen: &SimulatedXen) -> String {
    connect(xen).xen_version().unwrap().extra
}

proptest! {
    #![proptest_config(super::properties::cases(200))]

    /// No damage to a file takes anything out that runs, and at boot all that is whole below it is applied.
    #[test]
    fn damage_takes_nothing_out(
        release in select(&[Release::V4_11, Release::V4_14, Release::V4_20][..]),
        damaged in select(&["a", "b", "c"][..]),
        mishap in mishap(),
        boot in any::<bool>(),
    ) {
        let xen = SimulatedXen::new(release);
        let place = tempfile::tempdir().unwrap();
        for id in ["a", "b", "c"] {
            fs::write(place.path().join(format!("{id}.livepatch")), builder(&xen, id).build()).unwrap();
        }
        let client = connect(&xen);
        if !boot {
            follow(&client, place.path()).unwrap();
        }
        let (before, runs) = (level(&xen), effective(&xen));
        let other = if damaged == "a" { "b" } else { "a" };
        mishap.befall(place.path(), &format!("{damaged}.livepatch"), &format!("{other}.livepatch"));
        let result = follow(&client, place.path());
        prop_assert_eq!(xen.crashed(), None);
        if boot {
            // The lower ones are applied, and the rest only if nothing was wrong with it.
            let below = ["a", "b", "c"].iter().position(|id| *id == damaged).unwrap();
            let gone = matches!(mishap, Mishap::Cut(_) | Mishap::Emptied | Mishap::Unreadable | Mishap::Stray(_));
            // With the notes of another one it claims to be that one, and neither is unambiguous.
            let below = if matches!(mishap, Mishap::Overwritten(_)) { 0 } else { below };
            let applied = xen.applied().len();
            prop_assert!(applied >= below && (applied == 3 || result.is_err()), "{:?}", xen.applied());
            prop_assert!(!gone || result.is_err());
        } else {
            prop_assert!(xen.applied().len() >= before.len(), "{:?}: {:?}", before, xen.applied());
            prop_assert_eq!(effective(&xen), runs);
        }
    }
}
