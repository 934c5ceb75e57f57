//! Both hosts side by side, and what to say when they differ.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::{env, fs};

use xen_livepatch::sim::{Release, SimulatedXen};

use super::generator::Generator;
use super::host::Host;
use super::recipe::Ingredients;
use super::side::{self, Side};
use super::step::{Outcome, Step};

pub struct Comparison {
    release: Release,
    ingredients: Ingredients,
    original: String,
    real: Side,
    trace: bool,
    pub operations: usize,
    pub census: Census,
}

/// Which answers there were, and how often.
#[derive(Default)]
pub struct Census(BTreeMap<String, usize>);

impl Census {
    pub fn count(&mut self, step: &Step, outcome: &Outcome) {
        *self.0.entry(step.class(outcome)).or_default() += 1;
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(class, count)| writeln!(f, "{count:6} {class}"))
    }
}

/// Two answers to one step.
struct Difference {
    real: Outcome,
    simulated: Outcome,
}

impl Comparison {
    pub fn new(host: &Host) -> Self {
        let version = host.client.xen_version().unwrap();
        let release = Release::from_version(version.major, version.minor).unwrap();
        let ingredients = side::ingredients(host, release);
        let original = host.original.clone();
        let (real, trace) = (Side::real(release), env::var_os("XEN_LIVEPATCH_TRACE").is_some());
        Self { release, ingredients, original, real, trace, operations: 0, census: Census::default() }
    }

    pub fn release(&self) -> Release {
        self.release
    }

    fn twin(&self) -> SimulatedXen {
        side::twin(&self.ingredients, &self.original)
    }

    /// Generates a sequence, runs it on both hosts, and brings them back to nothing loaded.
    pub fn run(&mut self, mut generator: Generator) {
        let xen = self.twin();
        let simulated = Side::simulated(&xen);
        let attentive = generator.attentive;
        // Clients remember what they uploaded, so both begin anew.
        self.real = Side::real(self.release);
        let mut steps = Vec::new();
        for _ in 0..generator.steps {
            let step = generator.next(&xen);
            let difference = self.difference(&step, &xen, &simulated, attentive);
            steps.push(step);
            if let Some(difference) = difference {
                let shortest = if generator.is_irreversible() { steps } else { self.shorten(steps, attentive) };
                self.fail(&generator, &shortest, &difference);
            }
        }
        if !generator.is_irreversible() {
            simulated.clear();
            self.real.clear();
        }
    }

    fn difference(&mut self, step: &Step, xen: &SimulatedXen, side: &Side, attentive: bool) -> Option<Difference> {
        // The simulated one first, since it says what would have hurt the real one.
        let simulated = step.run(side, attentive, &self.ingredients);
        assert_eq!(xen.crashed(), None, "not to be tried on a real Xen: {step:?}");
        if self.trace {
            // Xen may not survive it, and then only its own console tells.
            fs::write("/dev/hvc0", format!("{step:?}\n")).unwrap();
        }
        let real = step.run(&self.real, attentive, &self.ingredients);
        self.operations += 1;
        self.census.count(step, &real);
        (real != simulated).then_some(Difference { real, simulated })
    }

    /// The difference that these steps end with.
    fn replay(&mut self, steps: &[Step], attentive: bool) -> Option<(usize, Difference)> {
        self.real.clear();
        self.real = Side::real(self.release);
        let xen = self.twin();
        let side = Side::simulated(&xen);
        let mut steps = steps.iter().enumerate();
        steps.find_map(|(at, step)| Some((at, self.difference(step, &xen, &side, attentive)?)))
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
        let again = if generator.is_irreversible() { None } else { self.replay(steps, generator.attentive) };
        let shown = again.as_ref().map_or(first, |(_, difference)| difference);
        let mut text =
            format!("Xen {} and the simulated one differ. XEN_LIVEPATCH_SEED={}", self.release, generator.seed);
        writeln!(text, " shows it. The shortest sequence, log read: {}:", generator.attentive).unwrap();
        for step in steps {
            writeln!(text, "  {step:?}").unwrap();
        }
        if again.is_none() {
            writeln!(text, "It did not show again with these steps alone.").unwrap();
        }
        panic!("{text}real:      {:?}\nsimulated: {:?}", shown.real, shown.simulated);
    }
}
