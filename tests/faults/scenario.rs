//! Random calls of a client, and random faults during them.

use crate::prelude::*;

/// The number of payloads.
pub const PAYLOADS: u8 = 8;

pub fn name(id: u8) -> PayloadName {
    PayloadName::new(format!("p{id}")).unwrap()
}

/// The hooks of payloads 5, 6 and 7, and what they return: 0 is nothing, and none on a release without hooks.
pub type Hooks = [(HookKind, i32); 3];

pub fn hooks() -> impl Strategy<Value = Hooks> {
    let kind = || select(&[HookKind::PreApply, HookKind::Apply, HookKind::PreRevert, HookKind::Revert][..]);
    // Every number that Xen has, and any other, also one that is not an error.
    let code = || {
        prop_oneof![
            8 => select(&ERRNOS[..]).prop_map(|errno| -errno.number()),
            2 => (1..200).prop_map(|errno: i32| -errno),
            1 => any::<i32>().prop_filter("that it did what it did not do brings a host down", |code| *code != 0),
        ]
    };
    let hook = || (kind(), code());
    [hook(), hook(), hook()]
}

/// The number that the hook of this kind of payload `id` returns.
pub fn hook_of(hooks: &Hooks, id: u8, kind: HookKind) -> Option<i32> {
    let hook = hooks.get(usize::from(id).checked_sub(5)?)?;
    (hook.0 == kind).then_some(hook.1)
}

/// Payload `id` for this host. Their metadata names them; each has something of its own.
pub fn payload(xen: &SimulatedXen, hooks: &Hooks, id: u8) -> Vec<u8> {
    let of = |id: u8| PayloadBuilder::for_xen(xen, &format!("p{id}")).metadata("id", Some(&format!("p{id}")));
    let payload = of(id).function(FunctionPatch::returning("xen_extra_version", format!("-p{id}")));
    let payload = match id {
        1 | 2 => payload.depends_on(of(id - 1).build_id()),
        3 => payload.modinfo([vec![b'm'; 40_000], vec![0]].concat()),
        4 => payload.writable_data([1, 2, 3]),
        5..=7 if xen.release() >= Release::V4_14 => {
            let (kind, code) = hooks[usize::from(id) - 5];
            payload.hook(kind, HookCode::returns(code))
        }
        _ => payload,
    };
    payload.build()
}

/// An operation of a client.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Upload,
    Act(Action, Flags),
    Status,
    List,
    BuildId,
    Wait(Action),
}

impl Operation {
    /// The action that is asked or waited for.
    pub fn action(self) -> Option<Action> {
        match self {
            Self::Act(action, _) | Self::Wait(action) => Some(action),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Fail(Errno),
    /// EFAULT, once it is done.
    LostAnswer,
    TimeOut,
    StopAfter(u32),
    /// From here on a policy forbids everything.
    Deny,
    Unprivileged,
    /// From here on CPUs come and go.
    Hotplug,
    /// The action that is under way ends here.
    Finish,
    /// From here on there is no memory for hypercalls beyond so much.
    Memory(usize),
}

/// A fault at the k-th hypercall of a kind, or at all of them.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub call: Call,
    pub nth: Option<u64>,
    pub fault: Fault,
}

#[derive(Clone, Debug)]
pub struct ClientCall {
    pub operation: Operation,
    pub id: u8,
    pub orders: Vec<Order>,
    pub pace: Pace,
    pub deadline: Duration,
    pub retries: u32,
    pub timeout: QuiesceTimeout,
    pub log: LogLevel,
}

const ERRNOS: [Errno; 18] = [
    Errno::EPERM,
    Errno::ENOENT,
    Errno::EIO,
    Errno::E2BIG,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EFAULT,
    Errno::EBUSY,
    Errno::EEXIST,
    Errno::EINVAL,
    Errno::ERANGE,
    Errno::ENOSYS,
    Errno::ENODATA,
    Errno::EOVERFLOW,
    Errno::ERESTART,
    Errno::EOPNOTSUPP,
    Errno::ENOBUFS,
];

/// Returns true if the number is an answer to the call, so that it would be wrong and not a fault.
fn is_an_answer(call: Call, errno: Errno) -> bool {
    match call {
        Call::Get | Call::Unload => errno == Errno::ENOENT,
        // Below the top of the stack, and on releases before 4.13 Xen says no more than that.
        Call::Revert => errno == Errno::EBUSY,
        Call::OtherAction => [Errno::EBUSY, Errno::EOPNOTSUPP, Errno::ENOENT].contains(&errno),
        _ => false,
    }
}

fn errno() -> impl Strategy<Value = Errno> {
    prop_oneof![
        6 => select(&ERRNOS[..]),
        3 => Just(Errno::EFAULT),
        2 => Just(Errno::EBUSY),
        1 => (1..4096).prop_map(Errno::new),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => errno().prop_map(Fault::Fail),
        8 => Just(Fault::LostAnswer),
        3 => Just(Fault::TimeOut),
        2 => (1..4_u32).prop_map(Fault::StopAfter),
        1 => Just(Fault::Deny),
        1 => Just(Fault::Unprivileged),
        2 => Just(Fault::Hotplug),
        3 => Just(Fault::Finish),
        1 => select(&[0_usize, 4096, 70_000][..]).prop_map(Fault::Memory),
    ]
}

/// Returns true if the fault is possible at such a hypercall.
fn can_meet(call: Call, fault: Fault) -> bool {
    match fault {
        Fault::TimeOut => matches!(call, Call::Apply | Call::Revert | Call::Replace),
        Fault::StopAfter(_) => call == Call::List,
        Fault::Fail(errno) => !is_an_answer(call, errno),
        _ => true,
    }
}

pub fn order() -> impl Strategy<Value = Order> {
    let nth = prop_oneof![8 => (1..5_u64).prop_map(Some), 1 => (5..12_u64).prop_map(Some), 2 => Just(None)];
    (select(&CALLS[..]), nth, fault())
        .prop_map(|(call, nth, fault)| Order { call, nth, fault })
        .prop_filter("can't happen", |order| can_meet(order.call, order.fault))
}

pub fn release() -> impl Strategy<Value = Release> {
    select(&Release::ALL[..])
}

pub fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![
        6 => (0..4_u32).prop_map(Pace::Polls),
        2 => (4..30_u32).prop_map(Pace::Polls),
        1 => Just(Pace::Held),
    ]
}

