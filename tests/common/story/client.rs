//! The commands of a client, and what is expected of the host.

use std::fmt::Debug;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use xen_livepatch::sim::{Call, Calls, Pace};
use xen_livepatch::{
    Action, ActionOptions, EnsureError, Ensured, Error, ErrorKind, InventoryEntry, LivepatchClient, LoadOptions,
    Outcome, Payload, PayloadName, Plan, QuiesceTimeout, Release, StepEvent, Target, UploadOptions, Wanted,
};

use super::host::{Host, called, flags, is_known, shown};
use super::text::{Line, number, time};

/// The most by which a call may miss its deadline on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

pub(super) struct Runner {
    host: Host,
    client: Arc<LivepatchClient>,
    /// The calls from which further ones are counted.
    counted: Calls,
    /// The last error.
    last: Option<Failure>,
    /// The events of the last plan, each begins with a word.
    events: Vec<String>,
    helpers: Vec<JoinHandle<()>>,
    /// The text of the stories, which has the names of all build-ids.
    file: &'static str,
}

/// The result of an operation, as text.
type Answer = Result<String, Box<Failure>>;

/// An error of an operation or of a plan.
struct Failure {
    /// The kind, and the outcome of a plan.
    kind: String,
    text: String,
    is_retryable: bool,
    may_have_happened: bool,
    operation: String,
    log: Vec<String>,
}

impl From<Error> for Box<Failure> {
    fn from(error: Error) -> Self {
        Self::new(Failure {
            kind: kind(&error),
            text: error.to_string(),
            is_retryable: error.is_retryable(),
            may_have_happened: error.may_have_happened(),
            operation: error.operation().map(|operation| operation.to_string()).unwrap_or_default(),
            log: error.xen_log().to_vec(),
        })
    }
}

impl From<EnsureError> for Box<Failure> {
    fn from(error: EnsureError) -> Self {
        let (outcome, text, is_retryable) = (error.outcome(), error.to_string(), error.is_retryable());
        let word = error.word();
        let (kind, may_have_happened, log) = match error {
            EnsureError::Interrupted(failure) => {
                let put_back = !failure.back.is_empty() && failure.back_error.is_none();
                assert!(outcome != Outcome::Restored || put_back, "{failure}");
                (kind(&failure.error), failure.may_have_happened(), failure.error.xen_log().to_vec())
            }
            _ => (word.to_owned(), false, Vec::new()),
        };
        let kind = format!("{outcome}: {kind}");
        Self::new(Failure { kind, text, is_retryable, may_have_happened, operation: String::new(), log })
    }
}

impl Runner {
    pub(super) fn new(host: Host, file: &'static str) -> Self {
        let (client, counted) = (connect(&host, &[]), host.xen.calls());
        Self { host, client, counted, last: None, events: Vec::new(), helpers: Vec::new(), file }
    }

    /// Carries out a command, and compares its result with the expected one.
    pub(super) fn run(&mut self, line: &Line) {
        if let Some(done) = self.host.command(line) {
            assert_eq!(done.err().map(number), line.result);
        } else if !self.check(line) {
            let start = Instant::now();
            let answer = self.operation(line);
            let (took, least) = (start.elapsed(), option(line, "until").or(option(line, "takes")).map(time));
            let most = option(line, "under").map(time).or(least.map(|least| least + SLACK));
            assert!(least.is_none_or(|least| took >= least) && most.is_none_or(|most| took < most), "{took:?}");
            let found = answer.unwrap_or_else(|failure| {
                let text = self.name_ids(&failure.kind);
                self.last = Some(*failure);
                text
            });
            let expected = line.result.as_deref().unwrap_or_default();
            // The rest of a kind may be left out.
            let (start, end) = expected.split_once(" ..").unwrap_or((expected, ""));
            let is_it = if expected.contains(" ..") {
                found.starts_with(start) && found.ends_with(end)
            } else {
                found == expected
            };
            assert!(is_it, "{found:?} instead of {expected:?}");
        }
    }

    /// Waits for what was to be done later. No story brings a host down.
    pub(super) fn end(self) {
        self.helpers.into_iter().for_each(|helper| helper.join().unwrap());
        assert_eq!(self.host.xen.crashed(), None);
    }

