//! The payloads that there are, what may be wanted of them, and a host in any state that they can bring it to.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{FunctionPatch, HookCode, PayloadBuilder, Release, SimulatedXen};
use xen_livepatch::{Action, ActionOptions, Flags, LivepatchClient, Payload, PayloadName, Wanted};

/// A payload: what it is, the name that it is loaded under, and what it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub id: &'static str,
    pub name: &'static str,
    pub below: Option<&'static str>,
}

const fn kind(id: &'static str, name: &'static str, below: Option<&'static str>) -> Kind {
    Kind { id, name, below }
}

/// Two stacks, one that needs uploading again, one whose hook may veto, and two under names of others.
pub const KINDS: [Kind; 9] = [
    kind("a", "a", None),
    kind("b", "b", Some("a")),
    kind("c", "c", Some("b")),
    kind("d", "d", None),
    kind("e", "e", Some("d")),
    kind("data", "data", None),
    kind("hooked", "hooked", None),
    kind("new a", "a", None),
    kind("new b", "b", Some("new a")),
];

/// What may be wanted, from the bottom up.
pub const STACKS: [&[&str]; 11] = [
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
    &["new a", "new b"],
];

pub fn of(id: &str) -> Kind {
    *KINDS.iter().find(|kind| kind.id == id).unwrap()
}

pub fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

pub fn builder(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let named = |id: &str| PayloadBuilder::for_xen(xen, id);
    // Not the version: a 4.7 or 4.8 has to tell which point release it is.
    let builder = named(id).function(FunctionPatch::returning("do_xen_version", format!("-{id}")));
    let builder = match of(id).below {
        Some(below) => builder.depends_on(named(below).build_id()),
        None => builder,
    };
    match id {
        "data" => builder.writable_data([1, 2, 3]),
        "hooked" if xen.release() >= Release::V4_14 => builder.hook(HookKind::PreApply, HookCode::returns(0)),
        _ => builder,
    }
}

pub fn wanted(xen: &SimulatedXen, stack: &[&str]) -> Wanted {
    let payload = |id: &&str| (name(of(id).name), Payload::parse(&builder(xen, id).build()).unwrap());
    Wanted::stack(stack.iter().map(payload))
}

/// A client that doesn't let Xen settle.
pub fn connect(xen: &SimulatedXen) -> LivepatchClient {
    let options = ActionOptions::new().deadline(Duration::from_secs(20)).quiesce_retries(0);
    let client =
        LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(Duration::ZERO).action_defaults(options);
    client.connect(xen.clone()).unwrap()
}

/// Which payload is loaded under a name.
pub fn what_is(xen: &SimulatedXen, client: &LivepatchClient, name: &PayloadName) -> Option<&'static str> {
    let inventory = client.inventory().unwrap();
    let entry = inventory.payloads.iter().find(|entry| entry.name == *name)?;
    let same = |kind: &&Kind| Some(builder(xen, kind.id).build_id()) == entry.build_id.as_ref();
    KINDS.iter().find(same).map(|kind| kind.id)
}

/// What somebody did to a host. Whether it succeeded doesn't matter.
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
