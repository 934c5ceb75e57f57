//! One operation, and its outcome.

use std::{env, fs, thread};

use super::beside::{Answers, Beside};
use super::recipe::{Ingredients, Recipe};
use super::request::{self, Body, Request};
use super::side::Side;
use crate::prelude::*;
use xen_livepatch::Outcome as Level;

/// The attempts to repeat a step with an answer that only time explains.
const ATTEMPTS: usize = 20;

#[derive(Clone, Debug)]
pub enum Step {
    Upload {
        name: PayloadName,
        recipe: Box<Recipe>,
        way: Way,
    },
    Status(PayloadName),
    List,
    Inventory,
    /// Brings the host to a stack of payloads, from the bottom up.
    Ensure(Vec<(PayloadName, Box<Recipe>)>),
    Act {
        action: Action,
        name: PayloadName,
        flags: u32,
        hurried: bool,
    },
    Request(Request),
    Beside(Box<Beside>),
    /// An `xen_version` hypercall, with memory for a structure of this length field and this many bytes.
    Version(u32, Option<(u32, usize)>),
}

/// The way of a payload to a client, and from there to Xen: unchecked except for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Bytes,
    Checked,
    File,
    Forced,
    /// Checked, and applied at once.
    Load,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub answer: Answer,
    pub rows: Option<Vec<LoadedPayload>>,
    pub shown: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Status(Status),
    Rows(Vec<LoadedPayload>),
    /// In a line, and in full, without addresses.
    Inventory(String, Vec<InventoryEntry>),
    /// With the plan, or with the failure.
    Ensured(Level, String),
    Failed(ErrorKind, Option<Errno>),
    /// With the status afterwards, where it was an action.
    Raw(RawAnswer, Option<Status>),
    Version(Result<u32, Errno>, Vec<u8>),
    /// To an action, and to what was asked beside it.
    Beside(RawAnswer, Vec<RawAnswer>),
}

impl Outcome {
    /// An answer, and what is visible of the host after it.
    pub fn after(answer: Answer, side: &Side) -> Self {
        Self { answer, rows: side.rows(), shown: side.shown() }
    }
}

impl From<&Answers> for Answer {
    fn from(answers: &Answers) -> Self {
        Self::Beside(
            answers.action.answer.clone(),
            answers.others.iter().map(|exchange| exchange.answer.clone()).collect(),
        )
    }
}

impl Answer {
    fn inventory(inventory: Inventory) -> Self {
        let line = inventory.to_string();
        let mut payloads = inventory.payloads;
        for function in payloads.iter_mut().filter_map(|entry| entry.functions.as_mut()).flatten() {
            // Where a new one is 0, there is no new code.
            (function.old_address, function.new_address) = (0, function.new_address.min(1));
        }
        Self::Inventory(line, payloads)
    }

    fn of<T>(result: Result<T, Error>, done: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(value) => done(value),
            Err(error) => Self::Failed(comparable(error.kind()), error.raw_errno()),
        }
    }
}

fn ensure(client: &LivepatchClient, stack: &[(PayloadName, Box<Recipe>)], of: &Ingredients) -> Answer {
    let parsed =
        |(name, recipe): &(PayloadName, Box<Recipe>)| Some((name.clone(), Payload::parse(&recipe.build(of)).ok()?));
    let mut gaps = 0;
    let ensured = client.ensure(&Wanted::stack(stack.iter().filter_map(parsed)), |event| {
        gaps += usize::from(matches!(event, StepEvent::GapOpens { .. }));
    });
    let (outcome, text) = match ensured {
        Ok(ensured) => (Level::Reached, ensured.plan.to_string()),
        Err(EnsureError::Interrupted(failure)) => {
            let Interrupted { outcome, error, done, failed, left, back, loaded, .. } = *failure;
            (outcome, format!("{:?}, {done:?}, {failed:?}, {left:?}, {back:?}, {loaded:?}", comparable(error.kind())))
        }
        Err(EnsureError::Operation(error)) => (Level::Unchanged, format!("{:?}", comparable(error.kind()))),
        Err(other) => (other.outcome(), other.to_string()),
    };
    Answer::Ensured(outcome, format!("{gaps} gaps: {text}"))
}

/// Without Xen's own words, where they don't tell causes apart; some refusals are silent, too.
fn comparable(kind: &ErrorKind) -> ErrorKind {
    let mut kind = kind.clone();
    if let ErrorKind::InvalidPayload { xen, .. } = &mut kind {
        *xen = None;
    }
    kind
}