    fn operation(&mut self, line: &Line) -> Answer {
        let client = &self.client;
        let done = |()| String::new();
        assert!(line.options.iter().all(|option| is_known(option)), "an unknown option");
        match *line.words() {
            ["upload", id] => Ok(done(client.upload_with(&name(id), &self.bytes(id, line), upload_options(line))?)),
            ["load", id] => {
                let options = LoadOptions::new().flags(flags(line)).action(action_options(line));
                let payload = Payload::parse(&self.bytes(id, line))?;
                Ok(done(client.load_as(&name(id), &payload, options.upload(upload_options(line)))?))
            }
            ["wait", action, id] => {
                let time = option(line, "within").map_or(Duration::ZERO, time);
                Ok(done(client.wait(&name(id), action.parse().unwrap(), time)?))
            }
            ["leave", action, id] => {
                self.leave(&name(id), action.parse().unwrap());
                Ok(String::new())
            }
            ["status", id] => {
                let status = client.status(&name(id))?;
                assert_eq!(Some(status), self.host.xen.status(id));
                Ok(format!("{} {}", status.state, status.rc))
            }
            ["list"] => {
                let rows = client.list()?;
                Ok(shown(rows.iter().map(|row| (&row.name, row.status.state == xen_livepatch::State::Applied))))
            }
            ["target"] => Ok(client.target().map(|_| String::new())?),
            ["points"] => Ok(points(&client.target()?)),
            ["known"] => {
                let Some(known) = client.known_target() else { return Ok("nothing".into()) };
                assert_eq!(known, client.target()?);
                Ok(points(&known))
            }
            ["build-id"] => Ok(self.name_ids(&format!("{:?}", client.build_id()?))),
            ["version"] => Ok(client.xen_version()?.extra),
            ["identified"] => {
                let inventory = client.inventory()?;
                let entries: Vec<_> = inventory.iter().map(|entry| self.identified(entry)).collect();
                Ok(if entries.is_empty() { "-".into() } else { entries.join(" ") })
            }
            ["inventory"] => Ok(client.inventory()?.to_string()),
            ["ensure", ref ids @ ..] => self.ensure(ids, line),
            ["gaps", ref ids @ ..] => {
                let plan = Plan::new(&client.inventory()?, &self.wanted(ids, line)).map_err(EnsureError::from)?;
                Ok(plan.gaps().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            [action, id] => {
                let action: Action = action.parse().unwrap();
                Ok(done(client.action(action, &name(id)).flags(flags(line)).options(action_options(line)).run()?))
            }
            _ => panic!("{} is no command", line.text),
        }
    }

    /// A payload of an inventory: with its identity, unless that is its name, or with the reason why it has none.
    fn identified(&self, entry: &InventoryEntry) -> String {
        let name = entry.name.to_string();
        assert_eq!(entry.build_id.is_some(), entry.depends.is_some());
        assert!(entry.build_id.is_some() || entry.functions.is_none());
        let identity = match (&entry.build_id, entry.unidentified) {
            (Some(id), None) if id == self.host.payload(&name, &[]).build_id() => String::new(),
            (Some(id), None) => format!("={}", self.name_ids(&format!("{id:?}"))),
            (None, Some(reason)) => format!("({reason:?})"),
            _ => panic!("{entry:?}"),
        };
        format!("{}{name}{identity}", if entry.is_applied() { "+" } else { "" })
    }

    /// Has the client give up an action on which Xen is still working.
    fn leave(&self, name: &PayloadName, action: Action) {
        let xen = &self.host.xen;
        xen.set_pace(Pace::Held);
        let mut deadline = Duration::from_millis(40);
        let error = loop {
            match self.client.action(action, name).deadline(deadline).run().unwrap_err() {
                // On a busy machine there may be too little time to send it.
                error if *error.kind() == ErrorKind::DeadlinePassed => deadline *= 2,
                error => break error,
            }
        };
        assert_eq!(*error.kind(), ErrorKind::Unfinished);
        xen.set_pace(Pace::default());
    }

    /// Has a script run in another thread with the same client.
    fn meanwhile(&self, line: &Line) -> JoinHandle<()> {
        let (host, client, counted) = (self.host.clone(), Arc::clone(&self.client), self.counted.clone());
        let mut other =
            Self { host, client, counted, last: None, events: Vec::new(), helpers: Vec::new(), file: self.file };
        let script = line.script();
        std::thread::spawn(move || script.iter().for_each(|line| other.run(line)))
    }

    fn wanted(&self, ids: &[&str], line: &Line) -> Wanted {
        let has = |word: &str| line.options.iter().any(|option| option == word);
        let payload = |id: &str| Payload::parse(&self.host.payload(id, &[]).build()).unwrap();
        let wanted = Wanted::stack(ids.iter().map(|id| (name(self.loaded_as(id)), payload(id))));
        let files = self.host.kinds.keys().filter(|_| has("files")).map(|id| payload(id));
        let wanted = wanted.at_hand(files.collect::<Vec<_>>());
        let wanted = option(line, "accept").map_or(wanted.clone(), |kind| wanted.accept(kind.parse().unwrap()));
        if has("no gap") { wanted.no_gap() } else { wanted }
    }

    /// Brings the host to a level. Returns the payloads that stay loaded.
    fn ensure(&mut self, ids: &[&str], line: &Line) -> Answer {
        let wanted = self.wanted(ids, line);
        let mut events = Vec::new();
        let ensured = self.client.ensure(&wanted, |event| {
            events.push(match event {
                StepEvent::Replanned { plan, .. } => format!("Replanned {plan}"),
                event => format!("{event:?}"),
            });
        });
        let is = |event: &String, word| event.starts_with(word);
        let in_gap = |pair: &[String]| is(&pair[0], "GapOpens") && !is(&pair[1], "GapCloses");
        assert!(!events.windows(2).any(in_gap), "nobody is called in a gap: {events:?}");
        self.events = events;
        let Ensured { plan, inventory, .. } = ensured?;
        let after = self.client.inventory()?;
        assert_eq!((inventory.to_string(), inventory.payloads.len()), (after.to_string(), after.payloads.len()));
        for (one, other) in inventory.iter().zip(&after) {
            assert_eq!((&one.name, one.status, &one.build_id), (&other.name, other.status, &other.build_id));
        }
        let left = plan.leftovers().iter().map(|name| format!("{name} stays"));
        Ok(left.collect::<Vec<_>>().join(", "))
    }

    /// The payloads that are applied, from the bottom up, as their build-ids show them.
    fn level(&self) -> Vec<&str> {
        let inventory = connect(&self.host, &[]).inventory().unwrap();
        let kind = |name: &PayloadName| {
            let entry = inventory.iter().find(|entry| entry.name == *name).unwrap();
            let is_it = |kind: &&String| Some(self.host.payload(kind, &[]).build_id()) == entry.build_id.as_ref();
            self.host.kinds.keys().find(is_it).unwrap().as_str()
        };
        self.host.xen.applied().iter().map(kind).collect()
    }

    fn loaded_as<'s>(&'s self, id: &'s str) -> &'s str {
        let own = |options: &'s Vec<String>| options.iter().find_map(|option| option.strip_prefix("name "));
        self.host.kinds.get(id).and_then(own).unwrap_or(id)
    }

    fn bytes(&self, id: &str, line: &Line) -> Vec<u8> {
        self.host.payload(id, &line.options).build()
    }

    /// Compares the host with what is expected; false if the line is not about that.
    fn check(&mut self, line: &Line) -> bool {
        let xen = &self.host.xen;
        match *line.words() {
            ["host", ..] => assert_eq!(self.host.shown(), line.text.trim_start_matches("host").trim()),
            ["stack", ref ids @ ..] => assert_eq!(xen.applied(), ids.iter().map(|id| name(id)).collect::<Vec<_>>()),
            ["calls", call, number] => {
                let made = |calls: &Calls| if call == "all" { calls.total() } else { calls.of(called(call)) };
                assert_count(made(&xen.calls()) - made(&self.counted), number);
            }
            ["lists", calls] => self.check_list(calls),
            ["state", id, ref state @ ..] => {
                let status = xen.status(id).unwrap();
                assert_eq!(format!("{} {}", status.state, status.rc), state.join(" "));
            }
            ["unpatched"] => {
                assert_eq!(self.client.xen_version().unwrap().extra, xen.release().extra_version());
            }
            ["called", call] => {
                while xen.calls().of(called(call)) == 0 {
                    std::thread::yield_now();
                }
            }
            ["meanwhile"] => self.helpers.push(self.meanwhile(line)),
            ["count"] => self.counted = xen.calls(),
            ["client"] => self.client = connect(&self.host, &line.options),
            ["in", ..] => self.helpers.push(self.host.later(line)),
            ["error", "is"] => line.options.iter().for_each(|word| self.check_last(word)),
            ["error", "contains"] => assert_contains(&self.last.as_ref().unwrap().text, line),
            ["log", "contains"] => assert_contains(&self.last.as_ref().unwrap().log.join(" "), line),
            ["event", "contains"] => assert_contains(&self.events.join(" "), line),
            ["events", word, number] => {
                assert_count(self.events.iter().filter(|event| event.starts_with(word)).count(), number);
            }
            ["level", ref ids @ ..] => assert_eq!(self.level(), *ids),
            ["log", "has", number] => assert_count(self.last.as_ref().unwrap().log.len(), number),
            ["log", "is"] => {
                let expected: Vec<_> = line.below.iter().map(|line| line.whole.clone()).collect();
                assert_eq!(self.last.as_ref().unwrap().log, expected);
            }
            _ => return false,
        }
        true
    }

    /// Lists the payloads: the rows are what Xen has, and took so many calls.
    fn check_list(&self, calls: &str) {
        let xen = &self.host.xen;
        let before = xen.calls().of(Call::List);
        let rows = self.client.list().unwrap();
        assert_count(xen.calls().of(Call::List) - before, calls);
        let packed = xen.release() >= Release::V4_14;
        for row in &rows {
            assert_eq!(row.metadata.get("id"), packed.then_some(row.name.as_bytes()));
            assert_eq!(Some(row.status), xen.status(&row.name));
        }
        assert_eq!(rows.into_iter().map(|row| row.name).collect::<Vec<_>>(), xen.loaded());
    }

    fn check_last(&self, word: &str) {
        let error = self.last.as_ref().unwrap();
        let is = match word {
            "retryable" => error.is_retryable,
            "final" => !error.is_retryable,
            "perhaps done" => error.may_have_happened,
            "undone" => !error.may_have_happened,
            "logged" => !error.log.is_empty(),
            "unlogged" => error.log.is_empty(),
            operation => error.operation == operation,
        };
        assert!(is, "{} is not {word}", error.text);
    }

    /// Names build-ids as the payloads that have them.
    fn name_ids(&self, text: &str) -> String {
        if !text.contains("BuildId(") {
            return text.into();
        }
        let own = self.host.xen.build_id().map(|id| format!("{id:?}")).unwrap_or_default();
        let words = self.file.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty());
        words.fold(text.replace(&own, "Xen"), |text, word| {
            text.replace(&format!("{:?}", self.host.payload(word, &[]).build_id()), word)
        })
    }
}

/// A client that lets neither Xen settle nor hooks return, and gives up even in a test that went wrong.
fn connect(host: &Host, options: &[String]) -> Arc<LivepatchClient> {
    let deadline = ActionOptions::new().deadline(Duration::from_secs(20));
    let start =
        LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(Duration::ZERO).action_defaults(deadline);
    let builder = options.iter().fold(start, |builder, option| match option.split_once(' ') {
        Some(("without", _)) => builder.without_xen_log(),
        Some(("settle", settle)) => builder.settle_time(time(settle)),
        Some(("hook", hook)) => builder.hook_time(time(hook)),
        Some(("within", deadline)) => builder.action_defaults(ActionOptions::new().deadline(time(deadline))),
        _ => panic!("{option} is no option of a client"),
    });
    Arc::new(builder.connect(host.xen.clone()).unwrap())
}

/// The kind of an error and its number, and the fate of a payload that could not be loaded.
fn kind(error: &Error) -> String {
    let cleanup = error.cleanup().map(|cleanup| format!("; {}", cleanup.word())).unwrap_or_default();
    if let ErrorKind::UnfitPayload { findings, .. } = error.kind() {
        let findings = findings.iter().map(|finding| format!("{} {:?}", finding.kind(), finding.severity));
        return format!("UnfitPayload: {}", findings.collect::<Vec<_>>().join(", "));
    }
    let kind = format!("{:?}", error.kind());
    let Some(errno) = error.raw_errno() else { return format!("{kind}{cleanup}") };
    let number = number(errno);
    format!("{} [{number}]{cleanup}", kind.replace(&format!("{errno:?}"), &number))
}

/// The bounds on a point release.
fn points(target: &Target) -> String {
    let (least, most) = target.known_points();
    format!("{least}..{}", most.map(|most| most.to_string()).unwrap_or_default())
}

/// Checks that a number is in a range such as `1..3`, ends included, or is the one that is given.
#[track_caller]
fn assert_count<T: TryInto<u64, Error: Debug>>(count: T, range: &str) {
    let (least, most) = range.split_once("..").unwrap_or((range, range));
    let count = count.try_into().unwrap();
    assert!((least.parse().unwrap()..=most.parse().unwrap()).contains(&count), "{count}");
}

/// Checks that a text has the lines below as one.
#[track_caller]
fn assert_contains(text: &str, line: &Line) {
    let part = line.below.iter().map(|line| line.whole.as_str()).collect::<Vec<_>>().join(" ");
    assert!(text.contains(&part), "{text}");
}

fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

fn option<'l>(line: &'l Line, word: &str) -> Option<&'l str> {
    line.options.iter().find_map(|option| option.strip_prefix(word)?.strip_prefix(' '))
}

fn action_options(line: &Line) -> ActionOptions {
    let options = ActionOptions::new();
    let deadline = option(line, "within").or(option(line, "until")).map(time);
    let options = deadline.map_or(options, |deadline| options.deadline(deadline));
    let timeout = option(line, "timeout").map(|timeout| QuiesceTimeout::new(time(timeout)).unwrap());
    let options = timeout.map_or(options, |timeout| options.quiesce_timeout(timeout));
    option(line, "retries").map_or(options, |retries| options.quiesce_retries(retries.parse().unwrap()))
}

fn upload_options(line: &Line) -> UploadOptions {
    line.options.iter().fold(UploadOptions::new(), |options, option| match option.as_str() {
        "unchecked" => options.unchecked(),
        "force" => options.force(),
        "leave refusals" => options.leave_refusals_to_xen(),
        _ => option.strip_prefix("accept ").map_or(options, |kind| options.accept(kind.parse().unwrap())),
    })
}
