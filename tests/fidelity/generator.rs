//! The generator of operations: most suit the state of the simulated host, and the others make no sense.

use std::collections::{BTreeMap, BTreeSet};

use super::beside::{Beside, Start};
use super::random::Random;
use super::recipe::{Id, Ingredients, Recipe};
use super::request::{ACTION_TIMEOUT, Body, Name, Request, Room, UNLOADING_TIMEOUT};
use super::side;
use super::step::{Step, Way};
use crate::prelude::*;

/// Returns true if an action without time always times out. CPUs that patch when they are idle (to 4.13.0) may be at rest
/// already. The clock of an emulated Arm machine ticks every 16 ns, which is rarely long enough for an idle CPU.
fn is_punctual(xen: &SimulatedXen) -> bool {
    xen.release() >= Release::V4_14.at(0) && xen.architecture() == Architecture::X86_64
}

/// Returns true if a second action can follow while CPUs are still leaving the first. If they can be idle for long
/// meanwhile (to 4.13.0), Xen may stop for good: see `host::let_all_cpus_return`.
fn takes_actions_in_a_row(xen: &SimulatedXen) -> bool {
    xen.release() >= Release::V4_14.at(0)
}

/// Returns true if UNLOAD waits for all processors (commit a57b4074ab).
fn waits_to_unload(release: Release) -> bool {
    matches!((release.minor(), release.point()), (19.., _) | (17, 4..) | (18, 1..))
}

/// Returns true if a payload is marked as in progress. Between two steps the mark is stale.
fn is_marked(xen: &SimulatedXen, name: &PayloadName) -> bool {
    xen.status(name).is_some_and(|status| status.rc == -11)
}

fn any_is_marked(xen: &SimulatedXen) -> bool {
    xen.loaded().iter().any(|name| is_marked(xen, name))
}

/// The attempts to find an action that is accepted.
const ATTEMPTS: usize = 8;

/// The numbers of actions that take their time.
const ACTIONS: [(Action, u32); 3] = [(Action::Revert, 2), (Action::Apply, 3), (Action::Replace, 4)];

#[derive(Debug)]
pub struct Generator {
    pub seed: u64,
    pub steps: usize,
    /// Clients read Xen's log.
    pub attentive: bool,
    /// Payloads may refuse to be reverted.
    pub irreversible: bool,
    random: Random,
    of: Ingredients,
    names: Vec<PayloadName>,
    /// The payloads that were uploaded last under each name.
    recipes: BTreeMap<Vec<u8>, Recipe>,
    /// The names of payloads whose actions begin slowly.
    slow: BTreeSet<Vec<u8>>,
    /// The action of the next step, with others beside it.
    planned: Option<(PayloadName, Action)>,
}

impl Generator {
    pub fn new(seed: u64, steps: usize, of: &Ingredients) -> Self {
        let mut random = Random::new(seed);
        let attentive = random.percent(40);
        Self {
            seed,
            steps,
            attentive,
            irreversible: false,
            random,
            of: of.clone(),
            names: side::names(),
            recipes: BTreeMap::new(),
            slow: BTreeSet::new(),
            planned: None,
        }
    }

    /// With payloads that refuse to be reverted.
    pub fn irreversible(self) -> Self {
        Self { irreversible: true, ..self }
    }

    /// The next step on a host like this.
    pub fn next(&mut self, xen: &SimulatedXen) -> Step {
        if let Some((name, action)) = self.planned.take() {
            return self.beside(xen, name, action, 1);
        }
        let loaded = xen.loaded();
        let room = match loaded.len() {
            0..3 => 90,
            3..12 => 30,
            _ => 3,
        };
        match self.random.below(86 + room) {
            0..24 => self.act(Action::Apply, xen),
            24..36 => self.act(Action::Revert, xen),
            36..41 => self.act(Action::Replace, xen),
            41..49 => self.act(Action::Unload, xen),
            49..52 => Step::Status(self.name(xen, None)),
            52..54 => Step::List,
            54..57 => self.version(),
            57..81 => Step::Request(self.request(xen)),
            // These take as long as ten others.
            81 if self.irreversible || self.random.percent(40) => self.version(),
            81 if self.random.percent(60) => self.upload_slow(xen),
            81 => {
                let (name, action, flags) = self.lasting(xen);
                self.beside(xen, name, action, flags)
            }
            82..84 => Step::Inventory,
            84..86 if takes_actions_in_a_row(xen) && (self.attentive || !any_is_marked(xen)) => self.ensure(xen),
            _ => self.upload(xen),
        }
    }