pub fn action() -> impl Strategy<Value = Action> {
    select(&[Action::Apply, Action::Revert, Action::Replace, Action::Unload][..])
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let act = |action| Just(O::Act(action, Flags::empty()));
    prop_oneof![
        8 => Just(O::Upload),
        6 => act(Action::Apply),
        3 => Just(O::Act(Action::Apply, Flags::NODEPS)),
        4 => act(Action::Revert),
        4 => act(Action::Replace),
        3 => act(Action::Unload),
        1 => (select(&[Action::Apply, Action::Revert][..]), any::<u32>())
            .prop_map(|(action, bits)| O::Act(action, Flags::from_bits_retain(bits))),
        1 => Just(O::Status),
        2 => Just(O::List),
        1 => Just(O::BuildId),
        2 => action().prop_map(O::Wait),
    ]
}

pub fn step() -> impl Strategy<Value = ClientCall> {
    let nanosecond = QuiesceTimeout::new(Duration::from_nanos(1)).unwrap();
    let timeout = prop_oneof![9 => Just(QuiesceTimeout::XEN_DEFAULT), 1 => Just(nanosecond)];
    let log = select(&[LogLevel::All, LogLevel::Errors, LogLevel::None][..]);
    let deadline = prop_oneof![12 => 2..25_u64, 1 => Just(0)];
    (operation(), 0..PAYLOADS, vec(order(), 0..4), pace(), deadline, 0..3_u32, timeout, log).prop_map(
        |(operation, id, orders, pace, deadline, retries, timeout, log)| ClientCall {
            operation,
            id,
            orders,
            pace,
            deadline: Duration::from_millis(deadline),
            retries,
            timeout,
            log,
        },
    )
}

impl Order {
    pub fn give(self, xen: &SimulatedXen) {
        let on = || when(xen.on(self.call), self.nth);
        match self.fault {
            Fault::Fail(errno) => on().fail(errno),
            Fault::LostAnswer => lose_answer(xen, self.call, self.nth),
            Fault::TimeOut => time_out(xen, self.call, self.nth),
            Fault::StopAfter(rows) => when(xen.on_list(), self.nth).stop_after(rows),
            Fault::Deny => on().before(|xen| xen.set_access(Access::DeniedByFlask)),
            Fault::Unprivileged => on().before(|xen| xen.set_access(Access::NotPrivileged)),
            Fault::Hotplug => on().before(|xen| xen.set_cpu_hotplug(true)),
            Fault::Finish => on().before(SimulatedXen::finish_action),
            Fault::Memory(bytes) => on().before(move |xen| xen.limit_buffers(Some(bytes))),
        }
    }
}

/// Ends all faults, and the action that is under way.
pub fn all_is_well_again(xen: &SimulatedXen) {
    xen.forget_orders();
    xen.set_access(Access::Privileged);
    xen.set_cpu_hotplug(false);
    xen.limit_buffers(None);
    xen.finish_action();
}

impl ClientCall {
    pub fn run(&self, xen: &SimulatedXen, hooks: &Hooks, client: &LivepatchClient) -> Result<()> {
        let name = name(self.id);
        let options =
            ActionOptions::new().deadline(self.deadline).quiesce_retries(self.retries).quiesce_timeout(self.timeout);
        match self.operation {
            Operation::Upload => client.upload(&name, &payload(xen, hooks, self.id)),
            Operation::Act(action, flags) => client.action(action, &name).flags(flags).options(options).run(),
            Operation::Status => client.status(&name).map(drop),
            Operation::List => client.list().map(drop),
            Operation::BuildId => client.build_id().map(drop),
            Operation::Wait(action) => client.wait(&name, action, self.deadline),
        }
    }
}

/// The builder of a client whose uploads, too, give up after a moment.
pub fn settings() -> ClientBuilder {
    LivepatchClient::builder()
        .hook_time(Duration::ZERO)
        .action_defaults(ActionOptions::new().deadline(Duration::from_millis(25)))
}
