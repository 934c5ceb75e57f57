//! The payloads of the tests, the levels that may be wanted of them, and a host in any state that they can bring it to.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::prelude::*;

/// A payload: its identity, the name that it is loaded under, and the payload that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub id: &'static str,
    pub name: &'static str,
    pub below: Option<&'static str>,
}

const fn kind(id: &'static str, name: &'static str, below: Option<&'static str>) -> Kind {
    Kind { id, name, below }
}

/// Stacks; payloads that need uploading again; hooks that veto a replacement, and an apply; two versions of a fix that define
/// the same symbol; a payload that is linked with another one; names of others.
pub const KINDS: [Kind; 15] = [
    kind("a", "a", None),
    kind("b", "b", Some("a")),
    kind("c", "c", Some("b")),
    kind("d", "d", None),
    kind("e", "e", Some("d")),
    kind("data", "data", None),
    kind("hooked", "hooked", None),
    kind("refusing", "refusing", Some("d")),
    kind("new a", "a", None),
    kind("new b", "b", Some("new a")),
    kind("helper 1", "helper", None),
    kind("helper 2", "helper", None),
    kind("helper 3", "helper-3", Some("a")),
    kind("lib", "lib", None),
    kind("user", "user", None),
];

/// The levels that may be wanted, from the bottom up.
pub const STACKS: [&[&str]; 14] = [
    &[],
    &["a"],
    &["a", "b"],
    &["a", "b", "c"],
    &["d"],
    &["d", "e"],
    &["data"],
    &["hooked"],
    &["new a"],
    &["new a", "new b"],
    &["helper 1"],
    &["helper 2"],
    &["a", "helper 3"],
    &["lib"],
];

pub fn of(id: &str) -> Kind {
    *KINDS.iter().find(|kind| kind.id == id).unwrap()
}

pub fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

pub fn builder(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let named = |id: &str| PayloadBuilder::for_xen(xen, id);
    // Not the version text, which shows the point release of a 4.7 or 4.8.
    let function = if matches!(id, "c" | "e" | "lib") { "memcpy" } else { "do_xen_version" };
    let builder = named(id).function(FunctionPatch::returning(function, format!("-{id}")));
    let builder = match of(id).below {
        Some(below) => builder.depends_on(named(below).build_id()),
        None => builder,
    };
    let hooks = xen.release() >= Release::V4_14;
    match id {
        "data" => builder.writable_data([1, 2, 3]),
        "hooked" if hooks => builder.hook(HookKind::PreApply, HookCode::returns(0)),
        "refusing" if hooks => builder.hook(HookKind::PreApply, HookCode::returns(-22)),
        "helper 1" | "helper 2" | "helper 3" => builder.defines("fix_helper"),
        "lib" => builder.defines("lib_table"),
        "user" => builder.needs("lib_table"),
        _ => builder,
    }
}

pub fn payload(xen: &SimulatedXen, id: &str) -> Payload {
    Payload::parse(&builder(xen, id).build()).unwrap()
}

pub fn wanted(xen: &SimulatedXen, stack: &[&str]) -> Wanted {
    Wanted::stack(stack.iter().map(|id| (name(of(id).name), payload(xen, id))))
}

/// The same, with the files of all payloads at hand.
pub fn wanted_with_files(xen: &SimulatedXen, stack: &[&str]) -> Wanted {
    wanted(xen, stack).at_hand(KINDS.iter().map(|kind| payload(xen, kind.id)))
}

/// A client that doesn't let Xen settle.
pub fn connect(xen: &SimulatedXen) -> LivepatchClient {
    impatient().connect(xen.clone()).unwrap()
}

fn impatient() -> ClientBuilder {
    let options = ActionOptions::new().deadline(Duration::from_secs(20)).quiesce_retries(0);
    LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(Duration::ZERO).action_defaults(options)
}

/// A client that dies after so many hypercalls: it unwinds, and does nothing more.
pub fn connect_mortal(xen: &SimulatedXen, calls: u32) -> LivepatchClient {
    let left = AtomicU32::new(calls);
    let die = move |_: &HypercallEvent<'_>| {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            resume_unwind(Box::new("killed"));
        }
    };
    impatient().on_hypercall(die).connect(xen.clone()).unwrap()
}

/// The payload that is loaded under a name.
pub fn what_is(xen: &SimulatedXen, client: &LivepatchClient, name: &PayloadName) -> Option<&'static str> {
    let inventory = client.inventory().unwrap();
    let entry = inventory.payloads.iter().find(|entry| entry.name == *name)?;
    let same = |kind: &&Kind| Some(builder(xen, kind.id).build_id()) == entry.build_id.as_ref();
    KINDS.iter().find(same).map(|kind| kind.id)
}

/// The level of a host, from the bottom up, as Xen itself has it.
pub fn level(xen: &SimulatedXen) -> Vec<&'static str> {
    let client = connect(xen);
    xen.applied().iter().map(|name| what_is(xen, &client, name).unwrap()).collect()
}

/// An operation of another tool on a host. It may fail.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Upload(Kind),
    Act(Kind, Action, bool),
}

impl Deed {
    pub fn act(self, xen: &SimulatedXen) {
        let _ = match self {
            Self::Upload(kind) => xen.other_upload(kind.name, &builder(xen, kind.id).build()),
            Self::Act(kind, action, nodeps) => {
                let nodeps = nodeps && action == Action::Apply && xen.release() >= Release::V4_14;
                let flags = if nodeps { Flags::NODEPS } else { Flags::empty() };
                xen.other_action(kind.name, action, flags)
            }
        };
    }
}

/// Deeds of which NODEPS is one only if that is allowed.
pub fn deed(nodeps: bool) -> impl Strategy<Value = Deed> {
    let kind = || select(&KINDS[..]);
    let action = || {
        prop_oneof![
            5 => Just(Action::Apply),
            2 => Just(Action::Revert),
            1 => Just(Action::Replace),
            1 => Just(Action::Unload),
        ]
    };
    prop_oneof![
        1 => kind().prop_map(Deed::Upload),
        1 => (kind(), action(), any::<bool>()).prop_map(move |(kind, action, lifted)| Deed::Act(kind, action, nodeps && lifted)),
    ]
}

pub fn release() -> impl Strategy<Value = Release> {
    select(&Release::ALL[..])
}
