//! A host that follows a directory, whatever happens to its files.

use std::fs;

use super::host::{builder, connect, level};
use crate::prelude::*;
use crate::store::directory::Directory;

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
    /// Nobody may read it: a directory is in its place.
    Unreadable,
    /// A file of random bytes is beside it.
    Stray(u8),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        1 => Just(Mishap::Cut(0)),
        4 => (0..1000_usize).prop_map(Mishap::Cut),
        4 => (0..1000_usize, 1..=255_u8).prop_map(|(at, mask)| Mishap::Flip(at, mask)),
        1 => Just(Mishap::Copied),
        2 => (1..1000_usize).prop_map(Mishap::Overwritten),
        1 => Just(Mishap::Unreadable),
        1 => any::<u8>().prop_map(Mishap::Stray),
    ]
}

impl Mishap {
    fn befall(self, directory: &Directory, file: &str, bytes: &[u8], other: &[u8]) {
        let place = |thousandths: usize| thousandths * bytes.len() / 1000;
        match self {
            Self::Cut(at) => directory.put(file, &bytes[..place(at)]),
            Self::Flip(at, mask) => {
                let mut flipped = bytes.to_vec();
                flipped[place(at)] ^= mask;
                directory.put(file, &flipped);
            }
            Self::Copied => directory.put("copy.livepatch", bytes),
            Self::Overwritten(until) => {
                let until = place(until).min(other.len());
                directory.put(file, &[&other[..until], &bytes[until..]].concat());
            }
            Self::Unreadable => {
                directory.remove(file);
                fs::create_dir(directory.path(file)).unwrap();
            }
            Self::Stray(byte) => directory.put("stray.livepatch", &[byte; 100]),
        }
    }
}

fn follow(client: &LivepatchClient, directory: &Directory) -> Result<Plan, EnsureError> {
    let wanted = PayloadStore::read(&directory.0)?.wanted_for(&client.target()?)?;
    Ok(client.ensure(&wanted, |_| ())?.plan)
}

/// A finding that is only possible keeps out the payload that it is about, and those above it.
#[test]
fn a_possible_finding_keeps_out_no_payload_below() {
    let xen = SimulatedXen::builder(Release::V4_17).extra_version("-custom").build();
    let place = Directory::of([("a", builder(&xen, "a").build()), ("b", builder(&xen, "b").read_only_funcs().build())]);
    let client = connect(&xen);
    for _ in 0..2 {
        let error = follow(&client, &place).unwrap_err();
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
        let place = Directory::of(["a", "b", "c"].map(|id| (id, builder(&xen, id).build())));
        let client = connect(&xen);
        if !boot {
            follow(&client, &place).unwrap();
        }
        let (before, runs) = (level(&xen), effective(&xen));
        let [bytes, other] = [damaged, if damaged == "a" { "b" } else { "a" }].map(|id| builder(&xen, id).build());
        mishap.befall(&place, &format!("{damaged}.livepatch"), &bytes, &other);
        let result = follow(&client, &place);
        prop_assert_eq!(xen.crashed(), None);
        if boot {
            // The lower ones are applied, and the rest only if nothing was wrong with it.
            let below = ["a", "b", "c"].iter().position(|id| *id == damaged).unwrap();
            let gone = matches!(mishap, Mishap::Cut(_) | Mishap::Unreadable | Mishap::Stray(_));
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
