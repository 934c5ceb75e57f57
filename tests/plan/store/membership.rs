//! Files for this Xen, for another one, and for none.

use std::sync::Arc;

use super::directory::{Directory, builder, id, old_payload, old_xen, payload, payload_for, xen};
use crate::prelude::*;

/// A sub-directory whose name looks like another Xen's build-id, or is it, hides nothing.
#[test]
fn names_of_directories_decide_nothing() {
    let whole = payload(2, 1);
    for name in [id(0xb0).to_string(), "9f3265c0de9f3265c0de9f3265c0de9f3265c0de".into(), "b".into()] {
        let directory = Directory::of([("a", payload(1, 0xa0)), (&format!("{name}/b"), whole.clone())]);
        assert_eq!(directory.summary(&xen(0xa0)), "a b");
        directory.put(format!("{name}/b.livepatch"), &whole[..100]);
        assert_eq!(directory.summary(&xen(0xa0)), format!("a | note {name}/b.livepatch"));
    }
}

#[test]
fn a_file_that_contradicts_itself_is_damaged() {
    // It depends on this Xen.
    let directory = Directory::of([("a", payload_for(1, 0xa0, 0xc0))]);
    assert_eq!(directory.summary(&xen(0xa0)), " | contradiction a.livepatch");
    let wanted = directory.wanted(&xen(0xa0));
    assert!(
        matches!(wanted.problems()[0].fault(), StoreFault::Contradiction { xen, depends, .. } if (xen, depends) == (&id(0xc0), &id(0xa0)))
    );
    // It depends on one that is for this Xen.
    let directory = Directory::of([("a", payload(1, 0xa0)), ("b", payload_for(2, 1, 0xc0))]);
    assert_eq!(directory.summary(&xen(0xa0)), "a | contradiction b.livepatch");
    // The linker gives payloads for two builds of Xen one build-id where they contain the same.
    directory.put("c.livepatch", &payload_for(1, 0xc0, 0xc0));
    assert_eq!([0xa0, 0xc0].map(|byte| directory.summary(&xen(byte))), ["a", "c b"]);
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
            let broken = builder(2, 1, 0xa0).for_release(release).defect(section, defect.clone()).build();
            let summary = Directory::of([("a", payload(1, 0xa0)), ("b", broken)]).summary(&target);
            assert!(summary.contains("| note b.livepatch"), "{section} {defect:?}: {summary}");
        }
    }
}

#[test]
fn a_file_that_this_xen_would_refuse_is_a_problem_with_the_finding() {
    let foreign = builder(2, 1, 0xa0).architecture(Architecture::AArch64).build();
    let directory = Directory::of([("a", payload(1, 0xa0)), ("b", foreign)]);
    let target = xen(0xa0).architecture(Architecture::X86_64);
    assert_eq!(directory.summary(&target), "a | unfit b.livepatch");
    let wanted = directory.wanted(&target);
    let StoreFault::Unfit { finding, .. } = wanted.problems()[0].fault() else { panic!("{:?}", wanted.problems()) };
    assert!(wanted.problems()[0].to_string().contains(&finding.to_string()));
}

/// A file for another Xen has to be whole for one of them.
#[test]
fn a_damaged_file_for_another_xen_is_damaged() {
    let whole = builder(2, 0xb0, 0xb0);
    let directory = Directory::of([("a", payload(1, 0xa0)), ("b", whole.build())]);
    assert_eq!(directory.summary(&xen(0xa0)), "a");
    directory.put("b.livepatch", &whole.defect(".livepatch.funcs", Defect::Truncated(33)).build());
    assert_eq!(directory.summary(&xen(0xa0)), "a | damaged b.livepatch");
    assert!(directory.read().for_another(&xen(0xa0)).is_empty());
}

