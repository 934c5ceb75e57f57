//! The stack among the files for a Xen: chains, forks, holes, circles and links.

use std::path::PathBuf;

use super::directory::{Directory, id, old_payload, old_xen, payload, payload_for, xen};
use crate::prelude::*;

#[test]
fn a_flat_directory_makes_a_chain_per_xen() {
    let directory = Directory::of([("b", payload(1, 0xa0)), ("a", payload(2, 1)), ("c", payload_for(3, 0xb0, 0xb0))]);
    directory.put(".half-written.livepatch", b"\x7fELF");
    directory.put("README", b"no payload");
    assert_eq!([0xa0, 0xb0, 0xc0].map(|byte| directory.summary(&xen(byte))), ["b a", "c", ""]);
    let store = directory.read();
    assert_eq!((store.payloads().len(), store.problems().len(), store.for_target(&xen(0xa0)).len()), (3, 0, 2));
}

#[test]
fn a_xen_without_build_id_takes_none() {
    let store = Directory::of([("a", payload(1, 0xa0))]).read();
    let target = Target::new((4, 20));
    let error = store.wanted_for(&target).unwrap_err();
    assert!(matches!(error, PlanError::XenUnknown { why: None, .. }), "{error}");
    assert!(store.for_target(&target).is_empty() && store.for_another(&target).is_empty());
}

#[test]
fn payloads_that_name_no_xen_are_for_that_of_their_chain() {
    let directory = Directory::of([("x", old_payload(1, 0xa0)), ("y", old_payload(2, 1))]);
    assert_eq!(directory.summary(&old_xen(0xa0)), "x y");
    // It may have lost its base, and so may be for this Xen.
    directory.put("z.livepatch", &old_payload(3, 9));
    let store = directory.read();
    assert!(store.payloads().iter().all(|stored| stored.payload().xen_depends().is_none()));
    assert_eq!(store.for_target(&old_xen(0xa0)).len(), 2);
    assert_eq!(directory.summary(&old_xen(0xa0)), "x y | missing_base 9 z.livepatch");
    // From 4.14 on no Xen takes such a payload, and so it is for another.
    assert_eq!(directory.summary(&xen(0xa0)), " | unfit x.livepatch | unfit y.livepatch");
}

/// The name of its directory does not matter.
#[test]
fn a_payload_is_not_lost_for_its_base() {
    let directory = Directory::of([("a/one", old_payload(1, 0xa0)), ("a/three", old_payload(3, 2))]);
    assert_eq!(directory.summary(&old_xen(0xa0)), "one | missing_base 2 a/three.livepatch");
    directory.put("elsewhere/two.livepatch", &old_payload(2, 1));
    assert_eq!(directory.summary(&old_xen(0xa0)), "one two three");
}

#[test]
fn a_link_decides() {
    let target = xen(0xa0);
    // Cumulative: both depend on Xen.
    let directory = Directory::of([
        ("a/one", payload(1, 0xa0)),
        ("a/two", payload(2, 0xa0)),
        ("b/one", payload_for(3, 0xb0, 0xb0)),
    ]);
    assert_eq!(directory.summary(&target), " | same_base a0 a/one.livepatch a/two.livepatch");
    directory.link("a/livepatch.livepatch", "two.livepatch");
    assert_eq!(directory.summary(&target), "two");
    let store = directory.read();
    assert_eq!(store.payloads().len(), 3, "reached twice, counts once");
    let chosen: Vec<_> = store.payloads().iter().filter(|stored| stored.is_chosen()).collect();
    assert_eq!((chosen.len(), chosen[0].name().to_string().as_str()), (1, "two"));
    // Those that the chosen one depends on are below it.
    directory.put("a/two.livepatch", &payload(2, 1));
    assert_eq!(directory.summary(&target), "one two");
    directory.put("a/two.livepatch", &payload(2, 9));
    // The rest is whole and unambiguous.
    assert_eq!(directory.summary(&target), "one | missing_base 9 a/two.livepatch");
    directory.put("a/two.livepatch", &payload(2, 1));
    directory.link("livepatch.livepatch", "a/one.livepatch");
    // The payload that is common to both.
    assert_eq!(directory.summary(&target), "one | links a/livepatch.livepatch livepatch.livepatch");
    directory.remove("livepatch.livepatch");
    directory.remove("a/two.livepatch");
    assert_eq!(directory.summary(&target), "one | unreadable a/livepatch.livepatch");
    assert_eq!(directory.problems(), [("unreadable", "a/livepatch.livepatch".into())]);
}

/// v2 is the choice, and v1 is what it replaced: with v2 damaged, v1 is not what is wanted.
#[test]
fn a_link_to_a_damaged_file_is_a_problem_in_a_flat_directory_too() {
    let target = xen(0xa0);
    let directory = Directory::of([("v1", payload(1, 0xa0)), ("v2", payload(2, 0xa0))]);
    directory.link("livepatch.livepatch", "v2.livepatch");
    assert_eq!(directory.summary(&target), "v2");
    let whole = payload(2, 0xa0);
    for (len, reason) in [(0, "empty"), (10, "unreadable"), (64, "note"), (whole.len() - 1, "note")] {
        directory.put("v2.livepatch", &whole[..len]);
        let expected = format!("v1 | broken_link livepatch.livepatch | {reason} v2.livepatch");
        assert_eq!(directory.summary(&target), expected, "{len}");
    }
    // Two candidates have nothing in common.
    directory.put("v0.livepatch", &payload(8, 0xa0));
    let expected = " | broken_link livepatch.livepatch | note v2.livepatch";
    assert_eq!(directory.summary(&target), expected);
}

