//! The names that most tests use, and the fixtures: simulated hosts with a client, and payloads that their releases take.

use std::fmt::Debug;
pub use std::time::Duration;

pub use xen_livepatch::payload::HookKind;
pub use xen_livepatch::sim::{Access, Call, Defect, FunctionPatch, HookCode, Pace, PayloadBuilder, SimulatedXen};
pub use xen_livepatch::{
    Action, ActionOptions, BuildId, ClientBuilder, Errno, Error, ErrorKind, Flags, LivepatchClient, LoadOptions,
    Operation, Payload, PayloadName, Plan, QuiesceTimeout, Release, Result, State, UploadOptions, Wanted,
};

/// The function whose patch shows in the version.
pub const PATCHED: &str = "xen_extra_version";

/// The values of a loop. When a test fails, the value that it was at is printed.
pub fn each<T: Debug>(values: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    struct At(String);
    impl At {
        fn note(&mut self, value: &impl Debug) {
            self.0 = format!("{value:?}");
        }
    }
    impl Drop for At {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("at {}", self.0);
            }
        }
    }
    let mut at = At(String::new());
    values.into_iter().inspect(move |value| at.note(value))
}

/// Every value of the first with every value of the second.
pub fn pairs<A: Clone, B>(
    first: impl IntoIterator<Item = A, IntoIter: Clone>,
    second: impl IntoIterator<Item = B, IntoIter: Clone>,
) -> impl Iterator<Item = (A, B)> + Clone {
    let second = second.into_iter();
    first.into_iter().flat_map(move |one| second.clone().map(move |other| (one.clone(), other)))
}

/// A host and a client of it.
pub fn host(release: Release) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    let client = connect(&xen);
    (xen, client)
}

/// A host of each release, with a client.
pub fn hosts(releases: impl IntoIterator<Item = Release>) -> impl Iterator<Item = (SimulatedXen, LivepatchClient)> {
    each(releases).map(host)
}

pub fn name(text: impl AsRef<[u8]>) -> PayloadName {
    PayloadName::new(text).unwrap()
}

pub fn names<const N: usize>(texts: [&str; N]) -> Vec<PayloadName> {
    texts.iter().map(name).collect()
}

/// A payload for this host that depends on Xen itself and makes its version end in `-NAME`.
pub fn builder(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning(PATCHED, format!("-{id}")))
}

/// The builder of a client that lets neither Xen settle nor hooks return, and gives up even in a test that went wrong.
pub fn quick() -> ClientBuilder {
    let options = ActionOptions::new().deadline(Duration::from_secs(20));
    LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(Duration::ZERO).action_defaults(options)
}

pub fn connect(xen: &SimulatedXen) -> LivepatchClient {
    quick().connect(xen.clone()).unwrap()
}

/// Uploads payloads of which each depends on the one before, the first on Xen; applies the first `applied`.
pub fn stack<const N: usize>(
    xen: &SimulatedXen,
    ids: [&str; N],
    applied: usize,
    builder: fn(&SimulatedXen, &str) -> PayloadBuilder,
) -> [PayloadName; N] {
    let mut below = xen.build_id().unwrap();
    for (id, at) in ids.into_iter().zip(0..) {
        let payload = builder(xen, id).depends_on(&below);
        below = payload.build_id().clone();
        xen.other_upload(id, &payload.build()).unwrap();
        if at < applied {
            xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
        }
    }
    ids.map(name)
}

/// Uploads a payload as another toolstack does.
pub fn load(xen: &SimulatedXen, id: &str) -> PayloadName {
    xen.other_upload(id, &builder(xen, id).build()).unwrap();
    name(id)
}

/// Has another toolstack begin to apply a payload of its own, which does not end by itself.
pub fn busy(xen: &SimulatedXen, id: &str) {
    load(xen, id);
    xen.set_pace(Pace::Held);
    xen.other_start(id, Action::Apply, Flags::empty()).unwrap();
    xen.set_pace(Pace::default());
}

#[track_caller]
pub fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    error(result).kind().clone()
}

#[track_caller]
pub fn error<T: Debug>(result: Result<T>) -> Error {
    result.unwrap_err()
}

/// The error of an action in a wrong state.
pub fn wrong(found: State, needed: State) -> ErrorKind {
    ErrorKind::WrongState { found, needed }
}

/// An upload without the check before it.
pub fn unchecked(client: &LivepatchClient, name: &PayloadName, payload: &[u8]) -> Result<()> {
    client.upload_with(name, payload, UploadOptions::new().unchecked())
}

/// Uploads a payload as this client's own.
#[track_caller]
pub fn upload(client: &LivepatchClient, id: &str, payload: &PayloadBuilder) -> PayloadName {
    client.upload(&name(id), &payload.build()).unwrap();
    name(id)
}

#[track_caller]
pub fn apply_and_revert(client: &LivepatchClient, name: &PayloadName) {
    client.apply(name, Flags::empty()).unwrap();
    client.revert(name, Flags::empty()).unwrap();
}

/// Has another toolstack upload a payload and apply it.
pub fn other_load(xen: &SimulatedXen, id: &str, payload: &PayloadBuilder) {
    xen.other_upload(id, &payload.build()).unwrap();
    xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
}

/// Has another toolstack's action meet a host that is busy, which leaves the mark of a pending action.
pub fn mark(xen: &SimulatedXen, id: &str, action: Action) {
    xen.set_cpu_hotplug(true);
    xen.other_start(id, action, Flags::empty()).unwrap_err();
    xen.set_cpu_hotplug(false);
}

pub fn parse(payload: &PayloadBuilder) -> Payload {
    Payload::parse(&payload.build()).unwrap()
}

/// An error's kind, and the number that Xen or the kernel gave.
#[track_caller]
pub fn kind_and_errno<T: Debug>(result: Result<T>) -> (ErrorKind, Option<Errno>) {
    let error = error(result);
    (error.kind().clone(), error.raw_errno())
}

#[track_caller]
pub fn upload_and_apply(client: &LivepatchClient, id: &str, payload: &PayloadBuilder) -> PayloadName {
    let name = upload(client, id, payload);
    client.apply(&name, Flags::empty()).unwrap();
    name
}

/// A payload with a hook that returns this number.
pub fn with_hook(xen: &SimulatedXen, id: &str, kind: HookKind, code: i32) -> PayloadBuilder {
    builder(xen, id).hook(kind, HookCode::returns(code))
}

/// A client that does not read Xen's log.
pub fn without_log(xen: &SimulatedXen) -> LivepatchClient {
    quick().without_xen_log().connect(xen.clone()).unwrap()
}
