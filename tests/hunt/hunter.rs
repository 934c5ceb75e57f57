//! Makes payloads, has them checked, and tries them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::{Function, PayloadBuilder};
use xen_livepatch::{BuildId, Flags, Payload, Severity, Target};

use super::census::{Census, count};
use super::host::{self, Host};
use super::mutation::{self, Mutant};
use super::random::Random;
use super::seed::{ENDBR64, Ingredients, Seed};
use super::trace::Trace;
use super::xen::{APPLIED, APPLY, CHECKED, REPLACE, REVERT, UNLOAD, Xen};

/// Where the runner puts what a compiler made for this Xen.
const FILES: &str = "/files";

const NODEPS: u32 = 1;
const MUTANT: &[u8] = b"hunted\0";
const BENEATH: &[u8] = b"beneath\0";

/// How many payloads are tried before the runner is told of all that came so far.
const REPORT: usize = 500;

pub struct Hunter {
    xen: Xen,
    seed: u64,
    target: Target,
    of: Ingredients,
    /// What the mutant is sometimes put on top of.
    beneath: PayloadBuilder,
    /// What dom0 reads of Xen when nothing is applied.
    shown: Vec<String>,
    trace: Trace,
    pub census: Census,
}

/// What is to be done with a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Another is loaded beneath; and applied.
    beneath: Option<bool>,
    apply: bool,
    again: bool,
    replace: bool,
    flags: u32,
}

impl Plan {
    /// Without the actions whose bits are set in `without`.
    fn new(random: &mut Random, without: u32) -> Self {
        let beneath = random.weighted(&[(85, None), (5, Some(false)), (10, Some(true))]);
        let (apply, again, replace) = (random.percent(30), random.percent(15), random.percent(6));
        // What is on top of another depends on Xen all the same.
        let nodeps = random.percent(50) || beneath == Some(true);
        let has = |action: u32| without & (1 << action) == 0;
        Self {
            beneath: beneath.filter(|_| has(0)),
            apply: apply && has(1),
            again: again && has(2),
            replace: replace && has(3),
            flags: if nodeps && has(4) { NODEPS } else { 0 },
        }
    }
}

/// What dom0 can read of what the functions return that payloads patch.
fn shown() -> Vec<String> {
    let files = [
        "version/extra",
        "properties/changeset",
        "compilation/compile_date",
        "compilation/compiled_by",
        "compilation/compiler",
    ];
    files.iter().map(|file| fs::read_to_string(format!("/sys/hypervisor/{file}")).unwrap()).collect()
}

/// Whether Xen's functions begin with ENDBR64: what they are expected to begin with tells.
fn begins_with_endbr(host: &Host) -> bool {
    let expecting = Function::returning(host::PATCHED, "").expecting(ENDBR64);
    let name = host.upload("begins", &PayloadBuilder::named("begins", &host.xen).function(expecting));
    let begins = host.client.apply(&name, Flags::empty()).is_ok();
    if begins {
        host.revert(&name);
    }
    host.unload(&name);
    begins
}

impl Hunter {
    pub fn new(host: &Host, seed: u64) -> Self {
        let client = host::connect().unwrap();
        let target = Target::from(&client.xen_version().unwrap()).build_id(host.xen.clone());
        let target = target.architecture(Architecture::X86_64);
        let files = fs::read_dir(FILES).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut made: Vec<_> = files
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
            .collect();
        made.sort();
        let beneath =
            PayloadBuilder::named("beneath", &host.xen).function(Function::returning("xen_compile_time", "b"));
        let endbr = begins_with_endbr(host);
        // From 4.17.6 and 4.20.1 on.
        let turned = target.release() >= (4, 17);
        let of = Ingredients { xen: host.xen.clone(), endbr, turned, made };
        let trace = Trace::new(env::var_os("XEN_LIVEPATCH_HUNT_TRACE").is_some());
        Self { xen: Xen::new(client), seed, target, of, beneath, shown: shown(), trace, census: Census::default() }
    }

    fn make(&self, index: u64, [keep, parts, actions]: [u32; 3]) -> (Seed, Mutant, Plan) {
        let key = Random::new(self.seed ^ index.wrapping_mul(0xd134_2543_de82_ef95)).next();
        let mut random = Random::new(key);
        let plan = Plan::new(&mut random, actions);
        let depends = if plan.beneath == Some(true) { self.beneath.build_id() } else { &self.of.xen };
        let changes = random.weighted(&[(40, 1), (25, 2), (15, 3), (10, 4), (10, 5)]);
        let mut seed = Seed::new(&mut random, &self.of, depends, parts);
        let mutant = mutation::mutate(&mut seed, key, changes, keep);
        (seed, mutant, plan)
    }

