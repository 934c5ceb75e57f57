//! Files for this Xen, for another one, and for none.

use std::sync::Arc;

use xen_livepatch::payload::Architecture;
use xen_livepatch::plan::StoreFault;
use xen_livepatch::sim::{Defect, FunctionPatch, PayloadBuilder};
use xen_livepatch::{BuildId, Payload};

use super::directory::{Directory, id, old_payload, old_xen, payload, payload_for, xen};

fn only_fault(directory: &Directory, target: &xen_livepatch::Target) -> (usize, StoreFault) {
    let wanted = directory.wanted(target);
    assert_eq!(wanted.problems().len(), 1, "{:?}", wanted.problems());
    (wanted.names().count(), wanted.problems()[0].fault().clone())
}

/// A sub-directory whose name looks like another Xen's build-id, or is it, hides nothing.
#[test]
fn names_of_directories_decide_nothing() {
    let whole = payload(2, 1);
    for directory_name in [id(0xb0).to_string(), "9f3265c0de9f3265c0de9f3265c0de9f3265c0de".into(), "b".into()] {
        let directory = Directory::new();
        directory.put("a.livepatch", &payload(1, 0xa0));
        directory.put(format!("{directory_name}/b.livepatch"), &whole);
        assert_eq!(directory.stack(&xen(0xa0)), ["a", "b"]);
        directory.put(format!("{directory_name}/b.livepatch"), &whole[..100]);
        let (count, fault) = only_fault(&directory, &xen(0xa0));
        assert_eq!((count, fault.word()), (1, "note"));
    }
}

#[test]
fn a_file_that_contradicts_itself_is_damaged() {
    // It depends on this Xen.
    let directory = Directory::new();
    directory.put("a.livepatch", &payload_for(1, 0xa0, 0xc0));
    let (count, fault) = only_fault(&directory, &xen(0xa0));
    assert!(
        matches!(fault, StoreFault::Contradiction { xen, depends, .. } if (&xen, &depends) == (&id(0xc0), &id(0xa0)))
    );
    assert_eq!(count, 0);
    // It depends on one that is for this Xen.
    directory.put("a.livepatch", &payload(1, 0xa0));
    directory.put("b.livepatch", &payload_for(2, 1, 0xc0));
    let (count, fault) = only_fault(&directory, &xen(0xa0));
    assert_eq!((count, fault.word()), (1, "contradiction"));
    // The linker gives payloads for two builds of Xen one build-id where they contain the same.
    directory.put("c.livepatch", &payload_for(1, 0xc0, 0xc0));
    assert_eq!(directory.stack(&xen(0xa0)), ["a"]);
    assert_eq!(directory.stack(&xen(0xc0)), ["c", "b"]);
}

#[test]
fn a_file_without_its_build_ids_is_damaged() {
    for (section, defect) in [
        (".note.gnu.build-id", Defect::Missing),
        (".livepatch.depends", Defect::Missing),
        (".livepatch.depends", Defect::Truncated(10)),
        (".livepatch.xen_depends", Defect::Truncated(10)),
        (".livepatch.xen_depends", Defect::Contents(Vec::new())),
    ] {
        for (target, release) in [(xen(0xa0), (4, 20)), (old_xen(0xa0), (4, 11))] {
            let directory = Directory::new();
            directory.put("a.livepatch", &payload(1, 0xa0));
            let broken = PayloadBuilder::new(&id(2), &id(1), &id(0xa0))
                .function(FunctionPatch::returning("xen_extra_version", "-2"))
                .for_release(release)
                .defect(section, defect.clone());
            directory.put("b.livepatch", &broken.build());
            let wanted = directory.wanted(&target);
            let fault = wanted.problems().iter().find(|problem| problem.path().ends_with("b.livepatch")).unwrap();
            assert_eq!(fault.fault().word(), "note", "{section} {defect:?}: {fault}");
        }
    }
}

#[test]
fn a_file_that_this_xen_would_refuse_is_a_problem_with_the_finding() {
    let directory = Directory::new();
    directory.put("a.livepatch", &payload(1, 0xa0));
    let foreign = PayloadBuilder::new(&id(2), &id(1), &id(0xa0))
        .architecture(Architecture::AArch64)
        .function(FunctionPatch::returning("xen_extra_version", "-2"));
    directory.put("b.livepatch", &foreign.build());
    let target = xen(0xa0).architecture(Architecture::X86_64);
    let (count, fault) = only_fault(&directory, &target);
    let StoreFault::Unfit { finding, .. } = fault else { panic!("{fault}") };
    assert!(count == 1 && directory.wanted(&target).problems()[0].to_string().contains(&finding.to_string()));
}

/// A file for another Xen has to be whole for one of them.
#[test]
fn a_damaged_file_for_another_xen_is_damaged() {
    let directory = Directory::new();
    directory.put("a.livepatch", &payload(1, 0xa0));
    let whole =
        PayloadBuilder::new(&id(2), &id(0xb0), &id(0xb0)).function(FunctionPatch::returning("xen_extra_version", "-2"));
    directory.put("b.livepatch", &whole.build());
    assert_eq!(directory.stack(&xen(0xa0)), ["a"]);
    directory.put("b.livepatch", &whole.defect(".livepatch.funcs", Defect::Truncated(33)).build());
    let (count, fault) = only_fault(&directory, &xen(0xa0));
    assert_eq!((count, fault.word()), (1, "damaged"));
    assert!(directory.read().for_another(&xen(0xa0)).is_empty());
}

/// Real files, made by gcc and ld.
#[test]
fn payloads_of_a_compiler_are_members() {
    let bytes = |name: &str| std::fs::read(format!("tests/gcc-payloads/{name}.livepatch")).unwrap();
    let directory = Directory::new();
    let xen_id: BuildId = "101112131415161718191a1b1c1d1e1f20212223".parse().unwrap();
    directory.put("z.livepatch", &bytes("extra-version"));
    directory.put("a.livepatch", &bytes("stacked"));
    let target = xen_livepatch::Target::new((4, 20)).build_id(xen_id);
    assert_eq!(directory.stack(&target), ["z", "a"]);
    assert_eq!(directory.read().for_another(&xen(0xa0)).len(), 2);
}

/// The files of payloads that are loaded, but not wanted, are at hand, and no file is in memory twice.
#[test]
fn all_whole_payloads_are_shared_and_not_copied() {
    let directory = Directory::new();
    directory.put("a.livepatch", &payload(1, 0xa0));
    directory.put("b.livepatch", &old_payload(2, 9));
    directory.put("c.livepatch", &payload(3, 0xa0));
    directory.link("livepatch.livepatch", "c.livepatch");
    let store = directory.read();
    let [a, b, c] = store.payloads() else { panic!("{:?}", store.payloads()) };
    assert_eq!(a.payload().bytes(), Payload::parse(&payload(1, 0xa0)).unwrap().bytes());
    let wanted = directory.outcome(&xen(0xa0));
    assert_eq!((wanted.names, wanted.problems.len()), (vec!["c".into()], 0), "no 4.20 takes b, which names no Xen");
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    let all: Vec<_> = wanted.payloads().map(|(_, payload)| payload).chain(wanted.payloads_at_hand()).collect();
    assert!(all.len() == 3 && all.iter().zip([c, a, c]).all(|(one, stored)| Arc::ptr_eq(one, stored.payload())));
    assert!(!all.iter().any(|payload| Arc::ptr_eq(payload, b.payload())));
}