impl Step {
    pub fn run(&self, side: &Side, attentive: bool, of: &Ingredients) -> Outcome {
        let client = if attentive { &side.attentive } else { &side.deaf };
        let done = |()| Answer::Done;
        let answer = match self {
            Self::Upload { name, recipe, way } => {
                let file = recipe.build(of);
                let unchecked = UploadOptions::new().unchecked();
                let result = match way {
                    Way::Bytes => client.upload_with(name, &file, unchecked),
                    Way::Checked => client.upload(name, &file),
                    Way::Load => {
                        side.before_action();
                        Payload::parse(&file).and_then(|file| client.load_as(name, &file, Flags::empty()))
                    }
                    Way::Forced => client.upload_with(name, &file, unchecked.force()),
                    Way::File => {
                        // Tests run at the same time, each in a thread.
                        let path = env::temp_dir().join(format!("fidelity-{:?}", thread::current().id()));
                        fs::write(&path, file).unwrap();
                        let result = client.upload_file_with(name, &path, unchecked);
                        fs::remove_file(path).unwrap();
                        result
                    }
                };
                Answer::of(result, done)
            }
            Self::Status(name) => Answer::of(client.status(name), Answer::Status),
            Self::List => Answer::of(client.list(), Answer::Rows),
            Self::Inventory => Answer::of(client.inventory(), Answer::inventory),
            Self::Ensure(stack) => ensure(client, stack, of),
            Self::Act { action, name, flags, hurried } => {
                side.before_action();
                let hurry = QuiesceTimeout::new(Duration::from_nanos(1)).unwrap();
                let options = ActionOptions::new();
                let options = if *hurried { options.quiesce_timeout(hurry).quiesce_retries(0) } else { options };
                Answer::of(
                    client.action(*action, name).flags(Flags::from_bits_retain(*flags)).options(options).run(),
                    done,
                )
            }
            Self::Request(request) => send(request, side, of),
            Self::Beside(beside) => Answer::from(&beside.run(side, of)),
            Self::Version(command, argument) => {
                let call = RawVersion::new(*command);
                let call = match argument {
                    Some((len, room)) => call.argument([&len.to_le_bytes()[..], &vec![0; *room]].concat()),
                    None => call,
                };
                let (result, memory) = call.send(&*side.raw).unwrap();
                Answer::Version(result, memory)
            }
        };
        Outcome::after(answer, side)
    }

    /// The kind of step with its outcome, for the census.
    pub fn class(&self, outcome: &Outcome) -> String {
        let what = match self {
            Self::Upload { .. } => "upload".into(),
            Self::Status(_) => "status".into(),
            Self::List => "list".into(),
            Self::Inventory => "inventory".into(),
            Self::Ensure(_) => "ensure".into(),
            Self::Act { action, .. } => action.to_string(),
            Self::Request(request) => request.kind(),
            Self::Beside(beside) => format!("{} and others beside it", beside.action.kind()),
            Self::Version(command, _) => format!("xen_version {command}"),
        };
        let answer = match &outcome.answer {
            Answer::Failed(kind, errno) => {
                let kind = format!("{kind:?}");
                let end = kind.find(|c: char| !c.is_alphanumeric()).unwrap_or(kind.len());
                format!("{} ({})", &kind[..end], errno.map_or(0, Errno::number))
            }
            Answer::Ensured(outcome, _) => format!("{outcome:?}"),
            Answer::Version(Err(errno), _) => format!("-{}", errno.number()),
            Answer::Raw(answer, _) | Answer::Beside(answer, _) => result(answer),
            _ => "done".into(),
        };
        format!("{what}: {answer}")
    }
}

/// The result of a hypercall, in a word.
pub fn result(answer: &RawAnswer) -> String {
    match answer.result {
        Ok(0) => "0".into(),
        Ok(_) => "more than 0".into(),
        Err(errno) => format!("-{}", errno.number()),
    }
}

fn send(request: &Request, side: &Side, of: &Ingredients) -> Answer {
    let sysctl: RawSysctl = request.sysctl(side.release, of);
    for attempt in 1.. {
        let last = attempt == ATTEMPTS;
        if matches!(request.body, Body::Act { .. }) {
            side.before_action();
        }
        let answer = side.send(&sysctl);
        if request.is_cut_short(&answer) && !last {
            continue;
        }
        let mut status = None;
        if let Body::Act { name, timeout, .. } = &request.body {
            if answer.result.is_ok() {
                status = side.settled(&name.bytes);
                let late = status.and_then(|status| status.error()) == Some(Errno::new(16));
                if late && *timeout == request::ACTION_TIMEOUT && !last {
                    continue;
                }
            }
        }
        return Answer::Raw(request.since(side.list_version, answer), status);
    }
    unreachable!("the last attempt returns");
}
