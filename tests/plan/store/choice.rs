//! The stack among the files for a Xen: chains, forks, holes, circles and links.

use std::path::PathBuf;

use proptest::prelude::*;
use xen_livepatch::plan::{Ambiguity, PlanError};
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
use xen_livepatch::{Target, plan::StoreFault};

use super::directory::{Directory, id, old_payload, old_xen, payload, payload_for, xen};

#[test]
fn a_flat_directory_makes_a_chain_per_xen() {
    let directory = Directory::new();
    directory.put("b.livepatch", &payload(1, 0xa0));
    directory.put("a.livepatch", &payload(2, 1));
    directory.put(".half-written.livepatch", b"\x7fELF");
    directory.put("c.livepatch", &payload_for(3, 0xb0, 0xb0));
    directory.put("README", b"no payload");
    assert_eq!(directory.stack(&xen(0xa0)), ["b", "a"]);
    assert_eq!(directory.stack(&xen(0xb0)), ["c"]);
    assert!(directory.stack(&xen(0xc0)).is_empty());
    let store = directory.read();
    assert_eq!((store.payloads().len(), store.problems().len(), store.for_target(&xen(0xa0)).len()), (3, 0, 2));
}

#[test]
fn a_xen_without_build_id_takes_none() {
    let directory = Directory::new();
    directory.put("a.livepatch", &payload(1, 0xa0));
    let store = directory.read();
    let target = Target::new((4, 20));
    let error = store.wanted_for(&target).unwrap_err();
    assert!(matches!(error, PlanError::XenUnknown { why: None, .. }), "{error}");
    assert!(store.for_target(&target).is_empty() && store.for_another(&target).is_empty());
}

#[test]
fn payloads_that_name_no_xen_are_for_that_of_their_chain() {
    let directory = Directory::new();
    directory.put("x.livepatch", &old_payload(1, 0xa0));
    directory.put("y.livepatch", &old_payload(2, 1));
    assert_eq!(directory.stack(&old_xen(0xa0)), ["x", "y"]);
    // It may have lost its base, and so may be for this Xen.
    directory.put("z.livepatch", &old_payload(3, 9));
    let store = directory.read();
    assert!(store.payloads().iter().all(|stored| stored.payload().xen_depends().is_none()));
    assert_eq!(store.for_target(&old_xen(0xa0)).len(), 2);
    let (names, ambiguities) = directory.ambiguities(&old_xen(0xa0));
    assert_eq!(names, ["x", "y"]);
    assert!(matches!(&ambiguities[..], [Ambiguity::MissingBase { base, .. }] if *base == id(9)));
    // From 4.14 on no Xen takes such a payload, and so it is for another.
    let outcome = directory.outcome(&xen(0xa0));
    let paths: Vec<_> = outcome.problems.iter().map(|(word, path)| (*word, path.as_str())).collect();
    assert_eq!((outcome.names.len(), paths), (0, vec![("unfit", "x.livepatch"), ("unfit", "y.livepatch")]));
}

/// The name of its directory does not matter.
#[test]
fn a_payload_is_not_lost_for_its_base() {
    let directory = Directory::new();
    let own = id(0xa0).to_string();
    directory.put(format!("{own}/one.livepatch"), &old_payload(1, 0xa0));
    directory.put(format!("{own}/three.livepatch"), &old_payload(3, 2));
    let (names, ambiguities) = directory.ambiguities(&old_xen(0xa0));
    assert!(matches!(&ambiguities[..], [Ambiguity::MissingBase { base, .. }] if *base == id(2)));
    assert_eq!(names, ["one"]);
    directory.put("elsewhere/two.livepatch", &old_payload(2, 1));
    assert_eq!(directory.stack(&old_xen(0xa0)).len(), 3);
}

#[test]
fn a_link_decides() {
    let directory = Directory::new();
    let target = xen(0xa0);
    let own = id(0xa0).to_string();
    // Cumulative: both depend on Xen.
    directory.put(format!("{own}/one.livepatch"), &payload(1, 0xa0));
    directory.put(format!("{own}/two.livepatch"), &payload(2, 0xa0));
    directory.put(format!("{}/one.livepatch", id(0xb0)), &payload_for(3, 0xb0, 0xb0));
    let (names, ambiguities) = directory.ambiguities(&target);
    assert!(matches!(&ambiguities[..], [Ambiguity::SameBase { payloads, .. }] if payloads.len() == 2));
    assert_eq!(names, [""; 0]);
    let link = format!("{own}/livepatch.livepatch");
    directory.link(&link, "two.livepatch");
    assert_eq!(directory.stack(&target), ["two"]);
    let store = directory.read();
    assert_eq!(store.payloads().len(), 3, "reached twice, counts once");
    let chosen: Vec<_> = store.payloads().iter().filter(|stored| stored.is_chosen()).collect();
    assert_eq!((chosen.len(), chosen[0].name().to_string().as_str()), (1, "two"));
    // Those that the chosen one depends on are below it.
    directory.put(format!("{own}/two.livepatch"), &payload(2, 1));
    assert_eq!(directory.stack(&target).len(), 2);
    directory.put(format!("{own}/two.livepatch"), &payload(2, 9));
    let (names, ambiguities) = directory.ambiguities(&target);
    assert!(matches!(&ambiguities[..], [Ambiguity::MissingBase { .. }]));
    assert_eq!(names, ["one"], "whole and unambiguous below");
    directory.put(format!("{own}/two.livepatch"), &payload(2, 1));
    directory.link("livepatch.livepatch", format!("{own}/one.livepatch"));
    let (names, ambiguities) = directory.ambiguities(&target);
    assert!(matches!(&ambiguities[..], [Ambiguity::Links(links)] if links.len() == 2));
    assert_eq!(names, ["one"], "common to both");
    directory.remove("livepatch.livepatch");
    directory.remove(format!("{own}/two.livepatch"));
    let outcome = directory.outcome(&target);
    assert_eq!((outcome.names, outcome.problems), (vec!["one".into()], vec![("unreadable", link.clone())]));
    assert_eq!(directory.problems(), [link]);
}

