//! Plans, a row each.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::{Gap, Plan, Wanted};
use crate::inventory::tests::{Short, XEN, host, id};
use crate::payload::{HookKind, Payload};
use crate::sim::{FunctionPatch, HookCode, PayloadBuilder};
use crate::types::{Errno, PayloadName};

fn name(name: &str) -> PayloadName {
    PayloadName::new(name).unwrap()
}

/// The wanted payloads, from the bottom up. Of a name in capitals the data is writable, so that it can't be applied twice; one
/// that begins with `v` has a hook that may veto.
fn wanted(stack: &str) -> Wanted {
    Wanted::stack(stack.split_whitespace().map(|word| {
        let Short { name: named, id: own, below } = Short::of(word);
        let function = FunctionPatch::returning("f", named);
        let mut builder = PayloadBuilder::new(&id(own), &id(below), &id(XEN)).function(function);
        if named.starts_with(char::is_uppercase) {
            builder = builder.writable_data([0; 8]);
        }
        if named.starts_with('n') {
            builder = builder.needs(format!("{below}_symbol"));
        }
        builder = builder.defines(format!("{own}_symbol"));
        if named.starts_with('v') {
            builder = builder.hook(HookKind::PreApply, HookCode::returns(0));
        }
        (name(named), Payload::parse(&builder.build()).unwrap())
    }))
}

fn short(plan: &Plan) -> String {
    let steps = plan.steps().iter().map(|step| format!("{} {}", step.word(), step.name()));
    steps.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_plan_has_the_steps_and_gaps_of_its_row() {
    let rows = include_str!("plans.txt").lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    for row in rows {
        let columns: Vec<&str> = row.split(';').map(str::trim).collect();
        let [loaded, goal, steps, expected_gaps] = columns[..] else { panic!("{row}") };
        let goal = match goal.split_once('|').map(|(stack, how)| (stack, how.trim())) {
            None => wanted(goal),
            Some((stack, "keep unapplied")) => wanted(stack).keep_unapplied(),
            Some((stack, "one by one")) => wanted(stack).one_by_one(),
            _ => panic!("{row}"),
        };
        let plan = Plan::new(&host(loaded), &goal).unwrap_or_else(|error| panic!("{row}: {error}"));
        let gap = |gap: &Gap| {
            gap.to_string().replace("from step ", "").replace("to step", "to").replace("the host runs ", "")
        };
        let gaps: Vec<String> = plan.gaps().iter().map(gap).collect();
        assert_eq!((short(&plan), gaps.join(", ")), (steps.to_owned(), expected_gaps.to_owned()), "{row}");
        assert_eq!(plan.is_empty(), steps.is_empty());
    }
}

#[test]
fn where_there_is_no_way() {
    for (loaded, stack, expected) in [
        ("", "a b/a=a", "\"a\" and \"b\" have the same build-id: Xen loads only one of them"),
        ("", "a/c", "\"a\" depends on build-id 63, but would be applied on Xen itself with build-id XEN"),
        ("", "a b", "\"b\" depends on build-id XEN, but would be applied on payload \"a\" with build-id 61"),
    ] {
        let error = Plan::new(&host(loaded), &wanted(stack)).unwrap_err().to_string();
        let (xen, a, c) = (id(XEN).to_string(), id("a").to_string(), id("c").to_string());
        let expected = expected.replace("XEN", &xen).replace("build-id 61", &format!("build-id {a}"));
        let expected = expected.replace("build-id 63", &format!("build-id {c}"));
        assert_eq!(error, expected, "{loaded:?} to {stack:?}");
    }
    let mut unknown = host("");
    unknown.build_id = None;
    assert_eq!(Plan::new(&unknown, &wanted("a")).unwrap_err(), super::PlanError::XenUnknown { why: None });
    for (errno, text, is_retryable) in [
        (Errno::ENODATA, "it was linked without one", false),
        (Errno::EPERM, "permission xen_build_id", false),
        (Errno::EACCES, "does not let this domain read", false),
        (Errno::EFAULT, "could not be read [EFAULT", false),
        (Errno::EINVAL, "could not be read [EINVAL", false),
        (Errno::ENOSYS, "could not be read [ENOSYS", false),
        (Errno::EAGAIN, "could not be read; try again", true),
        (Errno::EBUSY, "could not be read; try again", true),
        (Errno::EINTR, "could not be read; try again", true),
        (Errno::ENOMEM, "could not be read; try again", true),
    ] {
        unknown.no_build_id = Some(errno);
        let error = Plan::new(&unknown, &wanted("a")).unwrap_err();
        assert_eq!(error, super::PlanError::XenUnknown { why: Some(errno) });
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert_eq!(error.to_string().contains("linked without"), errno == Errno::ENODATA, "{error}");
    }
    assert!(Plan::new(&unknown, &wanted("")).unwrap().is_empty());
    let mut elsewhere = host("");
    elsewhere.build_id = Some(id("other"));
    // Nothing is reverted for what Xen can't take.
    let bytes = PayloadBuilder::new(&id("big"), &id(XEN), &id(XEN)).padded_to(Payload::MAX_SIZE + 1).build();
    let size = u64::try_from(bytes.len()).unwrap();
    let large = Wanted::only(name("big"), Payload::parse(&bytes).unwrap());
    let expected = super::PlanError::TooLarge { name: name("big"), size, without_debug: None };
    let error = Plan::new(&host("+a"), &large).unwrap_err();
    assert_eq!(error, expected);
    assert!(
        error.to_string().starts_with("\"big\" has 2097153 bytes, but Xen accepts at most 2097152 (2 MiB): "),
        "{error}"
    );

    let expected = super::PlanError::BuiltForAnotherXen { name: name("a"), expected: id(XEN), found: id("other") };
    assert_eq!(Plan::new(&elsewhere, &wanted("a")).unwrap_err(), expected);
}

#[test]
fn a_plan_is_a_few_lines() {
    let plan = Plan::new(&host("+a +b/a"), &wanted("a c/a")).unwrap();
    let expected = format!(
        "1. upload c (build-id {})\n2. revert b\n3. apply c\n4. unload b\nfrom step 2 to step 3 the host runs without b",
        id("c")
    );
    assert_eq!(plan.to_string(), expected);
    let replaced = Plan::new(&host("+a +b/a c"), &wanted("c")).unwrap().to_string();
    assert_eq!(replaced, "1. replace c (reverts a, b)\n2. unload b\n3. unload a");
    assert_eq!(Plan::new(&host(""), &wanted("")).unwrap().to_string(), "nothing to do");
}
