//! The hunter, which has payloads checked and tries those that pass.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::FunctionPatch;
use xen_livepatch::{Finding, Flags, Payload, Severity, Target};

use super::generator::{Generator, Plan};
use super::host::{self, Host};
use super::seed::{ENDBR64, Ingredients};
use super::totals::{Totals, count};
use super::trace::Trace;
use super::xen::{APPLIED, APPLY, CHECKED, REPLACE, REVERT, UNLOAD, Xen};

/// The directory in which the runner puts the output of a compiler for this Xen.
const FILES: &str = "/files";

const MUTANT: &[u8] = b"hunted\0";
const BENEATH: &[u8] = b"beneath\0";

/// The number of payloads after which the runner gets a report.
const REPORT: usize = 500;

pub struct Hunter {
    xen: Xen,
    generator: Generator,
    target: Target,
    /// The texts that dom0 reads of Xen when nothing is applied.
    shown: Vec<String>,
    trace: Trace,
    /// True if only payloads are tried that the check calls harmful.
    harmful: bool,
    pub totals: Totals,
}

/// The texts in dom0 that the patched functions return.
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

/// Returns true if Xen's functions begin with `endbr64`, by an expectation of it.
fn begins_with_endbr(host: &Host) -> bool {
    let expecting = FunctionPatch::returning(host::PATCHED, "").expecting(ENDBR64);
    let name = host.upload("begins", &host::bare(&host.client, "begins").function(expecting));
    let begins = host.client.apply(&name, Flags::empty()).is_ok();
    if begins {
        host.revert(&name);
    }
    host.unload(&name);
    begins
}

fn ingredients(host: &Host, target: &Target) -> Ingredients {
    let made = Path::new(FILES).join(if host.since(14) { "gcc-v2" } else { "gcc-v1" });
    let files = fs::read_dir(made).into_iter().flatten().map(|entry| entry.unwrap().path());
    let read =
        |path: std::path::PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap());
    let mut made: Vec<_> = files.map(read).collect();
    made.sort();
    // From 4.17.6 and 4.20.1 on.
    let turned = target.release() >= (4, 17);
    let architecture = Architecture::of_this_program();
    let endbr = architecture == Architecture::X86_64 && begins_with_endbr(host);
    Ingredients { architecture, xen: host.xen.clone(), release: host.release(), endbr, turned, made }
}

/// The problem of a finding, without its place.
fn kind(finding: &Finding) -> String {
    let text = format!("{:?}", finding.problem);
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    let details = text.split_once("problem: ").map(|(_, details)| word(details));
    details.map_or_else(|| word(&text), |details| format!("{}/{details}", word(&text)))
}

/// The result of the check of a payload.
#[derive(Default)]
struct Verdict {
    /// The findings that keep it from Xen.
    harmful: BTreeSet<String>,
    /// The findings for which Xen refuses it.
    refused: BTreeSet<String>,
    /// The error number of the upload, and the finding that Xen meets first.
    answer: Option<(i32, String)>,
}

/// Xen's answer to a payload.
#[derive(Clone, Copy, Default)]
struct Outcome {
    /// The answer to the upload.
    upload: i32,
    applied: bool,
}

impl Hunter {
    pub fn new(host: &Host, seed: u64) -> Self {
        let client = host::connect().unwrap();
        let target = Target::from(&client.xen_version().unwrap()).build_id(host.xen.clone());
        let target = target.architecture(Architecture::of_this_program());
        let generator = Generator::new(seed, ingredients(host, &target));
        let trace = Trace::new(env::var_os("XEN_LIVEPATCH_HUNT_TRACE").is_some());
        let harmful = env::var_os("XEN_LIVEPATCH_HUNT_HARMFUL").is_some();
        Self { xen: Xen::new(client), generator, target, shown: shown(), trace, harmful, totals: Totals::default() }
    }

    fn judge(&self, file: &[u8]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut file = file.to_vec();
        if let Some(order) = file.get_mut(5).filter(|_| self.generator.of.architecture == Architecture::AArch64) {
            // The byte order, which Xen does not read there.
            *order = 1;
        }
        let Ok(payload) = Payload::parse(&file) else {
            verdict.refused.insert("not ELF".to_owned());
            return verdict;
        };
        for finding in payload.check_against(&self.target) {
            let refused = finding.severity == Severity::Refused;
            let kinds = if refused { &mut verdict.refused } else { &mut verdict.harmful };
            kinds.insert(kind(&finding));
            if finding.keeps_from_loading() && verdict.answer.is_none() {
                verdict.answer = finding.errno.map(|errno| (-errno.number(), kind(&finding)));
            }
        }
        verdict
    }

    pub fn try_one(&mut self, number: u64) {
        let (_, mutant, plan) = self.generator.generate(number, 0);
        self.totals.generated += 1;
        if !self.totals.is_new(&mutant.file) {
            return;
        }
        let Verdict { harmful, refused, answer } = self.judge(&mutant.file);
        let kinds = harmful.into_iter().collect::<Vec<_>>().join(" ");
        if self.harmful == kinds.is_empty() {
            count(&mut self.totals.skipped, kinds);
            return;
        }
        self.trace.write(&format!("{number} {kinds}{}", if self.harmful { ": " } else { "" }));
        let outcome = self.run(&mutant.file, plan, &refused);
        let code = outcome.upload;
        self.record_wrong_refusal(number, outcome, &refused, answer.is_some());
        if let Some((answer, why)) = answer.filter(|(answer, _)| *answer != code) {
            self.totals.misjudged.entry((answer, code, why)).or_insert((0, number)).0 += 1;
        }
        if self.totals.sent() % REPORT == 0 {
            let totals = &self.totals;
            self.trace.write(&format!("so far {} {}\n", totals.sent(), totals.reverted));
        }
    }

