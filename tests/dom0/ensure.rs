//! `ensure` on a real host, from any state.

use crate::prelude::*;
use crate::random::Random;

/// Two stacks; each payload makes Xen's version end with its name.
const BELOW: [(&str, Option<&str>); 5] =
    [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", None), ("e", Some("d"))];

const STACKS: [&[&str]; 7] = [&[], &["a"], &["a", "b"], &["a", "b", "c"], &["d"], &["d", "e"], &["a", "b"]];

fn payload(client: &LivepatchClient, id: &str) -> PayloadBuilder {
    let below = BELOW.iter().find(|(other, _)| *other == id).and_then(|(_, below)| *below);
    let builder = bare(client, id).function(FunctionPatch::returning(PATCHED, format!("-{id}")));
    match below {
        Some(below) => builder.depends_on(bare(client, below).build_id()),
        None => builder,
    }
}

fn wanted(client: &LivepatchClient, stack: &[&str]) -> Wanted {
    Wanted::stack(stack.iter().map(|id| (name(id), Payload::parse(&payload(client, id).build()).unwrap())))
}

fn is_as_wanted(host: &Host, stack: &[&str]) {
    let rows = host.client.list().unwrap();
    assert!(rows.iter().all(|row| row.status.state == State::Applied), "{rows:?}");
    let mut names: Vec<_> = rows.iter().map(|row| row.name.to_string()).collect();
    names.sort();
    assert_eq!(names, stack);
    assert_eq!(shown(), stack.last().map_or(host.original.clone(), |top| format!("-{top}")));
    let inventory = host.client.inventory().unwrap();
    let chain: Vec<_> = inventory.stack().iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(chain, stack, "{inventory}");
    let line = [&[format!("Xen {}", inventory.xen)][..], &chain].concat().join(" + ");
    assert_eq!(inventory.to_string(), line);
    assert!(Plan::new(&inventory, &wanted(&host.client, stack)).unwrap().is_empty());
}

#[test]
#[ignore = "needs a real Xen"]
fn twenty_walks_end_where_they_should() {
    let host = host();
    for walk in 1..=20_u64 {
        let mut random = Random::new(walk);
        for _ in 0..3 {
            let stack = random.of(&STACKS);
            let plan = host.client.ensure(&wanted(&host.client, stack), |_| ());
            plan.unwrap_or_else(|error| panic!("walk {walk} to {stack:?}: {error}"));
            is_as_wanted(&host, stack);
        }
    }
    host.client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}

/// The steps of xapi: unload (which may fail), upload, replace, and unload everything that isn't applied.
#[test]
#[ignore = "needs a real Xen"]
fn ensure_ends_where_xapi_does() {
    let host = host();
    let rows = || host.client.list().unwrap();
    let before = |client: &LivepatchClient| client.ensure(&wanted(client, &["a", "b"]), |_| ()).unwrap();

    before(&host.client);
    drop(host.client.unload(&name("d"), Flags::empty()));
    let new = host.upload("d", &payload(&host.client, "d"));
    host.client.replace(&new, Flags::empty()).unwrap();
    for row in rows() {
        if row.status.state == State::Checked {
            host.unload(&row.name);
        }
    }
    let by_hand = rows();

    before(&host.client);
    host.client.ensure(&wanted(&host.client, &["d"]), |_| ()).unwrap();
    assert_eq!(rows(), by_hand);
    is_as_wanted(&host, &["d"]);
    host.client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}
