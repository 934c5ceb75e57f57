//! Both hosts side by side, and the report of a difference.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::{env, fs, thread};

use super::beside::Beside;
use super::generator::Generator;
use super::host::Host;
use super::order::{self, Event, Search};
use super::recipe::Ingredients;
use super::side::{self, Side};
use super::step::{self, Answer, Outcome, Step};
use crate::prelude::*;

/// The attempts of steps with a random order of events.
const TRIES: usize = 4;

pub struct Comparison {
    pub release: Release,
    pub ingredients: Ingredients,
    original: String,
    real: Side,
    trace: bool,
    /// Sequences that ended with something that the real host would not survive. Chance makes such payloads, rarely.
    pub harmful: usize,
    /// Of the sequence that is being compared.
    seed: u64,
    pub operations: usize,
    pub census: Census,
    pub beside: Counts,
}

/// The outcomes of actions with others beside them.
#[derive(Debug, Default)]
pub struct Counts {
    pub actions: usize,
    /// Answers while work was pending: no other order explains them.
    pub pending: usize,
    /// Steps with several orders that explain all answers, and hosts that may yet differ.
    pub ambiguous: usize,
}

/// Which answers there were, and how often.
pub type Census = BTreeMap<String, usize>;

impl Drop for Comparison {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = format!("in the sequence of XEN_LIVEPATCH_SEED={}\n", self.seed);
            drop(io::stderr().write_all(text.as_bytes()));
        }
    }
}

/// The result of comparing a step.
enum Verdict {
    Same {
        /// Not if the hosts may be in different states although nothing shows it.
        surely: bool,
    },
    Different(Box<Difference>),
    /// Not tried on the real one, which would not survive it.
    Harmful,
}

impl Verdict {
    fn of(real: Outcome, simulated: Outcome) -> Self {
        if real == simulated {
            Self::Same { surely: true }
        } else {
            Self::Different(Box::new(Difference { real, simulated }))
        }
    }
}

/// Two answers to one step.
struct Difference {
    real: Outcome,
    simulated: Outcome,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "real:      {:?}\nsimulated: {:?}", self.real, self.simulated)
    }
}

impl Comparison {
    pub fn new(host: &Host) -> Self {
        let release = host.running();
        let ingredients = side::ingredients(host, release);
        let original = host.original.clone();
        let (real, trace) = (Side::real(release), env::var_os("XEN_LIVEPATCH_TRACE").is_some());
        Self {
            release,
            ingredients,
            original,
            real,
            trace,
            harmful: 0,
            seed: 0,
            operations: 0,
            census: Census::default(),
            beside: Counts::default(),
        }
    }

    fn twin(&self) -> SimulatedXen {
        side::twin(&self.ingredients, &self.original)
    }

    /// Generates a sequence, runs it on both hosts, and brings them back to nothing loaded.
    pub fn run(&mut self, mut generator: Generator) {
        let xen = self.twin();
        let simulated = Side::simulated(&xen);
        let attentive = generator.attentive;
        self.seed = generator.seed;
        // Clients remember what they uploaded, so both begin anew.
        self.real = Side::real(self.release);
        let capabilities = |side: &Side| side.attentive.capabilities().unwrap();
        assert_eq!(capabilities(&self.real), capabilities(&simulated));
        let mut steps = Vec::new();
        for _ in 0..generator.steps {
            let step = generator.next(&xen);
            let verdict = self.compare(&step, &xen, &simulated, attentive);
            steps.push(step);
            match verdict {
                Verdict::Same { surely: true } => {}
                Verdict::Same { surely: false } => break,
                Verdict::Harmful => {
                    self.harmful += 1;
                    break;
                }
                Verdict::Different(difference) => {
                    // Making it shorter takes its time, and may find that it does not show again.
                    let text = format!("To be made shorter, a difference after {steps:?}:\n{difference}\n");
                    io::stderr().write_all(text.as_bytes()).unwrap();
                    let shortest = if generator.irreversible { steps } else { self.shorten(steps, attentive) };
                    self.fail(&generator, &shortest, &difference);
                }
            }
        }
        if !generator.irreversible {
            if xen.crashed().is_none() {
                simulated.clear();
            }
            self.real.clear();
        }
    }