    /// Ends the line about a payload, and records if Xen took it although the check expects a refusal.
    fn record_wrong_refusal(&mut self, number: u64, outcome: Outcome, refused: &BTreeSet<String>, at_upload: bool) {
        self.trace.write("\n");
        self.totals.refused += usize::from(!refused.is_empty());
        if !refused.is_empty() && (outcome.applied || at_upload && outcome.upload == 0) {
            let why = refused.iter().cloned().collect::<Vec<_>>().join(" ");
            self.trace.write(&format!("refused wrongly: {number} {why}\n"));
            self.totals.refused_wrongly.push((number, why));
        }
    }

    /// Writes a description of a payload, and tries it unless the check forbids that.
    pub fn show(&mut self, number: u64, without: u32) {
        let (seed, mutant, plan) = self.generator.generate(number, without);
        let bits = Generator::bits(&seed, &mutant);
        let mut text = format!("seed: {}; runs: {}\nbits: {bits}\n", seed.text, seed.runs);
        for change in &mutant.changes {
            writeln!(text, "change: {change}").unwrap();
        }
        text += "file: ";
        for byte in &mutant.file {
            write!(text, "{byte:02x}").unwrap();
        }
        self.trace.write(&text);
        self.show_file(number, &mutant.file, plan);
    }

    fn show_file(&mut self, number: u64, file: &[u8], plan: Plan) {
        let Verdict { harmful, refused, answer } = self.judge(file);
        self.trace.write(&format!(
            "\nplan: {plan:?}\nharmful: {harmful:?}\nrefused: {refused:?}\nanswer: {answer:?}\n{number} "
        ));
        if harmful.is_empty() || self.harmful {
            let outcome = self.run(file, plan, &refused);
            self.record_wrong_refusal(number, outcome, &refused, answer.is_some());
        } else {
            self.trace.write("\n");
        }
    }

    /// Tries one of the runner's files with every action.
    pub fn try_file(&mut self, name: &str) {
        let file = fs::read(Path::new(FILES).join(name)).unwrap();
        self.trace.write(&format!("file {name}"));
        self.show_file(0, &file, Plan::ALL);
    }

    /// Does an action, after it has written it to the trace.
    fn step(&self, what: &str, name: &[u8], command: u32, nodeps: bool) -> i32 {
        self.trace.write(what);
        let code = self.xen.act(name, command, nodeps);
        if code != 0 {
            self.trace.write(&code.to_string());
        }
        code
    }

    /// Tries a payload.
    fn run(&mut self, file: &[u8], plan: Plan, refused: &BTreeSet<String>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(applied) = plan.beneath {
            assert_eq!(self.xen.upload(BENEATH, &self.generator.beneath.build()), 0);
            if applied {
                assert_eq!(self.step("B", BENEATH, APPLY, false), 0);
            }
        }
        self.trace.write("u");
        let code = self.xen.upload(MUTANT, file);
        count(&mut self.totals.uploaded, code);
        outcome.upload = code;
        if code == 0 {
            outcome.applied = self.loaded(plan);
        } else {
            self.trace.write(&code.to_string());
            if refused.is_empty() {
                count(&mut self.totals.unforeseen, code);
            }
        }
        if let Some(applied) = plan.beneath {
            // A replace has reverted it.
            if applied && self.xen.status(BENEATH).unwrap().0 == APPLIED {
                assert_eq!(self.step("R", BENEATH, REVERT, false), 0);
            }
            assert_eq!(self.step("X", BENEATH, UNLOAD, false), 0);
        }
        outcome
    }

    /// Tries a loaded payload. Returns true if Xen applied it.
    fn loaded(&mut self, plan: Plan) -> bool {
        if plan.list {
            self.trace.write("l");
            assert_eq!(self.xen.client.list().unwrap().len(), 1 + usize::from(plan.beneath.is_some()));
        }
        let applied = plan.apply && self.apply(plan);
        assert_eq!(self.step("x", MUTANT, UNLOAD, false), 0, "stuck: it can't be unloaded");
        applied
    }

    fn apply(&mut self, plan: Plan) -> bool {
        let (what, command) = if plan.replace { ("p", REPLACE) } else { ("a", APPLY) };
        for round in 0..=u8::from(plan.again) {
            let code = self.step(what, MUTANT, command, plan.nodeps);
            if round == 0 {
                count(&mut self.totals.applied, code);
            }
            let (state, result) = self.xen.status(MUTANT).unwrap();
            if state != APPLIED {
                assert!(code != 0, "stuck: the apply succeeded, but the state is {state}, {result}");
                return round > 0;
            }
            let code = self.step("r", MUTANT, REVERT, false);
            let state = self.xen.status(MUTANT).unwrap().0;
            assert_eq!((code, state), (0, CHECKED), "stuck: it can't be reverted");
            self.totals.reverted += usize::from(round == 0);
            self.trace.write("s");
            // The payload beneath shows, unless a replace has reverted it.
            if plan.beneath != Some(true) {
                assert_eq!(shown(), self.shown, "Xen is not what it was before");
            }
        }
        true
    }

    /// Asserts that Xen is as it was at the beginning.
    pub fn end(&self) {
        assert_eq!(self.xen.client.list().unwrap(), [], "something is loaded still");
        assert_eq!(shown(), self.shown, "Xen is not what it was before");
        assert_eq!(self.xen.client.build_id().unwrap(), self.generator.of.xen);
        self.trace.write(&format!("survived {} {}\n", self.totals.sent(), self.totals.reverted));
    }
}
