//! A host that went through a journal is the host that it was.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::client::{ActionOptions, LivepatchClient, UploadOptions};

fn cases(count: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(count);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn recorded(release: Release) -> SimulatedXen {
    settings(release).recorded().build()
}

fn settings(release: Release) -> HostBuilder {
    // A small ring, so that it is full.
    SimulatedXen::builder(release).console_size(1000).symbol("own", [0x90; 16])
}

/// What another process makes of it.
fn through_bytes(xen: &SimulatedXen) -> SimulatedXen {
    let journal = xen.journal().unwrap();
    let read = Journal::from_bytes(&journal.to_bytes()).unwrap();
    assert_eq!(read, journal);
    settings(read.release()).replay(&read).unwrap()
}

/// Everything that a host consists of.
fn state(xen: &SimulatedXen) -> String {
    format!("{:?}", host::Host { recording: None, ..xen.host().clone() })
}

#[derive(Clone, Copy, Debug)]
enum Setting {
    Pace(Pace),
    Quiesce(u64),
    Hotplug(bool),
    Log(LogLevel),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Late,
    Take(Pace),
    LockHeld,
    LostAnswer,
    Fail,
    Between(u8),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Upload(u8),
    Act { id: u8, command: u32, timeout: u32, flags: u32 },
    Get(u8),
    List,
    Console { clear: bool },
    Keys,
    Set(Setting),
    Finish,
    Print,
    Other(u8, Action),
    Client(u8, Option<Action>),
    Order(Order),
}

const IDS: u8 = 8;
const ACTIONS: [Action; 4] = [Action::Apply, Action::Revert, Action::Replace, Action::Unload];

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

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![3 => (0..4_u32).prop_map(Pace::Polls), 1 => Just(Pace::Held)]
}

fn op() -> impl Strategy<Value = Op> {
    let id = || 0..IDS;
    let action = || select(&ACTIONS[..]);
    let setting = prop_oneof![
        4 => pace().prop_map(Setting::Pace),
        1 => select(&[0_u64, 100, 40_000][..]).prop_map(Setting::Quiesce),
        1 => any::<bool>().prop_map(Setting::Hotplug),
        1 => select(&[LogLevel::None, LogLevel::Errors, LogLevel::All][..]).prop_map(Setting::Log),
    ];
    let order = prop_oneof![
        Just(Order::Late),
        pace().prop_map(Order::Take),
        Just(Order::LockHeld),
        Just(Order::LostAnswer),
        Just(Order::Fail),
        id().prop_map(Order::Between),
    ];
    let command =
        prop_oneof![4 => Just(APPLY), 2 => Just(REVERT), 2 => Just(REPLACE), 2 => Just(UNLOAD), 1 => 0..6_u32];
    let timeout = select(&[0_u32, 1, 50_000_000][..]);
    prop_oneof![
        6 => id().prop_map(Op::Upload),
        8 => (id(), command, timeout, 0..2_u32)
            .prop_map(|(id, command, timeout, flags)| Op::Act { id, command, timeout, flags }),
        4 => id().prop_map(Op::Get),
        3 => Just(Op::List),
        1 => any::<bool>().prop_map(|clear| Op::Console { clear }),
        1 => Just(Op::Keys),
        2 => setting.prop_map(Op::Set),
        1 => Just(Op::Finish),
        1 => Just(Op::Print),
        3 => (id(), action()).prop_map(|(id, action)| Op::Other(id, action)),
        3 => (id(), proptest::option::of(action())).prop_map(|(id, action)| Op::Client(id, action)),
        2 => order.prop_map(Op::Order),
    ]
}

fn list(release: Release) -> RawSysctl {
    let list = RawSysctl::livepatch(release, 2).word(24, 16);
    let memory: &[(usize, usize)] = if release < Release::V4_14 {
        &[(32, 16 * 8), (40, 16 * 128), (48, 16 * 4)]
    } else {
        &[(40, 16 * 8), (48, 2048), (56, 16 * 4), (64, 2048), (72, 16 * 4)]
    };
    let list = list.word(32, 2048).word(36, if release < Release::V4_14 { 0 } else { 2048 });
    memory.iter().fold(list, |list, (offset, len)| list.memory(*offset, vec![0; *len]))
}

