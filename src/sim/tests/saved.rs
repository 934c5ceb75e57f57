//! A host that was saved and read again is unchanged.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::client::{ActionOptions, LivepatchClient, UploadOptions};

fn cases(count: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(count);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A host with a small ring, so that it is full.
fn small(release: Release) -> HostBuilder {
    SimulatedXen::builder(release).console_size(1000).symbol("own", [0x90; 16])
}

fn save(xen: &SimulatedXen) -> String {
    serde_json::to_string(xen).unwrap()
}

/// The host as another process continues with it.
fn continued(xen: &SimulatedXen) -> SimulatedXen {
    serde_json::from_str(&save(xen)).unwrap()
}

/// Everything that a host consists of.
fn state(xen: &SimulatedXen) -> String {
    format!("{:?}", xen.host())
}

fn name(id: u8) -> String {
    format!("p{id}")
}

/// Payloads that load, depend on each other, refuse, and are refused.
fn payload(xen: &SimulatedXen, id: u8) -> Vec<u8> {
    let hooks = xen.release() >= Release::V4_14;
    let payload = builder(xen, &name(id));
    match id {
        1 => payload.depends_on(bare(xen, "p0").build_id()),
        2 if hooks => payload.hook(HookKind::PreApply, HookCode::returns(-77)),
        3 => payload.writable_data([1, 2, 3]).metadata("k", Some("v")),
        4 => payload.needs("nowhere"),
        5 => return b"no ELF".to_vec(),
        6 if hooks => payload.hook(HookKind::Revert, HookCode::returns(-5)),
        7 => payload.function(FunctionPatch::returning("own", "x")),
        _ => payload,
    }
    .build()
}

/// Settings and orders, the more frequent ones several times.
const CHANGES: [fn(&SimulatedXen, u8); 19] = [
    |xen, number| xen.set_pace(Pace::Polls(number.into())),
    |xen, number| xen.set_pace(Pace::Polls(u32::from(number) % 3)),
    |xen, _| xen.set_pace(Pace::Held),
    |xen, _| xen.set_quiesce_time(Duration::ZERO),
    |xen, _| xen.set_quiesce_time(Duration::from_micros(100)),
    |xen, _| xen.set_quiesce_time(Duration::from_millis(40)),
    |xen, _| xen.set_cpu_hotplug(true),
    |xen, _| xen.set_cpu_hotplug(false),
    |xen, _| xen.set_log_level(LogLevel::None),
    |xen, _| xen.set_log_level(LogLevel::Errors),
    |xen, _| xen.set_log_level(LogLevel::All),
    |xen, _| xen.on_apply().time_out(),
    |xen, number| xen.on_replace().take(Pace::Polls(number.into())),
    |xen, _| xen.on_replace().take(Pace::Held),
    |xen, _| xen.on_debug_keys().find_the_lock_held(),
    |xen, _| xen.on_apply().fault_after(),
    |xen, _| xen.on_upload().fail(Errno::ENOMEM),
    |xen, id| {
        xen.on_list().before(move |xen| {
            let _ = xen.other_upload(name(id), &payload(xen, id));
        });
    },
    |xen, _| xen.print("something else"),
];

/// A kind of operation (the more numbers, the more frequent), a payload, and a number that selects the rest.
type Op = (u8, u8, u16);

fn op() -> impl Strategy<Value = Op> {
    (0..35_u8, 0..8_u8, any::<u16>())
}

/// Does it, and returns all that was answered.
fn run(xen: &SimulatedXen, (kind, id, number): Op) -> String {
    let mut rest = usize::from(number);
    let mut pick = |count: usize| {
        let picked = rest % count;
        rest /= count;
        picked
    };
    let name = name(id);
    match kind {
        0..6 => format!("{:?}", upload(xen, &name, &payload(xen, id))),
        6..14 => {
            let command = [APPLY, APPLY, APPLY, REVERT, REPLACE, UNLOAD, 0, 5][pick(8)];
            let (timeout, flags) = ([0, 1, 50_000_000][pick(3)], [0, NODEPS][pick(2)]);
            format!("{command} {:?}", action_with(xen, &name, command, timeout, flags))
        }
        14..18 => format!("{:?}", get(xen, &name)),
        18..21 => format!("{:?}", lists::list(xen, 0, 16, (2048, 2048))),
        21 => format!("{:?}", requests::read_console(xen, u8::from(pick(2) == 0), None, 64)),
        22 => format!(
            "{:?} {}",
            RawSysctl::debug_keys(xen.release()).memory(8, *b"x").word(16, 1).result(xen),
            xen.console()
        ),
        23 => {
            xen.finish_action();
            let (result, text) = RawVersion::new(1).argument([0; 16]).send(xen).unwrap();
            format!("{result:?} {}", text.escape_ascii())
        }
        24..27 => format!("{:?}", xen.other_action(&name, Action::ALL[pick(4)], Flags::empty())),
        27..30 => client(xen, id, Action::ALL.get(pick(8)).copied()),
        _ => {
            CHANGES[pick(CHANGES.len())](xen, id);
            xen.console()
        }
    }
}

/// The result of a client that waits for the end of an action, on a host on which it ends.
fn client(xen: &SimulatedXen, id: u8, action: Option<Action>) -> String {
    xen.finish_action();
    xen.set_pace(Pace::Polls(u32::from(id % 3)));
    xen.set_cpu_hotplug(false);
    let options = ActionOptions::new().deadline(Duration::from_secs(20));
    let client = LivepatchClient::builder().settle_time(Duration::ZERO).action_defaults(options).connect(xen.clone());
    let Ok(client) = client else { return format!("{:?}", client.unwrap_err().kind()) };
    let name = PayloadName::new(name(id)).unwrap();
    let result = match action {
        Some(action) => client.action(action, &name).run().map(|()| String::new()),
        None => client
            .upload_with(&name, &payload(xen, id), UploadOptions::new().leave_refusals_to_xen())
            .and_then(|()| client.inventory().map(|inventory| format!("{inventory:?}"))),
    };
    format!("{result:?}")
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_host_that_was_saved_or_forked_is_the_host_that_it_was(
        release in select(&Release::ALL[..]),
        parts in vec(vec(op(), 0..12), 1..5),
    ) {
        let xen = small(release).build();
        let mut kept = small(release).build();
        let mut left = Vec::new();
        for (part, is_fork) in parts.into_iter().zip([true, false].into_iter().cycle()) {
            for op in part {
                prop_assert_eq!(run(&xen, op), run(&kept, op), "{:?}", op);
            }
            // What was ordered stays in the process that ordered it.
            xen.forget_orders();
            kept.forget_orders();
            let next = if is_fork { kept.fork() } else { continued(&kept) };
            left.push((std::mem::replace(&mut kept, next), save(&xen)));
            prop_assert_eq!(state(&kept), state(&xen));
            prop_assert_eq!(save(&kept), save(&xen));
        }
        // What happens to a copy does not happen to the other.
        for (xen, saved) in left {
            prop_assert_eq!(save(&xen), saved);
        }
    }
}

#[test]
fn an_action_keeps_what_it_has_of_its_time() {
    for release in [Release::V4_7, Release::V4_17, Release::V4_22] {
        let xen = small(release).build();
        stack(&xen, &["one", "two"]);
        xen.set_pace(Pace::Time(Duration::from_millis(20)));
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        while get(&xen, "one") == Ok((1, -11)) {}
        // What is done was done then.
        let again = continued(&xen);
        assert_eq!((extra_version(&again), state(&again)), ("-one".into(), state(&xen)));

        xen.set_pace(Pace::Time(Duration::from_secs(3600)));
        assert_eq!(action(&xen, "two", APPLY), Ok(0));
        let again = continued(&continued(&xen));
        assert_eq!(get(&again, "two"), Ok((1, -11)));
        let left = &serde_json::to_value(&again).unwrap()["host"]["work"]["until"]["Time"]["secs"];
        assert!((3000..3600).contains(&left.as_u64().unwrap()), "{left:?}");
        again.finish_action();
        assert_eq!(extra_version(&continued(&again)), "-two");

        assert_eq!(done(&again, "two", REVERT), (1, 0));
        again.set_pace(Pace::Time(Duration::from_millis(50)));
        assert_eq!(action(&again, "one", REVERT), Ok(0));
        let last = continued(&again);
        while get(&last, "one") == Ok((2, -11)) {}
        assert_eq!(extra_version(&last), release.extra_version());
    }
}

#[test]
fn what_was_ordered_for_an_action_is_a_part_of_it() {
    for release in Release::ALL {
        let xen = small(release).build();
        stack(&xen, &["one"]);
        xen.on_apply().time_out();
        xen.on_apply().take(Pace::Polls(2));
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        for xen in [continued(&xen), xen] {
            let seen = [(); 4].map(|()| get(&xen, "one"));
            assert_eq!(seen, [Ok((1, -11)), Ok((1, -11)), Ok((1, -16)), Ok((1, -16))], "{release}");
            assert_eq!(state(&continued(&xen)), state(&xen));
        }
    }
}

#[test]
fn a_saved_host_grows_with_what_is_loaded_alone() {
    let xen = SimulatedXen::new(Release::V4_20);
    stack(&xen, &["stays"]);
    let mut largest = 0;
    for round in 0..1000 {
        let name = format!("p{round}");
        assert_eq!(upload(&xen, &name, &builder(&xen, &name).build()), Ok(0));
        assert_eq!(done(&xen, &name, APPLY), (2, 0));
        assert_eq!(done(&xen, &name, REVERT), (1, 0));
        assert_eq!(action(&xen, &name, UNLOAD), Ok(0));
        if round % 50 == 49 {
            largest = largest.max(save(&xen).len());
        }
    }
    // A full console, of which each byte is a number of up to three digits.
    assert!(largest < 100 * 1024, "{largest}");
    let again = continued(&xen);
    assert_eq!(state(&again), state(&xen));
    assert_eq!(again.host().list_version, 2002);
}

#[test]
fn questions_leave_no_trace() {
    let xen = small(Release::V4_20).build();
    stack(&xen, &["one"]);
    let saved = save(&xen);
    for _ in 0..100 {
        assert_eq!(get(&xen, "one"), Ok((1, 0)));
        assert_eq!(lists::list(&xen, 0, 16, (2048, 2048)).names, ["one\0"]);
        assert_eq!(action(&xen, "none", APPLY), Err(Errno::ENOENT));
        assert_eq!(action(&xen, "one", 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(action(&xen, "one", REVERT), Ok(0), "which does nothing");
        assert_eq!(upload(&xen, "one", b"another"), Err(Errno::EEXIST));
        xen.set_pace(Pace::default());
    }
    assert_eq!(save(&xen), saved);
    xen.set_pace(Pace::Polls(200));
    assert_eq!(action(&xen, "one", APPLY), Ok(0));
    (0..100).for_each(|_| assert_eq!(get(&xen, "one"), Ok((1, -11))));
    let again = continued(&xen);
    (0..100).for_each(|_| assert_eq!(get(&again, "one"), Ok((1, -11))));
    assert_eq!(get(&again, "one"), Ok((2, 0)));
}

#[test]
fn a_host_that_went_down_stays_down() {
    let xen = small(Release::V4_20).build();
    let lies = builder(&xen, "lies").hook(HookKind::Apply, HookCode::returns(0)).build();
    assert_eq!(upload(&xen, "lies", &lies), Ok(0));
    assert_eq!(action(&xen, "lies", APPLY), Ok(0));
    xen.finish_action();
    assert!(xen.crashed().is_some());
    let again = continued(&xen);
    assert_eq!((again.crashed(), state(&again)), (xen.crashed(), state(&xen)));
    assert_eq!(get(&again, "lies"), Err(Errno::EIO));
}

#[test]
fn a_host_is_continued_with_all_that_it_was_built_with() {
    let plain = || small(Release::V4_17);
    let mut saved: Vec<String> = [
        plain(),
        small(Release::V4_18),
        small(Release::V4_17.at(99)),
        plain().architecture(Architecture::AArch64),
        plain().build_id(None),
        plain().build_id(Some(BuildId::new([1]))),
        plain().extra_version("x"),
        plain().compile_date("x"),
        plain().changeset("x"),
        plain().console_size(999),
        plain().access(Access::NotPrivileged),
        plain().support(Support::NoLivepatch),
        plain().symbol("more", [0]),
    ]
    .into_iter()
    .map(|builder| {
        let xen = builder.build();
        let saved = save(&xen);
        let _ = upload(&xen, "p", &bare(&xen, "p").build());
        let again = continued(&xen);
        assert_eq!((state(&again), again.loaded()), (state(&xen), xen.loaded()));
        saved
    })
    .collect();
    let count = saved.len();
    saved.sort();
    saved.dedup();
    assert_eq!(saved.len(), count);
}

#[test]
fn a_hook_that_runs_goes_on_running() {
    let xen = small(Release::V4_20).build();
    let payload = builder(&xen, "slow").hook(HookKind::PostApply, HookCode::returns(0)).build();
    assert_eq!(upload(&xen, "slow", &payload), Ok(0));
    xen.set_hook_time(Duration::from_secs(3600));
    assert_eq!(done(&xen, "slow", APPLY), (2, 0));
    let again = continued(&xen);
    assert!(again.host().hook.is_some() && !again.console().contains("finished APPLY"));
    xen.host().end_hook();
    assert!(continued(&xen).host().hook.is_none() && xen.console().contains("finished APPLY"));
}

#[test]
fn other_formats_are_named() {
    let saved = save(&small(Release::V4_17).build());
    let other = saved.replacen("\"format\":1", "\"format\":2", 1).replace("\"host\"", "\"another\"");
    let error = serde_json::from_str::<SimulatedXen>(&other).unwrap_err().to_string();
    assert!(error.starts_with("it was saved in format 2, and this version reads format 1"), "{error}");
    assert!(serde_json::from_str::<SimulatedXen>("{}").is_err());
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let xen = small(Release::V4_17).build();
    stack(&xen, &["one", "two"]);
    assert_eq!(done(&xen, "one", APPLY), (2, 0));
    xen.set_pace(Pace::Held);
    assert_eq!(action(&xen, "two", APPLY), Ok(0));
    let saved = serde_json::to_value(&xen).unwrap();
    for (part, value) in [
        ("applied", json!([])),
        ("applied", json!([0, 0])),
        ("applied", json!([1])),
        ("applied", json!([0, 7])),
        ("payloads/0/standing", json!("Checked")),
        ("payloads/1/standing", json!("Applied")),
        ("payloads/1/id", json!(0)),
        ("payloads/1/name", saved["host"]["payloads"][0]["name"].clone()),
        ("payloads/1/name", json!([65, 0])),
        ("payloads/1/name", json!(vec![65; 128])),
        ("next_id", json!(1)),
        ("work/payload", json!(2)),
        ("release", json!([[4, 6], 0])),
        ("settings/pace", json!({"Time": {"secs": u64::MAX, "nanos": u32::MAX}})),
    ] {
        let mut changed = saved.clone();
        *changed.pointer_mut(&format!("/host/{part}")).unwrap() = value.clone();
        assert!(serde_json::from_value::<SimulatedXen>(changed).is_err(), "{part} {value}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn whatever_is_read_is_an_error_or_a_host_that_answers(
        loaded in vec(op(), 0..12),
        changes in vec((any::<prop::sample::Index>(), select(&["0", "1", "7", "-1", "255", "4294967295", "9e9", "\"", "x"][..])), 1..4),
        ops in vec(op(), 1..12),
    ) {
        let xen = small(Release::V4_17).build();
        for op in loaded {
            run(&xen, op);
        }
        let mut saved = save(&xen);
        for (index, with) in changes {
            // A number, or any other character.
            let at = index.index(saved.len());
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let len = digits(&saved[at..]).max(1);
            saved.replace_range(at..at + len, with);
        }
        if let Ok(xen) = serde_json::from_str::<SimulatedXen>(&saved) {
            for op in ops {
                run(&xen, op);
            }
        }
    }
}