#[test]
fn a_link_to_a_payload_for_another_xen_is_that_ones_choice() {
    let directory = Directory::of([
        ("a/v1", payload(1, 0xa0)),
        ("b/v1", payload_for(3, 0xb0, 0xb0)),
        ("b/v2", payload_for(4, 0xb0, 0xb0)),
    ]);
    directory.link("b/livepatch.livepatch", "v2.livepatch");
    assert_eq!([0xa0, 0xb0].map(|byte| directory.summary(&xen(byte))), ["v1", "v2"]);
    // One that was overwritten with a build for another Xen has lost this Xen's choice.
    directory.put("a/v2.livepatch", &payload_for(5, 0xb0, 0xb0));
    directory.link("a/livepatch.livepatch", "v2.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "v1 | link_to_another a/livepatch.livepatch");
    // With a choice of this Xen's own there is no doubt.
    directory.put("a/v3.livepatch", &payload(6, 0xa0));
    directory.link("c/livepatch.livepatch", "../a/v3.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "v3");
}

/// A file that was swapped with another Xen's must not make that one's link a choice among this Xen's.
#[test]
fn a_link_does_not_choose_among_payloads_of_other_directories() {
    let directory = Directory::of([("a/2", payload(2, 1)), ("b/1", payload(1, 0xa0))]);
    assert_eq!(directory.summary(&xen(0xa0)), "1 2");
    directory.link("b/livepatch.livepatch", "1.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "1 | outside_choice b/livepatch.livepatch a/2.livepatch");
    // From above it chooses among all.
    directory.remove("b/livepatch.livepatch");
    directory.link("livepatch.livepatch", "b/1.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), "1");
}

#[test]
fn ambiguity_is_named() {
    for (files, expected, text) in [
        (&[(1, 0xa0), (2, 0xa0)][..], " | same_base a0 0 1", "these payloads all depend on"),
        (&[(1, 0xa0), (2, 1), (3, 1)], "0 | same_base 1 1 2", "these payloads all depend on"),
        (&[(1, 9)], " | missing_base 9 0", "is not among"),
        (&[(1, 0xa0), (2, 9)], "0 | missing_base 9 1", "is not among"),
        (&[(1, 2), (2, 1)], " | cycle 0 1", "in a circle"),
        (&[(1, 1)], " | cycle 0", "in a circle"),
        (&[(3, 0xa0), (1, 2), (2, 1)], "0 | cycle 1 2", "in a circle"),
    ] {
        let directory = Directory::new();
        for (number, (own, base)) in files.iter().enumerate() {
            directory.put(format!("{number}.livepatch"), &payload(*own, *base));
        }
        assert_eq!(directory.summary(&xen(0xa0)).replace(".livepatch", ""), expected, "{files:?}");
        let problem = directory.wanted(&xen(0xa0)).problems()[0].to_string();
        assert!(problem.contains(text), "{files:?}: {problem}");
    }
}

/// Only those that are in the circle, not those on top of it.
#[test]
fn a_circle_is_named_without_those_above_it() {
    let directory = Directory::of([("top", payload(3, 2)), ("two", payload(2, 1)), ("one", payload(1, 2))]);
    directory.link("livepatch.livepatch", "top.livepatch");
    assert_eq!(directory.summary(&xen(0xa0)), " | cycle two.livepatch one.livepatch");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Xen is 0; payloads have build-ids and bases of a few numbers.
    #[test]
    fn a_stack_is_whole_and_valid_or_the_ambiguity_is_there(forest in prop::collection::vec((0..7_u8, 0..7_u8), 0..6)) {
        let directory = Directory::new();
        for (number, (own, base)) in forest.iter().enumerate() {
            // No two are the same.
            let function = FunctionPatch::returning("xen_extra_version", format!("-{number}"));
            let bytes = PayloadBuilder::new(&id(*own), &id(*base), &id(0)).function(function).build();
            directory.put(format!("{number}.livepatch"), &bytes);
        }
        let of = |path: &PathBuf| forest[path.file_stem().unwrap().to_str().unwrap().parse::<usize>().unwrap()];
        let wanted = directory.wanted(&xen(0));
        // Whatever there is, is a chain from Xen on.
        let mut top = 0;
        for name in wanted.names() {
            let (own, base) = forest[name.to_string().parse::<usize>().unwrap()];
            prop_assert_eq!(base, top);
            top = own;
        }
        if wanted.problems().is_empty() {
            prop_assert_eq!(wanted.names().count(), forest.len());
        }
        for problem in wanted.problems() {
            let StoreFault::Ambiguous(ambiguity) = problem.fault() else { panic!("{problem}") };
            let found: Vec<_> = ambiguity.paths().iter().map(of).collect();
            match ambiguity {
                Ambiguity::SameBase { base, .. } => {
                    prop_assert!(found.len() > 1 && found.iter().all(|(_, on)| id(*on) == *base));
                }
                Ambiguity::SameBuildId { build_id, .. } => {
                    prop_assert!(found.len() > 1 && found.iter().all(|(own, _)| id(*own) == *build_id));
                }
                Ambiguity::MissingBase { .. } => {
                    prop_assert!(found[0].1 != 0 && forest.iter().all(|(own, _)| *own != found[0].1));
                }
                Ambiguity::Cycle(_) => {
                    for (number, (_, base)) in found.iter().enumerate() {
                        prop_assert_eq!(*base, found[(number + 1) % found.len()].0);
                    }
                }
                other => prop_assert!(false, "{}", other),
            }
        }
    }
}
