//! The stack among the files for a Xen: chains, forks, holes, circles and links.

use std::path::PathBuf;

use super::directory::{Directory, id, payload, xen};
use crate::prelude::*;

#[test]
fn stories() {
    super::story::run(include_str!("choice.txt"));
}

#[test]
fn a_xen_without_build_id_takes_none() {
    let store = Directory::of([("a", payload(1, 0xa0))]).read();
    let target = Target::new((4, 20));
    let error = store.wanted_for(&target).unwrap_err();
    assert!(matches!(error, PlanError::XenUnknown { why: None, .. }), "{error}");
    assert!(store.for_target(&target).is_empty() && store.for_another(&target).is_empty());
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