impl Op {
    /// Does it, and gives all that was answered.
    fn run(self, xen: &SimulatedXen) -> String {
        let release = xen.release();
        let ask = |sysctl: RawSysctl| format!("{:?}", sysctl.send(xen).unwrap());
        let livepatch =
            |operation, id: u8| RawSysctl::livepatch(release, operation).name(&[name(id).as_bytes(), &[0]].concat());
        match self {
            Self::Upload(id) => {
                let payload = payload(xen, id);
                let size = u64::try_from(payload.len()).unwrap();
                let answer = livepatch(0, id).bytes(32, &size.to_le_bytes()).memory(40, payload).send(xen).unwrap();
                format!("{:?}", answer.result)
            }
            Self::Act { id, command, timeout, flags } => {
                let flags = if release < Release::V4_14 { 0 } else { flags };
                ask(livepatch(3, id).word(32, command).word(36, timeout).word(40, flags))
            }
            Self::Get(id) => ask(livepatch(1, id)),
            Self::List => ask(list(release)),
            Self::Console { clear } => {
                let read = RawSysctl::read_console(release).bytes(8, &[u8::from(clear)]);
                ask(read.memory(16, vec![0; 900]).word(24, 900))
            }
            Self::Keys => ask(RawSysctl::debug_keys(release).memory(8, *b"x").word(16, 1)),
            Self::Set(setting) => {
                match setting {
                    Setting::Pace(pace) => xen.set_pace(pace),
                    Setting::Quiesce(micros) => xen.set_quiesce_time(Duration::from_micros(micros)),
                    Setting::Hotplug(ongoing) => xen.set_cpu_hotplug(ongoing),
                    Setting::Log(level) => xen.set_log_level(level),
                }
                String::new()
            }
            Self::Finish => {
                xen.finish_action();
                extra_version_or_error(xen)
            }
            Self::Print => {
                xen.print("something else");
                xen.console()
            }
            Self::Other(id, action) => format!("{:?}", xen.other_action(name(id), action, Flags::empty())),
            Self::Client(id, action) => client(xen, id, action),
            Self::Order(order) => {
                match order {
                    Order::Late => xen.on_apply().time_out(),
                    Order::Take(pace) => xen.on_replace().take(pace),
                    Order::LockHeld => xen.on_debug_keys().find_the_lock_held(),
                    Order::LostAnswer => xen.on_apply().fault_after(),
                    Order::Fail => xen.on_upload().fail(Errno::ENOMEM),
                    Order::Between(id) => xen.on_list().before(move |xen| {
                        let _ = xen.other_upload(name(id), &payload(xen, id));
                    }),
                }
                String::new()
            }
        }
    }
}

fn extra_version_or_error(xen: &SimulatedXen) -> String {
    let (result, text) = RawVersion::new(1).argument([0; 16]).send(xen).unwrap();
    format!("{result:?} {}", text.escape_ascii())
}

/// What a client says that waits for the end, on a host on which there will be one.
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
    #![proptest_config(cases(400))]

    #[test]
    fn a_journal_leads_to_the_same_state(
        release in select(&Release::ALL[..]),
        parts in vec(vec(op(), 0..12), 1..5),
    ) {
        let xen = recorded(release);
        let mut kept = recorded(release);
        for part in parts {
            for op in part {
                prop_assert_eq!(op.run(&xen), op.run(&kept), "{:?}", op);
            }
            // What was ordered stays in the process that ordered it.
            xen.forget_orders();
            kept = through_bytes(&kept);
            prop_assert_eq!(state(&kept), state(&xen));
            prop_assert_eq!(kept.journal(), xen.journal());
        }
    }
}

#[test]
fn an_action_keeps_what_it_has_of_its_time() {
    for release in [Release::V4_7, Release::V4_17, Release::V4_22] {
        let xen = recorded(release);
        stack(&xen, &["one", "two"]);
        xen.set_pace(Pace::Time(Duration::from_millis(20)));
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        while get(&xen, "one") == Ok((1, -11)) {}
        // What is done was done then.
        let again = through_bytes(&xen);
        assert_eq!((extra_version(&again), state(&again)), ("-one".into(), state(&xen)));

        xen.set_pace(Pace::Time(Duration::from_secs(3600)));
        assert_eq!(action(&xen, "two", APPLY), Ok(0));
        let again = through_bytes(&through_bytes(&xen));
        assert_eq!(get(&again, "two"), Ok((1, -11)));
        let left = again.host().work.as_ref().and_then(action::Work::time_left).unwrap();
        assert!((Duration::from_secs(3000)..Duration::from_secs(3600)).contains(&left), "{left:?}");
        again.finish_action();
        assert_eq!(extra_version(&through_bytes(&again)), "-two");

        assert_eq!(done(&again, "two", REVERT), (1, 0));
        again.set_pace(Pace::Time(Duration::from_millis(50)));
        assert_eq!(action(&again, "one", REVERT), Ok(0));
        let last = through_bytes(&again);
        while get(&last, "one") == Ok((2, -11)) {}
        assert_eq!(extra_version(&last), release.extra_version());
    }
}

#[test]
fn what_was_ordered_for_an_action_is_a_part_of_it() {
    for release in Release::ALL {
        let xen = recorded(release);
        stack(&xen, &["one"]);
        xen.on_apply().time_out();
        xen.on_apply().take(Pace::Polls(2));
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        for xen in [through_bytes(&xen), xen] {
            let seen = [(); 4].map(|()| get(&xen, "one"));
            assert_eq!(seen, [Ok((1, -11)), Ok((1, -11)), Ok((1, -16)), Ok((1, -16))], "{release}");
            assert_eq!(state(&through_bytes(&xen)), state(&xen));
        }
    }
}