    /// Why the check does not let a payload through, if it doesn't; and what it says that Xen refuses.
    fn judge(&self, file: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
        let Ok(payload) = Payload::parse(file) else { return (BTreeSet::new(), ["not ELF".to_owned()].into()) };
        let (mut harmful, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for finding in payload.check_against(&self.target) {
            let kinds = if finding.severity() == Severity::Refused { &mut refused } else { &mut harmful };
            let text = format!("{finding:?}");
            kinds.insert(text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
        }
        (harmful, refused)
    }

    pub fn try_one(&mut self, index: u64) {
        let (_, mutant, plan) = self.make(index, [u32::MAX, 0, 0]);
        self.census.generated += 1;
        if !self.census.is_new(&mutant.file) {
            return;
        }
        let (harmful, refused) = self.judge(&mutant.file);
        if !harmful.is_empty() {
            let kinds: Vec<_> = harmful.into_iter().collect();
            count(&mut self.census.skipped, kinds.join(" "));
            return;
        }
        self.trace.tell(&format!("{index} "));
        self.run(&mutant.file, plan, &refused);
        self.trace.tell("\n");
        if self.census.sent() % REPORT == 0 {
            let census = &self.census;
            self.trace.tell(&format!("so far {} {}\n", census.sent(), census.reverted));
        }
    }

    /// Tells all about a payload, and tries it: with these changes, without these parts and actions.
    pub fn show(&mut self, index: u64, masks: [u32; 3]) {
        let (seed, mutant, plan) = self.make(index, masks);
        let mut text = format!("seed: {}; runs: {}\nparts: {}\n", seed.text, seed.runs, seed.parts);
        for change in &mutant.changes {
            writeln!(text, "change: {change}").unwrap();
        }
        let (harmful, refused) = self.judge(&mutant.file);
        writeln!(text, "plan: {plan:?}\nharmful: {harmful:?}\nrefused: {refused:?}").unwrap();
        writeln!(text, "file: {}", mutant.file.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
            .unwrap();
        self.trace.tell(&text);
        self.trace.tell(&format!("{index} "));
        if harmful.is_empty() || env::var_os("XEN_LIVEPATCH_HUNT_HARMFUL").is_some() {
            self.run(&mutant.file, plan, &refused);
        }
        self.trace.tell("\n");
    }

    /// Tells what is being done, and does it.
    fn step(&self, what: &str, name: &[u8], command: u32, flags: u32) -> i32 {
        self.trace.tell(what);
        let code = self.xen.act(name, command, flags);
        if code != 0 {
            self.trace.tell(&code.to_string());
        }
        code
    }

    fn run(&mut self, file: &[u8], plan: Plan, refused: &BTreeSet<String>) {
        if let Some(applied) = plan.beneath {
            assert_eq!(self.xen.upload(BENEATH, &self.beneath.build()), 0);
            if applied {
                assert_eq!(self.step("B", BENEATH, APPLY, 0), 0);
            }
        }
        self.trace.tell("u");
        let code = self.xen.upload(MUTANT, file);
        count(&mut self.census.uploaded, code);
        if code == 0 {
            for kind in refused {
                count(&mut self.census.taken, kind.clone());
            }
            if plan.apply {
                self.apply(plan);
            }
            assert_eq!(self.step("x", MUTANT, UNLOAD, 0), 0, "stuck: it can't be unloaded");
        } else {
            self.trace.tell(&code.to_string());
        }
        if let Some(applied) = plan.beneath {
            if applied && self.xen.status(BENEATH).unwrap().0 == APPLIED {
                assert_eq!(self.step("R", BENEATH, REVERT, 0), 0);
            }
            assert_eq!(self.step("X", BENEATH, UNLOAD, 0), 0);
        }
    }

    fn apply(&mut self, plan: Plan) {
        let (what, command) = if plan.replace { ("p", REPLACE) } else { ("a", APPLY) };
        for round in 0..=u8::from(plan.again) {
            let code = self.step(what, MUTANT, command, plan.flags);
            if round == 0 {
                count(&mut self.census.applied, code);
            }
            let (state, result) = self.xen.status(MUTANT).unwrap();
            if state != APPLIED {
                assert!(code != 0, "stuck: the apply succeeded, but the state is {state}, {result}");
                return;
            }
            let code = self.step("r", MUTANT, REVERT, 0);
            let state = self.xen.status(MUTANT).unwrap().0;
            assert_eq!((code, state), (0, CHECKED), "stuck: it can't be reverted");
            self.census.reverted += usize::from(round == 0);
            self.trace.tell("s");
            assert_eq!(shown(), self.shown, "Xen is not what it was before");
        }
    }

    /// Xen is as it was at the beginning.
    pub fn end(&self) {
        assert_eq!(self.xen.client.list().unwrap(), [], "something is loaded still");
        assert_eq!(shown(), self.shown, "Xen is not what it was before");
        let build_id: BuildId = self.xen.client.build_id().unwrap();
        assert_eq!(build_id, self.of.xen);
        self.trace.tell(&format!("survived {} {}\n", self.census.sent(), self.census.reverted));
    }
}
