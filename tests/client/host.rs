//! A simulated host with a client, and payloads that its release takes.

use std::time::{Duration, Instant};

use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
use xen_livepatch::{
    Action, ActionOptions, ClientBuilder, Error, ErrorKind, Flags, LivepatchClient, PayloadName, Release, Result,
    State, UploadOptions,
};

/// The function whose patch shows in the version.
pub const PATCHED: &str = "xen_extra_version";

/// The most by which a call may miss its deadline on a busy machine.
pub const SLACK: Duration = Duration::from_millis(1500);

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

pub fn releases(range: impl std::ops::RangeBounds<Release>) -> impl Iterator<Item = Release> {
    Release::ALL.into_iter().filter(move |release| range.contains(release))
}

/// A host and a client of it.
pub fn host(release: Release) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    let client = connect(&xen);
    (xen, client)
}

/// Uploads payloads of which each depends on the one before, the first on Xen; applies the first `applied`.
pub fn stack<const N: usize>(xen: &SimulatedXen, ids: [&str; N], applied: usize) -> [PayloadName; N] {
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

/// A host that has begun an action of another toolstack, on a payload of that toolstack's, and takes its time.
pub fn busy(xen: &SimulatedXen, id: &str) {
    use xen_livepatch::sim::Pace;
    load(xen, id);
    xen.set_pace(Pace::Held);
    xen.other_start(id, Action::Apply, Flags::empty()).unwrap();
    xen.set_pace(Pace::default());
}

#[track_caller]
pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    error(result).kind().clone()
}

#[track_caller]
pub fn error<T: std::fmt::Debug>(result: Result<T>) -> Error {
    result.unwrap_err()
}

/// The error of an action in a wrong state.
pub fn wrong(found: State, needed: State) -> ErrorKind {
    ErrorKind::WrongState { found, needed }
}

/// An action without flags, with a deadline.
pub fn act_within(client: &LivepatchClient, action: Action, name: &PayloadName, deadline: Duration) -> Result<()> {
    client.action(action, name).deadline(deadline).run()
}

/// Has the client give up an action on which Xen is still working.
#[track_caller]
pub fn leave(client: &LivepatchClient, action: Action, name: &PayloadName) {
    let mut deadline = Duration::from_millis(40);
    let error = loop {
        match kind(act_within(client, action, name, deadline)) {
            // On a busy machine there may be too little time to send it.
            ErrorKind::DeadlinePassed => deadline *= 2,
            other => break other,
        }
    };
    assert_eq!(error, ErrorKind::Unfinished, "{action}");
}

/// Runs a call with this deadline, and checks that it returns soon after the deadline and not before.
#[track_caller]
pub fn at_the_deadline<T>(deadline: Duration, call: impl FnOnce(Duration) -> T) -> T {
    let start = Instant::now();
    let result = call(deadline);
    let took = start.elapsed();
    assert!(took >= deadline && took < deadline + SLACK, "{took:?} with a deadline of {deadline:?}");
    result
}

/// An upload without the check before it.
pub fn unchecked(client: &LivepatchClient, name: &PayloadName, payload: &[u8]) -> Result<()> {
    client.upload_with(name, payload, UploadOptions::new().unchecked())
}