/// v2 is the choice, and v1 is what it replaced: with v2 damaged, v1 is not what is wanted.
#[test]
fn a_link_to_a_damaged_file_is_a_problem_in_a_flat_directory_too() {
    let target = xen(0xa0);
    let directory = Directory::new();
    directory.put("v1.livepatch", &payload(1, 0xa0));
    directory.put("v2.livepatch", &payload(2, 0xa0));
    directory.link("livepatch.livepatch", "v2.livepatch");
    assert_eq!(directory.stack(&target), ["v2"]);
    let whole = payload(2, 0xa0);
    let damaged = |len: usize| directory.put("v2.livepatch", &whole[..len]);
    for len in [0, 10, 64, whole.len() - 1] {
        damaged(len);
        let outcome = directory.outcome(&target);
        let paths: Vec<_> = outcome.problems.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["livepatch.livepatch", "v2.livepatch"], "{len}");
        assert_eq!(outcome.names, ["v1"]);
    }
    // Two candidates have nothing in common.
    directory.put("v0.livepatch", &payload(8, 0xa0));
    let outcome = directory.outcome(&target);
    assert_eq!((outcome.names.len(), outcome.problems.len()), (0, 2));
}

#[test]
fn a_link_to_a_payload_for_another_xen_is_that_ones_choice() {
    let directory = Directory::new();
    directory.put("a/v1.livepatch", &payload(1, 0xa0));
    directory.put("b/v1.livepatch", &payload_for(3, 0xb0, 0xb0));
    directory.put("b/v2.livepatch", &payload_for(4, 0xb0, 0xb0));
    directory.link("b/livepatch.livepatch", "v2.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["v1"]);
    assert_eq!(directory.stack(&xen(0xb0)), ["v2"]);
    // One that was overwritten with a build for another Xen has lost this Xen's choice.
    directory.put("a/v2.livepatch", &payload_for(5, 0xb0, 0xb0));
    directory.link("a/livepatch.livepatch", "v2.livepatch");
    let (names, ambiguities) = directory.ambiguities(&xen(0xa0));
    assert!(matches!(&ambiguities[..], [Ambiguity::LinkToAnother(_)]), "{ambiguities:?}");
    assert_eq!(names, ["v1"]);
    // With a choice of this Xen's own there is no doubt.
    directory.put("a/v3.livepatch", &payload(6, 0xa0));
    directory.link("c/livepatch.livepatch", "../a/v3.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["v3"]);
}

/// A file that was swapped with another Xen's must not make that one's link a choice among this Xen's.
#[test]
fn a_link_does_not_choose_among_payloads_of_other_directories() {
    let directory = Directory::new();
    directory.put("a/2.livepatch", &payload(2, 1));
    directory.put("b/1.livepatch", &payload(1, 0xa0));
    assert_eq!(directory.stack(&xen(0xa0)), ["1", "2"]);
    directory.link("b/livepatch.livepatch", "1.livepatch");
    let (names, ambiguities) = directory.ambiguities(&xen(0xa0));
    let [Ambiguity::OutsideChoice(paths)] = &ambiguities[..] else { panic!("{ambiguities:?}") };
    let paths: Vec<_> = paths.iter().map(|path| directory.relative(path)).collect();
    assert_eq!((names, paths), (vec!["1".into()], vec!["b/livepatch.livepatch".into(), "a/2.livepatch".into()]));
    // From above it chooses among all.
    directory.remove("b/livepatch.livepatch");
    directory.link("livepatch.livepatch", "b/1.livepatch");
    assert_eq!(directory.stack(&xen(0xa0)), ["1"]);
}

#[test]
fn ambiguity_is_named() {
    for (files, expected, whole) in [
        (&[(1, 0xa0), (2, 0xa0)][..], "these payloads all depend on", 0),
        (&[(1, 0xa0), (2, 1), (3, 1)], "these payloads all depend on", 1),
        (&[(1, 9)], "is not among", 0),
        (&[(1, 0xa0), (2, 9)], "is not among", 1),
        (&[(1, 2), (2, 1)], "in a circle", 0),
        (&[(1, 1)], "in a circle", 0),
        (&[(3, 0xa0), (1, 2), (2, 1)], "in a circle", 1),
    ] {
        let directory = Directory::new();
        for (number, (own, base)) in files.iter().enumerate() {
            directory.put(format!("{number}.livepatch"), &payload(*own, *base));
        }
        let (names, ambiguities) = directory.ambiguities(&xen(0xa0));
        assert!(matches!(&ambiguities[..], [one] if one.to_string().contains(expected)), "{files:?}: {ambiguities:?}");
        assert_eq!(names.len(), whole, "{files:?}");
    }
}

/// Only those that are in the circle, not those on top of it.
#[test]
fn a_circle_is_named_without_those_above_it() {
    let directory = Directory::new();
    for (name, own, base) in [("top", 3, 2), ("two", 2, 1), ("one", 1, 2)] {
        directory.put(format!("{name}.livepatch"), &payload(own, base));
    }
    directory.link("livepatch.livepatch", "top.livepatch");
    let (_, ambiguities) = directory.ambiguities(&xen(0xa0));
    let [Ambiguity::Cycle(paths)] = &ambiguities[..] else { panic!("{ambiguities:?}") };
    let names: Vec<_> = paths.iter().map(|path| directory.relative(path)).collect();
    assert_eq!(names, ["two.livepatch", "one.livepatch"]);
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