    /// Some of the applied payloads, and others on top of them.
    fn ensure(&mut self, xen: &SimulatedXen) -> Step {
        let mut stack = Vec::new();
        let applied = xen.applied();
        for name in &applied[..self.random.below(applied.len() + 1)] {
            let known = self.recipes.get(name.as_bytes());
            stack.extend(known.map(|recipe| (name.clone(), Box::new(recipe.clone()))));
        }
        for _ in 0..self.random.below(3) {
            let (name, id) = (self.new_name(xen), Id::any(&mut self.random));
            let depends = stack.last().map_or(Id::Xen, |(_, recipe)| recipe.id);
            let irreversible = self.irreversible;
            let recipe = self.remember(name.as_bytes(), xen, |random| {
                let any = Recipe::random(random, id, depends, xen, irreversible);
                Recipe { xen: Id::Xen, misfit: false, flaw: None, ..any }
            });
            stack.push((name, Box::new(recipe)));
        }
        Step::Ensure(stack)
    }

    /// A name: of a payload in this state where there is one, or any.
    fn name(&mut self, xen: &SimulatedXen, state: Option<State>) -> PayloadName {
        let loaded = xen.loaded();
        let fitting: Vec<_> = loaded
            .iter()
            .filter(|name| state.is_none_or(|state| xen.status(name).is_some_and(|status| status.state == state)))
            .filter(|name| !name.as_bytes().is_empty())
            .cloned()
            .collect();
        match self.random.below(100) {
            0..70 if !fitting.is_empty() => self.random.of(&fitting),
            0..92 if !loaded.is_empty() => self.random.of(&loaded),
            _ => self.random.of(&self.names),
        }
    }

    fn new_name(&mut self, xen: &SimulatedXen) -> PayloadName {
        let loaded = xen.loaded();
        let free: Vec<_> = self.names.iter().filter(|name| !loaded.contains(name)).cloned().collect();
        if free.is_empty() || self.random.percent(8) { self.random.of(&self.names) } else { self.random.of(&free) }
    }

    fn recipe(&mut self, xen: &SimulatedXen, name: &[u8]) -> Recipe {
        let id = match self.random.below(100) {
            0..2 => Id::Xen,
            2..4 => Id::Odd,
            _ => Id::any(&mut self.random),
        };
        let (applied, loaded) = (xen.applied(), xen.loaded());
        let of = |names: &[PayloadName], recipes: &BTreeMap<Vec<u8>, Recipe>, random: &mut Random| {
            let name = if names.is_empty() { None } else { Some(random.of(names)) };
            name.and_then(|name| recipes.get(name.as_bytes())).map_or(Id::Xen, |recipe| recipe.id)
        };
        let depends = match self.random.below(100) {
            0..35 => of(applied.last().map_or(&[], core::slice::from_ref), &self.recipes, &mut self.random),
            35..50 => of(&loaded, &self.recipes, &mut self.random),
            50..92 => Id::Xen,
            92..95 => Id::Odd,
            _ => Id::any(&mut self.random),
        };
        self.slow.remove(name);
        let irreversible = self.irreversible;
        self.remember(name, xen, |random| Recipe::random(random, id, depends, xen, irreversible))
    }

    /// A payload that does no harm, for an upload under this name.
    fn remember(&mut self, name: &[u8], xen: &SimulatedXen, make: impl Fn(&mut Random) -> Recipe) -> Recipe {
        let recipe = loop {
            let recipe = make(&mut self.random);
            if self.is_survived(&recipe, name, xen) {
                break recipe;
            }
            // A rule of the simulated Xen that real ones don't have must not keep sound payloads from being compared.
            assert!(recipe.flaw.is_some() || recipe.read_only, "{recipe:?} does no harm");
        };
        self.recipes.insert(name.into(), recipe.clone());
        recipe
    }

    /// Returns true if a host like this takes no harm from a payload.
    fn is_survived(&self, recipe: &Recipe, name: &[u8], xen: &SimulatedXen) -> bool {
        let fork = xen.fork();
        fork.set_pace(Pace::Polls(0));
        // Refused, it does no harm.
        let _refused = fork
            .other_upload(name, &recipe.build(&self.of))
            .and_then(|()| fork.other_action(name, Action::Apply, Flags::NODEPS))
            .and_then(|()| fork.other_action(name, Action::Revert, Flags::empty()));
        fork.crashed().is_none()
    }

    fn payload(&mut self, xen: &SimulatedXen) -> (PayloadName, Box<Recipe>) {
        let name = self.new_name(xen);
        let recipe = self.recipe(xen, name.as_bytes());
        (name, Box::new(recipe))
    }

    fn upload(&mut self, xen: &SimulatedXen) -> Step {
        let (name, recipe) = self.payload(xen);
        let way = self.random.weighted(&[
            (70, Way::Bytes),
            (12, Way::Checked),
            (8, Way::Load),
            (6, Way::File),
            (4, Way::Forced),
        ]);
        Step::Upload { name, recipe, way }
    }