/// Real files, made by gcc and ld.
#[test]
fn payloads_of_a_compiler_are_members() {
    let bytes = |name: &str| std::fs::read(format!("tests/gcc-payloads/{name}.livepatch")).unwrap();
    let directory = Directory::of([("z", bytes("extra-version")), ("a", bytes("stacked"))]);
    let xen_id: BuildId = "101112131415161718191a1b1c1d1e1f20212223".parse().unwrap();
    assert_eq!(directory.summary(&Target::new((4, 20)).build_id(xen_id)), "z a");
    assert_eq!(directory.read().for_another(&xen(0xa0)).len(), 2);
}

/// The files of payloads that are loaded, but not wanted, are at hand, and no file is in memory twice.
#[test]
fn all_whole_payloads_are_shared_and_not_copied() {
    let directory = Directory::of([("a", payload(1, 0xa0)), ("b", old_payload(2, 9)), ("c", payload(3, 0xa0))]);
    directory.link("livepatch.livepatch", "c.livepatch");
    let store = directory.read();
    let [a, b, c] = store.payloads() else { panic!("{:?}", store.payloads()) };
    assert_eq!(a.payload().bytes(), Payload::parse(&payload(1, 0xa0)).unwrap().bytes());
    assert_eq!(directory.summary(&xen(0xa0)), "c", "no 4.20 takes b, which names no Xen");
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    let all: Vec<_> = wanted.payloads().map(|(_, payload)| payload).chain(wanted.payloads_at_hand()).collect();
    assert!(all.len() == 3 && all.iter().zip([c, a, c]).all(|(one, stored)| Arc::ptr_eq(one, stored.payload())));
    assert!(!all.iter().any(|payload| Arc::ptr_eq(payload, b.payload())));
}

/// Neither the payload, nor a link to it, nor one for another Xen is used; and nothing that it claims counts.
#[test]
fn payloads_that_the_caller_does_not_trust_are_damaged() {
    let directory = Directory::of([
        ("a", payload(1, 0xa0)),
        ("b", payload(2, 1)),
        ("c", payload(3, 2)),
        ("foreign", payload_for(4, 0xc0, 0xc0)),
    ]);
    directory.put("copy.livepatch", &payload(2, 1));
    directory.link("livepatch.livepatch", "c.livepatch");
    let without = |untrusted: &[u8]| {
        let is_trusted =
            |stored: &StoredPayload| !untrusted.iter().any(|byte| stored.payload().build_id() == Some(&id(*byte)));
        let mut copies = Vec::new();
        let store = directory.read().verified_by(|stored| {
            copies.push(stored.paths().count());
            if is_trusted(stored) { Ok(()) } else { Err("nobody signed it".into()) }
        });
        assert_eq!(copies, [1, 2, 1, 1]);
        for target in [xen(0xa0), xen(0xc0)] {
            let used = [store.for_target(&target), store.for_another(&target)].concat();
            assert!(used.into_iter().chain(store.payloads()).all(is_trusted));
            let wanted = store.wanted_for(&target).unwrap();
            let problems = wanted.problems().iter().filter(|problem| problem.fault().word() == "untrusted");
            assert_eq!(problems.count(), untrusted.len());
        }
        let wanted = store.wanted_for(&xen(0xa0)).unwrap();
        let problems: Vec<_> = wanted.problems().iter().map(|problem| directory.relative(problem.path())).collect();
        (wanted.names().map(ToString::to_string).collect::<Vec<_>>().join(" "), problems.join(" "))
    };
    let (b, c, link) = ("b.livepatch", "c.livepatch", "livepatch.livepatch");
    for (untrusted, stack, problems) in [
        (&[][..], "a b c", String::new()),
        (&[4], "a b c", "foreign.livepatch".into()),
        (&[3], "a b", format!("{c} {link}")),
        (&[2], "a", format!("{b} {c}")),
        (&[1, 2, 3, 4], "", format!("a.livepatch {b} {c} foreign.livepatch {link}")),
    ] {
        assert_eq!(without(untrusted), (stack.to_owned(), problems), "{untrusted:?}");
    }
    let error = directory.read().verified_by(|_| Err("nobody signed it".into())).problems()[0].to_string();
    assert!(error.ends_with("/a.livepatch: it is not trusted: nobody signed it"), "{error}");
}