    fn compare(&mut self, step: &Step, xen: &SimulatedXen, side: &Side, attentive: bool) -> Verdict {
        if let Step::Beside(beside) = step {
            return self.compare_beside(step, beside, xen, side);
        }
        // The simulated one first, since it says what would have hurt the real one.
        let simulated = step.run(side, attentive, &self.ingredients);
        if xen.crashed().is_some() {
            return Verdict::Harmful;
        }
        self.announce(step);
        let real = step.run(&self.real, attentive, &self.ingredients);
        self.operations += 1;
        *self.census.entry(step.class(&real)).or_default() += 1;
        Verdict::of(real, simulated)
    }

    /// Here the real one comes first, since only its answers tell in which order it took the requests.
    fn compare_beside(&mut self, step: &Step, beside: &Beside, xen: &SimulatedXen, side: &Side) -> Verdict {
        if !order::rehearse(xen, &self.ingredients, beside) {
            return Verdict::Harmful;
        }
        self.announce(step);
        let answers = beside.run(&self.real, &self.ingredients);
        let real = Outcome::after(Answer::from(&answers), &self.real);
        self.operations += 1;
        *self.census.entry(step.class(&real)).or_default() += 1;
        let found = Search::new(side, &answers, &real).run(xen);
        let (order, surely) = found.unwrap_or_else(|| {
            // Any other is as wrong.
            let others = answers.others.iter().map(|_| Event::Other);
            ([Event::Action, Event::End { late: false }].into_iter().chain(others).collect(), true)
        });
        let question = beside.question().sysctl(self.release, &self.ingredients);
        let (action, others) = order::replay(xen, side, &question, &answers, &order);
        for (exchange, (answer, pending)) in answers.others.iter().zip(&others) {
            let when = if *pending { "while" } else { "when no" };
            let class = format!("{} {when} work is pending: {}", exchange.request.kind(), step::result(answer));
            *self.census.entry(class).or_default() += 1;
        }
        self.beside.actions += 1;
        self.beside.pending += usize::from(others.iter().any(|(_, pending)| *pending));
        self.beside.ambiguous += usize::from(!surely);
        match Verdict::of(
            real,
            Outcome::after(Answer::Beside(action, others.into_iter().map(|(answer, _)| answer).collect()), side),
        ) {
            Verdict::Same { .. } => Verdict::Same { surely },
            other => other,
        }
    }

    fn announce(&self, step: &Step) {
        if self.trace {
            // Xen may not survive it, and then only its own console tells.
            fs::write("/dev/hvc0", format!("{step:?}\n")).unwrap();
        }
    }

    /// The difference that these steps end with.
    fn replay(&mut self, steps: &[Step], attentive: bool) -> Option<(usize, Box<Difference>)> {
        let by_chance = steps.iter().any(|step| matches!(step, Step::Beside(_)));
        (0..if by_chance { TRIES } else { 1 }).find_map(|_| self.replay_once(steps, attentive))
    }

    fn replay_once(&mut self, steps: &[Step], attentive: bool) -> Option<(usize, Box<Difference>)> {
        self.real.clear();
        self.real = Side::real(self.release);
        let xen = self.twin();
        let side = Side::simulated(&xen);
        for (at, step) in steps.iter().enumerate() {
            match self.compare(step, &xen, &side, attentive) {
                Verdict::Different(difference) => return Some((at, difference)),
                Verdict::Same { surely: true } => {}
                Verdict::Same { surely: false } | Verdict::Harmful => break,
            }
        }
        None
    }

    /// Leaves out every step without which there is a difference still.
    fn shorten(&mut self, mut steps: Vec<Step>, attentive: bool) -> Vec<Step> {
        let mut at = steps.len().saturating_sub(1);
        while at > 0 {
            at -= 1;
            let mut fewer = steps.clone();
            fewer.remove(at);
            if let Some((last, _)) = self.replay(&fewer, attentive) {
                fewer.truncate(last + 1);
                at = at.min(last);
                steps = fewer;
            }
        }
        steps
    }

    fn fail(&mut self, generator: &Generator, steps: &[Step], first: &Difference) -> ! {
        let again = if generator.irreversible { None } else { self.replay(steps, generator.attentive) };
        let shown = again.as_ref().map_or(first, |(_, difference)| &**difference);
        let mut text =
            format!("Xen {} and the simulated one differ. XEN_LIVEPATCH_SEED={}", self.release, generator.seed);
        writeln!(text, " shows it. The shortest sequence, log read: {}:", generator.attentive).unwrap();
        for step in steps {
            writeln!(text, "  {step:?}").unwrap();
        }
        if again.is_none() {
            writeln!(text, "It did not show again with these steps alone.").unwrap();
        }
        panic!("{text}{shown}");
    }
}
