//! The generator of payloads, and of the actions with each, from a number.

use xen_livepatch::BuildId;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};

use super::mutation::{self, Mutant};
use super::random::Random;
use super::seed::{Ingredients, Seed};

/// The actions with a payload.
#[allow(clippy::struct_excessive_bools, reason = "each is an action that can be left out")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `Some` if another payload is loaded beneath, true if that is applied.
    pub beneath: Option<bool>,
    pub apply: bool,
    pub again: bool,
    pub replace: bool,
    pub nodeps: bool,
    /// True if the loaded payloads are listed.
    pub list: bool,
}

impl Plan {
    pub const ALL: Self = Self { beneath: None, apply: true, again: true, replace: false, nodeps: true, list: true };

    /// Without the actions whose bits are set in `without`.
    fn new(random: &mut Random, without: u32) -> Self {
        let beneath = random.weighted(&[(85, None), (5, Some(false)), (10, Some(true))]);
        let (apply, again, replace) = (random.percent(30), random.percent(15), random.percent(6));
        // A payload on top of another may depend on Xen all the same.
        let nodeps = random.percent(50) || beneath == Some(true);
        let list = random.percent(10);
        let has = |action: u32| without & (1 << action) == 0;
        Self {
            beneath: beneath.filter(|_| has(0)),
            apply: apply && has(1),
            again: again && has(2),
            replace: replace && has(3),
            nodeps: nodeps && has(4),
            list: list && has(5),
        }
    }
}

/// The bits of a mask of things to leave out: first the changes of a payload, then its parts, then the actions with it.
const PARTS: u32 = 5;
const ACTIONS: u32 = PARTS + 16;

pub struct Generator {
    pub seed: u64,
    pub of: Ingredients,
    /// The payload that is sometimes loaded beneath.
    pub beneath: PayloadBuilder,
}

impl Generator {
    pub fn new(seed: u64, of: Ingredients) -> Self {
        let function = FunctionPatch::returning("xen_compile_time", "beneath");
        let beneath = PayloadBuilder::named("beneath", &of.xen)
            .architecture(of.architecture)
            .for_release(of.release)
            .function(function);
        Self { seed, of, beneath }
    }

    /// Generates a payload, always the same for a number. The bits of `without` leave out changes, parts and actions.
    pub fn generate(&self, number: u64, without: u32) -> (Seed, Mutant, Plan) {
        let key = Random::new(self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)).next();
        let mut random = Random::new(key);
        let plan = Plan::new(&mut random, without >> ACTIONS);
        let changes = random.weighted(&[(40, 1), (25, 2), (15, 3), (10, 4), (10, 5)]);
        let depends: &BuildId = if plan.beneath == Some(true) { self.beneath.build_id() } else { &self.of.xen };
        let mut seed = Seed::new(&mut random, &self.of, depends, without >> PARTS);
        let mutant = mutation::mutate(&mut seed, key, changes, !without);
        (seed, mutant, plan)
    }

    /// The bits of what a payload has.
    pub fn bits(seed: &Seed, mutant: &Mutant) -> u32 {
        ((1 << mutant.planned) - 1) | seed.parts << PARTS | 0x3f << ACTIONS
    }
}
