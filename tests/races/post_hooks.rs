//! Hooks that still run when Xen reports their action as finished: their payload is not unloaded.
//!
//! Xen calls a post-apply or post-revert hook after it has published the result. Before 4.17.4 and 4.18.1 an UNLOAD in
//! that time frees the code that a processor is running: Xen 4.14.6 crashes within a few hundred rounds.

use std::thread;
use std::time::{Duration, Instant};

use xen_livepatch::payload::{Architecture, HookKind};
use xen_livepatch::sim::{FunctionPatch, HookCode};
use xen_livepatch::{Action, ErrorKind, Flags, LivepatchClient, Payload, PayloadName, State};

use super::host::{Host, PATCHED, bare, host, name, patient};

/// A factor of the number of rounds, to find rare crashes.
const TIMES: &str = "XEN_LIVEPATCH_TIMES";

fn rounds(usual: u32) -> u32 {
    usual * std::env::var(TIMES).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A hook that waits for this number of cycles and returns 0.
fn waiting(cycles: u64) -> HookCode {
    let [wait, now] = [b"\x48\xb9".to_vec(), b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0".to_vec()];
    let mut code = b"\xf3\x0f\x1e\xfa".to_vec(); // endbr64
    code.extend(&now); // rdtsc; shl $32,%rdx; or %rdx,%rax
    code.extend(wait); // mov $cycles,%rcx
    code.extend(cycles.to_le_bytes());
    code.extend(b"\x48\x01\xc1"); // add %rax,%rcx
    code.extend(b"\xf3\x90"); // pause
    code.extend(&now);
    code.extend(b"\x48\x39\xc8"); // cmp %rcx,%rax
    code.extend(b"\x72\xf0"); // jb to the pause
    code.extend(b"\x31\xc0\xc3"); // xor %eax,%eax; ret
    HookCode::from_code(code)
}

/// The cycles in a second: measured with a hook that Xen runs inside the hypercall.
fn cycles_per_second(host: &Host) -> u64 {
    const CYCLES: u64 = 2_000_000_000;
    let payload = bare(&host.client, "clock").hook(HookKind::PreApply, waiting(CYCLES));
    let clock = host.upload("clock", &payload.function(FunctionPatch::returning(PATCHED, "-clock")));
    let start = Instant::now();
    host.apply(&clock);
    let took = start.elapsed();
    host.remove(&clock);
    u64::try_from(u128::from(CYCLES) * 1_000_000_000 / took.as_nanos().max(1)).unwrap()
}

/// The host and its clock, if hooks can wait here: there are none before 4.14, and their code is for x86-64.
fn host_with_slow_hooks() -> Option<(Host, Clock)> {
    let host = host();
    let has_slow_hooks = host.since(14) && Architecture::of_this_program() == Architecture::X86_64;
    let clock = has_slow_hooks.then(|| Clock(cycles_per_second(&host)))?;
    Some((host, clock))
}

struct Clock(u64);

impl Clock {
    fn hook(&self, time: Duration) -> HookCode {
        waiting(u64::try_from(u128::from(self.0) * time.as_nanos() / 1_000_000_000).unwrap())
    }
}

/// One client uploads, applies, reverts, and unloads at once.
fn round(client: &LivepatchClient, name: &PayloadName, payload: &[u8]) {
    client.upload(name, payload).unwrap();
    client.apply(name, Flags::empty()).unwrap();
    client.revert(name, Flags::empty()).unwrap();
    client.unload(name, Flags::empty()).unwrap();
}

/// The same, but an independent client on another processor unloads the payload as soon as it can.
fn round_of_two(client: &LivepatchClient, other: &LivepatchClient, name: &PayloadName, payload: &[u8]) {
    client.upload(name, payload).unwrap();
    client.apply(name, Flags::empty()).unwrap();
    thread::scope(|scope| {
        let unload = scope.spawn(|| {
            while other.status(name).unwrap().state != State::Checked {
                thread::sleep(Duration::from_micros(200));
            }
            other.unload(name, Flags::empty()).unwrap();
        });
        let reverted = client.revert(name, Flags::empty());
        // It may be unloaded before this client has observed the revert.
        assert!(reverted.is_ok() || other.status(name).is_err(), "{reverted:?}");
        unload.join().unwrap();
    });
}

fn time(milliseconds: u64, usual: u32, what: &str, mut round: impl FnMut()) {
    let start = Instant::now();
    for done in 1..=rounds(usual) {
        round();
        if done % 50 == 0 {
            println!("{done} rounds of {milliseconds} ms, {what}");
        }
    }
    println!("{} rounds of {milliseconds} ms, {what}: {:?}", rounds(usual), start.elapsed());
}

/// Rounds with a payload whose hook after a revert waits: for each of these times, as often as usual.
fn slow_reverts(host: &Host, clock: &Clock, what: &str, tries: &[(u64, u32)], round: impl Fn(&PayloadName, &[u8])) {
    for (milliseconds, usual) in tries {
        let hook = clock.hook(Duration::from_millis(*milliseconds));
        let payload = host.payload("slow", "-slow").hook(HookKind::PostRevert, hook).build();
        time(*milliseconds, *usual, what, || round(&name("slow"), &payload));
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn a_payload_is_not_unloaded_while_its_hook_runs() {
    let Some((host, clock)) = host_with_slow_hooks() else { return };
    let tries = [(1, 10), (35, 60), (300, 3), (2000, 1)];
    slow_reverts(&host, &clock, "with Xen's log", &tries, |name, payload| round(&host.client, name, payload));
    let deaf = patient().without_xen_log().open().unwrap();
    let tries = [(35, 1), (2000, 1)];
    slow_reverts(&host, &clock, "without it", &tries, |name, payload| round(&deaf, name, payload));
}

#[test]
#[ignore = "needs a real Xen"]
fn a_payload_of_another_process_is_not_unloaded_while_its_hook_runs() {
    let Some((host, clock)) = host_with_slow_hooks() else { return };
    slow_reverts(&host, &clock, "with Xen's log", &[(1, 5), (35, 20), (2000, 1)], |name, payload| {
        round_of_two(&host.client, &patient().open().unwrap(), name, payload);
    });
    slow_reverts(&host, &clock, "without it", &[(35, 1), (2000, 1)], |name, payload| {
        round_of_two(&host.client, &patient().without_xen_log().open().unwrap(), name, payload);
    });
}

/// An apply that fails is followed by its hook, and `load` unloads what it could not apply.
#[test]
#[ignore = "needs a real Xen"]
fn the_cleanup_of_a_load_waits_for_the_hook() {
    let Some((host, clock)) = host_with_slow_hooks() else { return };
    for (milliseconds, usual) in [(1, 5), (35, 30), (2000, 1)] {
        let hook = clock.hook(Duration::from_millis(milliseconds));
        let fails = host.payload("fails", "-x").hook(HookKind::PostApply, hook);
        let fails = Payload::parse(&fails.hook(HookKind::Apply, HookCode::returns(-22)).build()).unwrap();
        time(milliseconds, usual, "loads that fail", || {
            let error = host.client.load_as(&name("fails"), &fails, Flags::empty()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ActionFailed { .. }), "{error:?}");
            assert_eq!(host.names(), Vec::<String>::new(), "{error:?}");
        });
    }
}

/// An action, on the same payload or another, begins after the hook of the last one has returned.
#[test]
#[ignore = "needs a real Xen"]
fn actions_wait_for_the_hook_after_the_last_one() {
    let Some((host, clock)) = host_with_slow_hooks() else { return };
    for (milliseconds, usual) in [(1, 3), (35, 10), (2000, 1)] {
        let hook = || clock.hook(Duration::from_millis(milliseconds));
        let slow = host.payload("slow", "-slow").hook(HookKind::PostApply, hook()).hook(HookKind::PostRevert, hook());
        let slow = host.upload("slow", &slow);
        let next = host.upload("next", &host.payload("next", "-next"));
        time(milliseconds, usual, "actions in a row", || {
            for (name, first) in
                [(&slow, Action::Apply), (&next, Action::Replace), (&slow, Action::Apply), (&next, Action::Apply)]
            {
                host.client.action(first, name).run().unwrap();
                host.client.action(Action::Revert, name).run().unwrap();
            }
        });
        host.unload(&slow);
        host.unload(&next);
    }
}