#[test]
fn what_is_loaded_and_unloaded_for_ever_takes_no_room() {
    let xen = SimulatedXen::builder(Release::V4_20).recorded().build();
    let mut largest = 0;
    for round in 0..1000 {
        let name = format!("p{round}");
        assert_eq!(upload(&xen, &name, &builder(&xen, &name).build()), Ok(0));
        assert_eq!(done(&xen, &name, APPLY), (2, 0));
        assert_eq!(done(&xen, &name, REVERT), (1, 0));
        assert_eq!(action(&xen, &name, UNLOAD), Ok(0));
        largest = largest.max(xen.journal().unwrap().to_bytes().len());
        assert!(xen.journal().unwrap().events.len() == 1, "{round}");
    }
    assert!(largest < 17 * 1024, "{largest}");
    let again = SimulatedXen::builder(Release::V4_20).replay(&xen.journal().unwrap()).unwrap();
    assert_eq!(state(&again), state(&xen));
    assert_eq!(again.host().list_version, 2001);

    // As long as something else stays, one file and some bytes for each step.
    stack(&xen, &["stays"]);
    let other = builder(&xen, "other").build();
    for _ in 0..1000 {
        assert_eq!(upload(&xen, "other", &other), Ok(0));
        assert_eq!(done(&xen, "other", APPLY), (2, 0));
        assert_eq!(done(&xen, "other", REVERT), (1, 0));
        assert_eq!(action(&xen, "other", UNLOAD), Ok(0));
    }
    let len = xen.journal().unwrap().to_bytes().len();
    assert!(len < 17 * 1024 + 2 * other.len() + 1000 * 150, "{len}");
}

#[test]
fn questions_leave_no_trace() {
    let xen = recorded(Release::V4_20);
    stack(&xen, &["one"]);
    let journal = xen.journal().unwrap();
    for _ in 0..100 {
        assert_eq!(get(&xen, "one"), Ok((1, 0)));
        list(Release::V4_20).send(&xen).unwrap();
        assert_eq!(action(&xen, "none", APPLY), Err(Errno::ENOENT));
        assert_eq!(action(&xen, "one", 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(action(&xen, "one", REVERT), Ok(0), "which does nothing");
        assert_eq!(upload(&xen, "one", b"another"), Err(Errno::EEXIST));
        xen.set_pace(Pace::default());
    }
    assert_eq!(xen.journal().unwrap(), journal);
    // A hundred looks are one entry.
    xen.set_pace(Pace::Polls(200));
    assert_eq!(action(&xen, "one", APPLY), Ok(0));
    (0..100).for_each(|_| assert_eq!(get(&xen, "one"), Ok((1, -11))));
    assert_eq!(xen.journal().unwrap().events.len(), journal.events.len() + 3);
    let again = through_bytes(&xen);
    (0..100).for_each(|_| assert_eq!(get(&again, "one"), Ok((1, -11))));
    assert_eq!(get(&again, "one"), Ok((2, 0)));
}

#[test]
fn a_host_that_went_down_stays_down() {
    let xen = recorded(Release::V4_20);
    let lies = builder(&xen, "lies").hook(HookKind::Apply, HookCode::returns(0)).build();
    assert_eq!(upload(&xen, "lies", &lies), Ok(0));
    assert_eq!(action(&xen, "lies", APPLY), Ok(0));
    xen.finish_action();
    assert!(xen.crashed().is_some());
    let again = through_bytes(&xen);
    assert_eq!((again.crashed(), state(&again)), (xen.crashed(), state(&xen)));
    assert_eq!(get(&again, "lies"), Err(Errno::EIO));
}

#[test]
fn a_journal_is_of_one_host() {
    let xen = recorded(Release::V4_17);
    let journal = xen.journal().unwrap();
    let other = || Err(JournalError::AnotherHost { release: Release::V4_17 });
    let with = |builder: HostBuilder| builder.replay(&journal).map(drop);
    assert_eq!(with(settings(Release::V4_17)), Ok(()));
    assert_eq!(with(settings(Release::V4_17).recorded()), Ok(()));
    assert_eq!(with(settings(Release::V4_18)), other());
    assert_eq!(with(settings(Release::V4_17).build_id(None)), other());
    assert_eq!(with(settings(Release::V4_17).build_id(Some(BuildId::new([1])))), other());
    assert_eq!(with(settings(Release::V4_17).extra_version("x")), other());
    assert_eq!(with(settings(Release::V4_17).console_size(999)), other());
    assert_eq!(with(settings(Release::V4_17).access(Access::NotPrivileged)), other());
    assert_eq!(with(settings(Release::V4_17).support(Support::NoLivepatch)), other());
    assert_eq!(with(settings(Release::V4_17).symbol("more", [0])), other());
    let elsewhere = Journal { state: 0, ..journal.clone() };
    assert_eq!(settings(Release::V4_17).replay(&elsewhere).err(), Some(JournalError::LedElsewhere));
    assert_eq!(SimulatedXen::new(Release::V4_17).journal(), None);
    assert!(xen.fork().journal().is_some(), "a fork goes on with it");
}
