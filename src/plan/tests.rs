//! Plans, a row each.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::{Plan, Wanted};
use crate::inventory::{self, Inventory};
use crate::payload::{HookKind, Payload};
use crate::sim::{FunctionPatch, HookCode, PayloadBuilder};
use crate::types::{BuildId, Errno, PayloadName, State};

/// A payload in short: its name, after `/` the one that it depends on (Xen itself otherwise), and after `=` its identity if
/// that is not its name. `?` stands for one that is not known.
struct Short<'a> {
    name: &'a str,
    id: &'a str,
    below: &'a str,
}

const XEN: &str = "Xen";

impl<'a> Short<'a> {
    fn of(word: &'a str) -> Self {
        let (rest, id) = word.split_once('=').map_or((word, None), |(rest, id)| (rest, Some(id)));
        let (name, below) = rest.split_once('/').unwrap_or((rest, XEN));
        Self { name, id: id.unwrap_or(name), below }
    }
}

fn id(of: &str) -> BuildId {
    BuildId::new(of.as_bytes().iter().copied().cycle().take(20).collect::<Vec<_>>())
}

fn name(name: &str) -> PayloadName {
    PayloadName::new(name).unwrap()
}

/// The loaded payloads, in the order of upload: `+` in front of those that are applied.
fn inventory(loaded: &str) -> Inventory {
    let known = |of: &str| (of != "?").then(|| id(of));
    let entry = |word: &str| {
        let (state, word) = match word.strip_prefix('+') {
            Some(word) => (State::Applied, word),
            None => (State::Checked, word),
        };
        let Short { name: named, id: own, below } = Short::of(word);
        inventory::tests::entry(named, state, [known(own), known(below).filter(|_| own != "?")])
    };
    inventory::tests::host(id(XEN), loaded.split_whitespace().map(entry).collect())
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
fn plans() {
    for (loaded, stack, expected) in [
        ("", "", ""),
        ("", "a", "upload a, apply a"),
        ("", "a b/a", "upload a, upload b, apply a, apply b"),
        ("+a", "a", ""),
        ("+a +b/a", "a b/a", ""),
        // The rest only.
        ("+a", "a b/a", "upload b, apply b"),
        ("+a b/a", "a b/a", "apply b"),
        // Under another name it is as good.
        ("+x=a", "a b/a", "upload b, apply b"),
        ("x=a", "a", "apply x"),
        // Left over.
        ("+a b/a c", "a", "unload c, unload b"),
        ("a", "", "unload a"),
        // Down to the common part.
        ("+a +b/a +c/b", "a", "revert c, revert b, unload c, unload b"),
        ("+a +b/a", "", "revert b, revert a, unload b, unload a"),
        ("+a +b/a", "a c/a", "upload c, revert b, apply c, unload b"),
        // A cumulative one takes the place of all.
        ("+a", "b", "upload b, replace b, unload a"),
        ("+a +b/a", "c", "upload c, replace c, unload b, unload a"),
        ("+a +b/a", "c d/c", "upload c, upload d, replace c, apply d, unload b, unload a"),
        ("+a c", "c", "replace c, unload a"),
        // Nor does it matter who is on top of whom then.
        ("+a +b", "c", "upload c, replace c, unload b, unload a"),
        // REPLACE does nothing for what is applied.
        ("+x +b", "b", "revert b, revert x, apply b, unload x"),
        // The same build-id, but another payload.
        ("+x +b/x", "b", "revert b, revert x, unload b, upload b, apply b, unload x"),
        // With the same name.
        ("a=z", "a", "upload a-61616161, apply a-61616161, unload a"),
        ("+a=z", "a", "upload a-61616161, replace a-61616161, unload a"),
        (
            "+a=z +b/z",
            "a b/a=y",
            "upload a-61616161, upload b-79797979, replace a-61616161, apply b-79797979, unload b, unload a",
        ),
        ("+a +b/a=z", "a b/a", "upload b-62626262, revert b, apply b-62626262, unload b"),
        ("+a=z a-61616161=y", "a", "upload a-61616161-1, replace a-61616161-1, unload a-61616161, unload a"),
        // With data that it may have changed.
        ("A", "A", "unload A, upload A, apply A"),
        ("+x +A/x", "A", "revert A, revert x, unload A, upload A, apply A, unload x"),
        // Linked with the payloads that were loaded when it was uploaded, if it needs a symbol of them.
        ("nb/a", "a nb/a", "upload a, unload nb, upload nb, apply a, apply nb"),
        ("nb/a a", "a nb/a", "unload nb, upload nb, apply a, apply nb"),
        ("a nb/a", "a nb/a", "apply a, apply nb"),
        ("A nb/A", "A nb/A", "unload nb, unload A, upload A, upload nb, apply A, apply nb"),
        ("nb/a +a", "a nb/a", "unload nb, upload nb, apply nb"),
        ("b/a", "a b/a", "upload a, apply a, apply b"),
        ("A b/A", "A b/A", "unload A, upload A, apply A, apply b"),
        // An applied payload keeps the unwanted ones loaded that it may be linked with.
        ("l +na", "na", ""),
        ("l +a", "a", "unload l"),
        // An unidentified payload is unloaded.
        ("u/?=?", "a", "upload a, apply a, unload u"),
        // Nor has it to be identified to be replaced.
        ("+u/?=?", "a", "upload a, replace a, unload u"),
        ("+u/?=?", "", "revert u, unload u"),
        // An order that does not follow from dependencies is tried: Xen refuses to revert what is not on top.
        ("+a +b", "", "revert b, revert a, unload b, unload a"),
        ("+a +b/a +d", "a b/a", "revert d, unload d"),
        ("+a +b", "v", "upload v, revert b, revert a, apply v, unload b, unload a"),
        // The name of another one that is wanted.
        ("+b=a", "a b/a", "upload b-62626262, apply b-62626262"),
        // Names do not matter, as of files in two directories.
        ("", "a a/a=b", "upload a, upload a-62626262, apply a, apply a-62626262"),
        ("+a +x/a=b", "a a/a=b", ""),
        // Hooks that may veto keep a payload from replacing others.
        ("+a", "v", "upload v, revert a, apply v, unload a"),
    ] {
        let plan = Plan::new(&inventory(loaded), &wanted(stack));
        let plan = plan.unwrap_or_else(|error| panic!("{loaded:?} to {stack:?}: {error}"));
        assert_eq!(short(&plan), expected, "{loaded:?} to {stack:?}");
        assert_eq!(plan.is_empty(), expected.is_empty());
    }
}

#[test]
fn what_is_not_applied_is_kept_if_that_is_wanted() {
    for (loaded, stack, expected) in [
        ("a b", "", ""),
        ("+a b", "", "revert a"),
        ("a b", "b", "apply b"),
        ("+a b", "c", "upload c, replace c"),
        // But for what is in the way.
        ("a=z b", "a", "upload a-61616161, apply a-61616161"),
        ("+a=z b", "a", "upload a-61616161, replace a-61616161"),
        ("A", "A", "unload A, upload A, apply A"),
        ("u/?=? a", "a", "apply a"),
    ] {
        let plan = Plan::new(&inventory(loaded), &wanted(stack).keep_unapplied()).unwrap();
        assert_eq!(short(&plan), expected, "{loaded:?} to {stack:?}");
    }
}

#[test]
fn what_is_applied_is_reverted_one_by_one_if_that_is_wanted() {
    let plan = Plan::new(&inventory("+a +b/a"), &wanted("c").one_by_one()).unwrap();
    assert_eq!(short(&plan), "upload c, revert b, revert a, apply c, unload b, unload a");
}

#[test]
fn where_there_is_no_way() {
    for (loaded, stack, expected) in [
        ("", "a b/a=a", "\"a\" and \"b\" have the same build-id: Xen loads only one of them"),
        ("", "a/c", "\"a\" depends on build-id 63, but would be applied on Xen itself with build-id XEN"),
        ("", "a b", "\"b\" depends on build-id XEN, but would be applied on payload \"a\" with build-id 61"),
    ] {
        let error = Plan::new(&inventory(loaded), &wanted(stack)).unwrap_err().to_string();
        let (xen, a, c) = (id(XEN).to_string(), id("a").to_string(), id("c").to_string());
        let expected = expected.replace("XEN", &xen).replace("build-id 61", &format!("build-id {a}"));
        let expected = expected.replace("build-id 63", &format!("build-id {c}"));
        assert_eq!(error, expected, "{loaded:?} to {stack:?}");
    }
    let mut unknown = inventory("");
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
    let mut elsewhere = inventory("");
    elsewhere.build_id = Some(id("other"));
    // Nothing is reverted for what Xen can't take.
    let bytes = PayloadBuilder::new(&id("big"), &id(XEN), &id(XEN)).padded_to(Payload::MAX_SIZE + 1).build();
    let size = u64::try_from(bytes.len()).unwrap();
    let large = Wanted::only(name("big"), Payload::parse(&bytes).unwrap());
    let expected = super::PlanError::TooLarge { name: name("big"), size, without_debug: None };
    let error = Plan::new(&inventory("+a"), &large).unwrap_err();
    assert_eq!(error, expected);
    assert!(
        error.to_string().starts_with("\"big\" has 2097153 bytes, but Xen accepts at most 2097152 (2 MiB): "),
        "{error}"
    );

    let expected = super::PlanError::BuiltForAnotherXen { name: name("a"), expected: id(XEN), found: id("other") };
    assert_eq!(Plan::new(&elsewhere, &wanted("a")).unwrap_err(), expected);
}

#[test]
fn gaps_are_told() {
    for (loaded, stack, expected) in [
        ("", "a", ""),
        ("+a", "b", ""),
        ("+a=z", "a", ""),
        ("+a +b/a", "a", ""),
        ("+a +b/a", "a c/a", "from step 2 to step 3 the host runs without b"),
        ("+a", "v", "from step 2 to step 3 the host runs without a"),
        ("+x +b", "b", "from step 1 to step 3 the host runs without b, from step 2 to step 3 the host runs without x"),
        // A replacement by the first of several takes out everything until the last is there.
        (
            "+a +b/a",
            "c d/c",
            "from step 3 to step 4 the host runs without a, from step 3 to step 4 the host runs without b",
        ),
        ("+t/b", "b t/b", "from step 2 to step 3 the host runs without t"),
    ] {
        let plan = Plan::new(&inventory(loaded), &wanted(stack)).unwrap();
        let gaps: Vec<_> = plan.gaps().iter().map(ToString::to_string).collect();
        assert_eq!(gaps.join(", "), expected, "{loaded:?} to {stack:?}");
    }
}

#[test]
fn a_plan_is_a_few_lines() {
    let plan = Plan::new(&inventory("+a +b/a"), &wanted("a c/a")).unwrap();
    let expected = format!(
        "1. upload c (build-id {})\n2. revert b\n3. apply c\n4. unload b\nfrom step 2 to step 3 the host runs without b",
        id("c")
    );
    assert_eq!(plan.to_string(), expected);
    let replaced = Plan::new(&inventory("+a +b/a c"), &wanted("c")).unwrap().to_string();
    assert_eq!(replaced, "1. replace c (reverts a, b)\n2. unload b\n3. unload a");
    assert_eq!(Plan::new(&inventory(""), &wanted("")).unwrap().to_string(), "nothing to do");
}
