//! Observers of a client's hypercalls.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use xen_livepatch::{Hypercall, HypercallEvent};

use crate::prelude::*;

/// The name that Xen has for a kind of hypercall, and for actions the word for it.
const NAMES: [(Call, &str, Option<Action>); 13] = [
    (Call::Upload, "LIVEPATCH_UPLOAD", None),
    (Call::Get, "LIVEPATCH_GET", None),
    (Call::List, "LIVEPATCH_LIST", None),
    (Call::Apply, "LIVEPATCH_ACTION", Some(Action::Apply)),
    (Call::Revert, "LIVEPATCH_ACTION", Some(Action::Revert)),
    (Call::Replace, "LIVEPATCH_ACTION", Some(Action::Replace)),
    (Call::Unload, "LIVEPATCH_ACTION", Some(Action::Unload)),
    (Call::OtherAction, "LIVEPATCH_ACTION", None),
    (Call::Console, "readconsole", None),
    (Call::DebugKeys, "debug_keys", None),
    (Call::Version, "XENVER_version", None),
    (Call::ExtraVersion, "XENVER_extraversion", None),
    (Call::BuildId, "XENVER_build_id", None),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Observed {
    call: Call,
    payload: Option<PayloadName>,
    result: core::result::Result<u32, Errno>,
    line: String,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Observed>>>);

impl Log {
    fn note(&self, event: &HypercallEvent<'_>) {
        let action = if let Hypercall::Action { action, .. } = event.call { action } else { None };
        let known = NAMES.iter().find(|(_, name, of)| (*name, *of) == (event.call.name(), action));
        let (call, ..) = *known.unwrap_or_else(|| panic!("{event}"));
        let payload = event.call.payload().cloned();
        self.0.lock().unwrap().push(Observed { call, payload, result: event.result, line: event.to_string() });
    }

    fn observing(&self, client: ClientBuilder) -> ClientBuilder {
        let log = self.clone();
        client.on_hypercall(move |event| log.note(event))
    }

    fn take(&self) -> Vec<Observed> {
        core::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn watched(xen: &SimulatedXen) -> (LivepatchClient, Log) {
    let log = Log::default();
    (log.observing(quick()).connect(xen.clone()).unwrap(), log)
}

fn counts(xen: &SimulatedXen) -> BTreeMap<Call, u64> {
    let calls = xen.calls();
    assert_eq!(NAMES.iter().map(|(call, ..)| calls.of(*call)).sum::<u64>(), calls.total());
    NAMES.iter().map(|(call, ..)| (*call, calls.of(*call))).filter(|(_, count)| *count > 0).collect()
}

fn counts_of(log: &[Observed]) -> BTreeMap<Call, u64> {
    let mut counts = BTreeMap::new();
    for told in log {
        *counts.entry(told.call).or_default() += 1;
    }
    counts
}

#[test]
fn each_hypercall_of_each_operation_is_observed() {
    for release in each(Release::ALL) {
        let xen = SimulatedXen::new(release);
        let (client, log) = watched(&xen);
        let (fix, nobody) = (name("fix"), name("nobody"));
        let payload = builder(&xen, "fix").build();
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watching-{release}"));
        std::fs::write(&file, &payload).unwrap();
        let none = Flags::empty();
        let mut all = Vec::new();
        let mut operation = |what: &str, payload: Option<&PayloadName>, run: &dyn Fn() -> Result<()>| {
            let outcome = run();
            let then = log.take();
            for told in &then {
                assert!(told.payload.is_none() || told.payload.as_ref() == payload, "{what}: {told:?}");
            }
            all.extend(then);
            assert_eq!(counts_of(&all), counts(&xen), "{what}");
            outcome.err().map(|error| error.kind().clone())
        };
        operation("open", None, &|| Ok(()));
        let mut good = |what, payload: Option<&PayloadName>, run: &dyn Fn() -> Result<()>| {
            assert_eq!(operation(what, payload, run), None, "{what}");
        };
        good("upload", Some(&fix), &|| client.upload(&fix, &payload));
        good("status", Some(&fix), &|| client.status(&fix).map(drop));
        good("list", None, &|| client.list().map(drop));
        good("apply", Some(&fix), &|| client.apply(&fix, none));
        good("inventory", None, &|| client.inventory().map(drop));
        good("capabilities", None, &|| client.capabilities().map(drop));
        good("build-id", None, &|| client.build_id().map(drop));
        good("version", None, &|| client.xen_version().map(drop));
        good("wait", Some(&fix), &|| client.wait(&fix, Action::Apply, Duration::from_secs(1)));
        good("revert", Some(&fix), &|| client.revert(&fix, none));
        good("unload", Some(&fix), &|| client.unload(&fix, none));
        good("upload a file", Some(&fix), &|| client.upload_file(&fix, &file));
        good("replace", Some(&fix), &|| client.replace(&fix, none));
        let again = operation("again", Some(&fix), &|| client.apply(&fix, none));
        assert_eq!(again, Some(wrong(State::Applied, State::Checked)));
        let missing = operation("nobody", Some(&nobody), &|| client.apply(&nobody, none));
        assert_eq!(missing, Some(ErrorKind::NoSuchPayload));
        assert!(operation("nonsense", Some(&nobody), &|| unchecked(&client, &nobody, b"no ELF")).is_some());
        // A mark that nothing will ever take away, which takes an action of no release to find out.
        mark(&xen, "fix", Action::Revert);
        operation("the mark", Some(&fix), &|| client.wait(&fix, Action::Revert, Duration::from_secs(1)));
        assert!(all.iter().any(|told| told.call == Call::OtherAction));
    }
}

#[test]
fn an_event_is_displayed_in_a_line() {
    let xen = SimulatedXen::new(Release::V4_20);
    let (client, log) = watched(&xen);
    let opened = log.take();
    assert_eq!(opened.iter().map(|told| told.call).collect::<Vec<_>>(), [Call::Version, Call::List]);
    assert!(opened[0].line.starts_with("XENVER_version: 262164 in 0."), "{}", opened[0].line);

    let fix = load(&xen, "fix");
    // What runs before the call counts as part of it, so that it takes at least so long.
    xen.on_apply().before(|_| std::thread::sleep(Duration::from_millis(12)));
    xen.on_apply().fail(Errno::EXDEV);
    client.apply(&fix, Flags::empty()).unwrap_err();
    let lines: Vec<String> = log.take().into_iter().map(|told| told.line).collect();
    let line = lines.iter().find(|line| line.starts_with("LIVEPATCH_ACTION apply")).unwrap();
    let took = line.strip_prefix("LIVEPATCH_ACTION apply \"fix\": EXDEV (18, cross-device link) in ").unwrap();
    let took: f64 = took.strip_suffix(" ms").unwrap().parse().unwrap();
    assert!((12.0..10_000.0).contains(&took), "{line}");

    client.status(&name("two\nlines")).unwrap_err();
    let lines = log.take();
    assert_eq!(lines[0].result, Err(Errno::ENOENT));
    assert!(lines[0].line.starts_with("LIVEPATCH_GET \"two\\nlines\": ENOENT (2, no such entry) in "), "{lines:?}");
}

#[test]
fn a_failing_open_is_observed_too() {
    let xen = SimulatedXen::builder(Release::V4_17).access(Access::DeniedByFlask).build();
    let log = Log::default();
    log.observing(quick()).connect(xen.clone()).unwrap_err();
    let all = log.take();
    assert_eq!(counts_of(&all), counts(&xen));
    assert!(all.iter().filter(|told| told.call == Call::List).all(|told| told.result == Err(Errno::EACCES)));
}

#[test]
fn an_observer_that_panics_leaves_the_client_usable() {
    let calls = [Call::Get, Call::Apply, Call::Console, Call::Upload];
    let paces = [Pace::Polls(0), Pace::Polls(2), Pace::Time(Duration::from_millis(30))];
    for (call, pace) in each(pairs(calls, paces)) {
        let xen = SimulatedXen::new(Release::V4_20);
        xen.set_pace(pace);
        let armed = Arc::new(AtomicBool::new(false));
        let (trap, log) = (Arc::clone(&armed), Log::default());
        let client = quick().on_hypercall(move |event| {
            log.note(event);
            let now = log.take().pop().unwrap().call;
            assert!(now != call || !trap.swap(false, Ordering::Relaxed), "as ordered");
        });
        let client = client.connect(xen.clone()).unwrap();
        let fix = name("fix");
        armed.store(true, Ordering::Relaxed);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            upload_and_apply(&client, "fix", &builder(&xen, "fix"));
        }));
        assert!(unwound.is_err() && !armed.load(Ordering::Relaxed));
        // Xen has done what it was asked, and the client goes on from there.
        if xen.loaded().is_empty() {
            upload(&client, "fix", &builder(&xen, "fix"));
        }
        let ended = client.wait(&fix, Action::Apply, Duration::from_secs(10));
        assert_eq!(ended.is_ok(), matches!(call, Call::Get | Call::Apply), "{ended:?}");
        assert_eq!(ended.is_ok(), client.status(&fix).unwrap().state == State::Applied);
        if ended.is_err() {
            client.apply(&fix, Flags::empty()).unwrap();
        }
        client.revert(&fix, Flags::empty()).unwrap();
        client.unload(&fix, Flags::empty()).unwrap();
        assert_eq!(client.list().unwrap(), []);
    }
}