    /// A payload that is to be applied next, with something beside it.
    fn upload_slow(&mut self, xen: &SimulatedXen) -> Step {
        let name = self.new_name(xen);
        let id = Id::any(&mut self.random);
        let top = xen.applied().last().and_then(|top| self.recipes.get(top.as_bytes())).map_or(Id::Xen, |top| top.id);
        let recipe = self.remember(name.as_bytes(), xen, |random| Recipe::slow(random, id, top, xen));
        self.slow.insert(name.as_bytes().into());
        self.planned = Some((name.clone(), Action::Apply));
        Step::Upload { name, recipe: Box::new(recipe), way: Way::Bytes }
    }

    /// A payload that this action makes sense for, mostly.
    fn subject(&mut self, action: Action, xen: &SimulatedXen) -> PayloadName {
        match (action, xen.applied().last()) {
            (Action::Revert, Some(top)) if self.random.percent(70) => top.clone(),
            (Action::Revert, _) => self.name(xen, Some(State::Applied)),
            _ => self.name(xen, Some(State::Checked)),
        }
    }

    fn act(&mut self, action: Action, xen: &SimulatedXen) -> Step {
        let name = self.subject(action, xen);
        let on_top = xen.applied().last() == Some(&name);
        if action == Action::Revert && !self.attentive && !on_top && is_marked(xen, &name) {
            // It can't tell why Xen is busy, and asks again until its time is up.
            return Step::Request(Request::new(Body::action(Name::of(name.as_bytes()), 2)));
        }
        let flags = match self.random.below(100) {
            0..45 if action == Action::Apply => 1,
            0..96 => 0,
            _ => self.random.of(&[1, 2, 3, 0x8000_0000]),
        };
        Step::Act { action, name, flags, hurried: self.random.percent(6) && is_punctual(xen) }
    }

    fn request(&mut self, xen: &SimulatedXen) -> Request {
        let interface = if self.random.percent(2) { self.random.of(&[1, u32::MAX]) } else { 0 };
        let flags = if self.random.percent(5) { self.random.of(&[1, 2, 3, 0x8000_0001]) } else { 0 };
        let body = match self.random.weighted(&[(10, 0), (15, 1), (35, 2), (38, 3), (2, 4), (3, 5)]) {
            0 => {
                let (name, recipe) = self.payload(xen);
                let name = Name::random(&mut self.random, name.as_bytes());
                let sizes = [0, (2 << 20) + 1, u64::MAX, 64, 200_000];
                let size = self.random.percent(20).then(|| self.random.of(&sizes));
                Body::Upload { name, recipe, size }
            }
            1 => Body::Get(self.raw_name(xen)),
            2 => self.list(xen.loaded().len()),
            3 => {
                let commands = [(5, 0), (15, 1), (30, 2), (30, 3), (10, 4), (5, 5), (3, u32::MAX), (2, 0x100)];
                let command = self.random.weighted(&commands);
                let name = self.raw_name(xen);
                let timeout = if self.random.percent(8) && is_punctual(xen) { 1 } else { ACTION_TIMEOUT };
                let flags = if self.random.percent(50) { 0 } else { self.random.of(&[1, 1, 2, 0xffff_fffe, u32::MAX]) };
                let pad = if self.random.percent(4) { self.random.of(&[1, 0x8000_0000]) } else { 0 };
                Body::Act { name, command, timeout, flags, pad }
            }
            5 => {
                let (incremental, room) = (self.random.percent(50), self.random.percent(80));
                let count = if room { self.random.of(&[1, 64, 5000]) } else { 0 };
                Body::Console { incremental, count, room, pad: self.random.of(&[0, 0, 0, 1]) }
            }
            _ => Body::Other(self.random.of(&[4, 5, 99, u32::MAX])),
        };
        Request { interface, flags, body }
    }

    fn beside(&mut self, xen: &SimulatedXen, subject: PayloadName, action: Action, flags: u32) -> Step {
        let slow = self.slow.contains(subject.as_bytes()) && action != Action::Replace;
        let start = match self.random.below(100) {
            0..75 if slow => Start::After(Duration::from_millis(1)),
            75..90 => Start::After(Duration::from_micros(self.random.of(&[0, 100, 300]))),
            _ => Start::Pending,
        };
        let (_, command) = ACTIONS.into_iter().find(|(known, _)| *known == action).unwrap();
        let mut body = Body::Act { name: Name::of(subject.as_bytes()), command, timeout: 0, flags, pad: 0 };
        let count = self.random.weighted(&[(30, 1), (45, 2), (25, 3)]);
        let mut others: Vec<_> = (0..count).map(|_| self.other(xen, &subject, action)).collect();
        // One of the others may be an action as well, which Xen is still leaving when its payload is unloaded, unless the unload
        // waits for all CPUs.
        let acts = others.iter().any(|request| matches!(request.body, Body::Act { command: 2..=4, .. }));
        if acts && !waits_to_unload(xen.release()) {
            for body in others.iter_mut().map(|request| &mut request.body) {
                if let Body::Act { command: command @ 1, .. } = body {
                    *command = 0;
                }
            }
        }
        // An unload may wait for the action and the action for it: not for long.
        let unloads = others.iter().any(|request| matches!(request.body, Body::Act { command: 1, .. }));
        let limit = if unloads { UNLOADING_TIMEOUT } else { ACTION_TIMEOUT };
        for body in others.iter_mut().map(|request| &mut request.body).chain([&mut body]) {
            if let Body::Act { timeout, .. } = body {
                *timeout = limit;
            }
        }
        if slow && action == Action::Apply && self.random.percent(60) {
            self.planned = Some((subject, Action::Revert));
        }
        Step::Beside(Box::new(Beside { action: Request::new(body), others, start }))
    }