#[test]
fn an_observer_that_uses_the_client_does_not_observe_itself() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client: Arc<OnceLock<LivepatchClient>> = Arc::default();
    let (inner, log) = (Arc::clone(&client), Log::default());
    let told_to = log.clone();
    let watched = quick().on_hypercall(move |event| {
        told_to.note(event);
        let Some(client) = inner.get() else { return };
        client.list().unwrap();
        // What takes a turn gets none while the client acts, and gives up.
        if matches!(event.call, Hypercall::Action { .. }) {
            let other = name("other");
            let start = Instant::now();
            let error = client.action(Action::Unload, &other).deadline(Duration::from_millis(20)).run().unwrap_err();
            assert!(!error.may_have_happened() && start.elapsed() < Duration::from_secs(10), "{error}");
        }
    });
    let (fix, _) = (load(&xen, "fix"), load(&xen, "other"));
    client.set(watched.connect(xen.clone()).unwrap()).unwrap();
    log.take();
    let before = xen.calls().of(Call::List);
    let client = client.get().unwrap();
    client.apply(&fix, Flags::empty()).unwrap();
    let all = log.take();
    let listed = counts_of(&all).get(&Call::List).copied().unwrap_or_default();
    assert_eq!(xen.calls().of(Call::List) - before, listed + u64::try_from(all.len()).unwrap());
    assert_eq!(xen.loaded().len(), 2);
    client.status(&fix).unwrap();
    assert_eq!(log.take().len(), 1, "what comes afterwards is told again");
}