    /// An action that has something to do after it was accepted, mostly: payload, action, and flags.
    fn lasting(&mut self, xen: &SimulatedXen) -> (PayloadName, Action, u32) {
        for attempt in 1.. {
            let action = self.random.weighted(&[(50, Action::Apply), (30, Action::Revert), (20, Action::Replace)]);
            let (name, flags) = (self.subject(action, xen), u32::from(self.random.percent(60)));
            let fork = xen.fork();
            fork.set_pace(Pace::Held);
            let begun = fork.other_start(&name, action, Flags::from_bits_retain(flags)).is_ok();
            let pending = is_marked(&fork, &name);
            if (begun && pending) || attempt == ATTEMPTS {
                return (name, action, flags);
            }
        }
        unreachable!("the last attempt returns");
    }

    /// A request beside an action on this payload.
    fn other(&mut self, xen: &SimulatedXen, subject: &PayloadName, action: Action) -> Request {
        let same = self.random.percent(45);
        let name = if same { subject.clone() } else { self.name(xen, None) };
        let raw = if self.random.percent(92) {
            Name::of(name.as_bytes())
        } else {
            Name::random(&mut self.random, name.as_bytes())
        };
        let body = match self.random.weighted(&[(65, 0), (13, 1), (10, 2), (12, 3)]) {
            0 => {
                let command = self.random.weighted(&[(10, 0), (25, 1), (20, 2), (25, 3), (15, 4), (5, 5)]);
                let harmless = match command {
                    1 => waits_to_unload(xen.release()) || action == Action::Apply || name != *subject,
                    2..=4 => takes_actions_in_a_row(xen),
                    _ => true,
                };
                let flags = if self.random.percent(40) { 0 } else { self.random.of(&[1, 1, 1, 2, u32::MAX]) };
                let pad = u32::from(self.random.percent(3));
                Body::Act { name: raw, command: if harmless { command } else { 0 }, timeout: 0, flags, pad }
            }
            1 => Body::Get(raw),
            2 => self.list(xen.loaded().len()),
            _ => {
                let (name, recipe) = self.payload(xen);
                Body::Upload { name: Name::of(name.as_bytes()), recipe, size: None }
            }
        };
        Request { flags: if self.random.percent(4) { self.random.of(&[1, 2, 3]) } else { 0 }, ..Request::new(body) }
    }

    fn version(&mut self) -> Step {
        let argument = (self.random.of(&[0, 1, 7, 19, 20, 21, 64, 0x1_0000, u32::MAX]), 64);
        // Those whose answers follow from the release and the build-id; the rest tells of the build.
        let command = self.random.of(&[0, 10, 10, 10, 10, 99, u32::MAX]);
        Step::Version(command, (command == 10 && self.random.percent(80)).then_some(argument))
    }

    fn raw_name(&mut self, xen: &SimulatedXen) -> Name {
        let name = self.name(xen, None);
        Name::random(&mut self.random, name.as_bytes())
    }

    fn list(&mut self, loaded: usize) -> Body {
        let random = &mut self.random;
        let start = match random.below(100) {
            0..80 => random.below(loaded.max(1)),
            80..95 => random.below(14),
            _ => random.of(&[1024, 0x7fff_ffff, 0xffff_ffff]),
        };
        let rows = if random.percent(90) { random.below(14) } else { random.of(&[1023, 1024, 1025, 0xffff_ffff]) };
        let pad = if random.percent(4) { random.of(&[1, 0x8000_0000]) } else { 0 };
        let totals = if random.percent(80) { [0; 2] } else { [random.of(&[1, 0xffff_ffff]); 2] };
        let room = match random.below(100) {
            0..75 => Room::Enough,
            75..78 => Room::None,
            _ => Room::Short(random.below(5), random.below(200)),
        };
        Body::List { start: u32::try_from(start).unwrap(), rows: u32::try_from(rows).unwrap(), pad, totals, room }
    }
}
