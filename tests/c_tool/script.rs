//! The commands, with the expected state after each of them for both tools.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{self, Write as _};

use xen_livepatch::sim::SimulatedXen;
use xen_livepatch::{BuildId, LivepatchClient, PayloadName, Release};

use super::differences::{Fault, Kind};
use super::files::Files;
use super::generator::{Generator, of_bytes};
use super::model::Model;
use super::tool::Tool;

/// The properties of a Xen that the commands depend on.
#[derive(Clone, Debug)]
pub struct XenUnderTest {
    pub release: Release,
    pub xen: BuildId,
    pub extra: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub exit: i32,
    pub list: Vec<u8>,
    pub extra: String,
}

pub struct ScriptStep {
    pub arguments: Vec<OsString>,
    /// For the C tool, and for ours.
    expected: [Observation; 2],
    pub faults: BTreeSet<Fault>,
    /// True if the two hosts are in different states after it.
    pub apart: bool,
}

pub struct Script {
    pub seed: u64,
    pub files: Files,
    pub steps: Vec<ScriptStep>,
    /// The payloads on each host that have been applied since they were uploaded: reverted, some can't be applied again.
    used: [BTreeSet<PayloadName>; 2],
}

impl XenUnderTest {
    fn of(client: &LivepatchClient) -> Self {
        let version = client.xen_version().unwrap();
        let release = Release::from_version(version.major, version.minor).unwrap();
        Self { release, xen: client.build_id().unwrap(), extra: version.extra }
    }

    /// A simulated Xen that equals the real one for the payloads here.
    fn simulated(&self) -> SimulatedXen {
        let builder = SimulatedXen::builder(self.release).build_id(Some(self.xen.clone())).extra_version(&self.extra);
        builder.symbol(super::files::UNCALLED, [0x90; 32]).build()
    }
}

impl Script {
    pub fn new(seed: u64, least: usize, client: &LivepatchClient) -> Self {
        Self::on(&XenUnderTest::of(client), seed, least)
    }

    pub fn on(ground: &XenUnderTest, seed: u64, least: usize) -> Self {
        let files = Files::new(&ground.xen);
        let models = [Kind::C, Kind::Ours].map(|kind| Model::new(kind, ground.simulated()));
        let mut generator = Generator::new(seed);
        let mut script = Self { seed, files, steps: Vec::new(), used: Default::default() };
        let lines = include_str!("sequence.txt").lines();
        let fixed = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        for (exit, command) in fixed.map(|line| line.split_once(' ').unwrap()) {
            script.add(&models, command.split(' ').map(OsString::from).collect());
            let exits = script.steps.last().map(|step| step.expected.each_ref().map(|outcome| outcome.exit));
            assert_eq!(exits, Some([exit.parse().unwrap(); 2]), "{command}");
        }
        let fixed = script.steps.len();
        while script.steps.len() < fixed + least {
            for arguments in generator.next(&models[0]) {
                script.add(&models, arguments);
            }
            script.bring_together(&models);
        }
        for arguments in Generator::last() {
            script.add(&models, arguments);
        }
        script
    }

    fn add(&mut self, models: &[Model; 2], arguments: Vec<OsString>) {
        let mut faults = BTreeSet::new();
        let expected = models.each_ref().map(|model| {
            let expected = model.run(&arguments, &self.files);
            faults.extend(expected.faults);
            assert_eq!(model.xen.crashed(), None, "{arguments:?}");
            Observation { exit: expected.exit, list: model.list(&mut faults), extra: model.extra() }
        });
        for (used, model) in self.used.iter_mut().zip(models) {
            let loaded = model.xen.loaded();
            used.extend(model.xen.applied());
            used.retain(|name| loaded.contains(name));
        }
        let apart = models[0].rows() != models[1].rows()
            || models[0].xen.applied() != models[1].xen.applied()
            || self.used[0] != self.used[1];
        let were_apart = self.steps.last().is_some_and(|step| step.apart);
        let same = expected[0] == expected[1];
        assert!(same || were_apart || !faults.is_empty(), "nothing explains the difference: {arguments:?}");
        self.steps.push(ScriptStep { arguments, expected, faults, apart });
    }

    /// Removes payloads that only one host has until both are in the same state.
    fn bring_together(&mut self, models: &[Model; 2]) {
        for _ in 0..100 {
            if !self.steps.last().is_some_and(|step| step.apart) {
                return;
            }
            let applied = models.each_ref().map(|model| model.xen.applied());
            let (command, name) = if applied[0] == applied[1] {
                let [one, other] = models.each_ref().map(|model| model.xen.loaded());
                let used = |name: &PayloadName| self.used.each_ref().map(|used| used.contains(name));
                let is_alone = |name: &&PayloadName| {
                    let [used, used_there] = used(name);
                    one.contains(name) != other.contains(name) || used != used_there
                };
                let checked = one.iter().chain(&other).filter(|name| !applied[0].contains(name));
                ("unload", checked.clone().find(is_alone).or_else(|| checked.clone().next()).cloned())
            } else {
                ("revert", applied.iter().find_map(|stack| stack.last()).cloned())
            };
            let name = name.expect("the hosts differ");
            self.add(models, vec![command.into(), of_bytes(name.as_bytes())]);
        }
        panic!("the hosts can't be brought into the same state: {:?}", models.each_ref().map(Model::rows));
    }

    /// Runs the commands, and describes each outcome that is not as predicted for the tool.
    pub fn differences(&self, tool: &Tool, client: &LivepatchClient) -> Vec<String> {
        let mut differences = Vec::new();
        for (step, at) in self.steps.iter().zip(0..) {
            let expected = step.expected(tool.kind);
            let outcome = tool.run_until_done(&step.arguments, expected.exit);
            let (list, extra) = (tool.list(), client.xen_version().unwrap().extra);
            let seen = Observation { exit: outcome.exit, list, extra };
            println!("step {at}: {:?}: exit status {}", step.arguments, seen.exit);
            if seen != *expected {
                let printed = [outcome.stdout, outcome.stderr].concat();
                println!("{}", String::from_utf8_lossy(&printed));
                differences.push(format!("#{at}: {:?}: {seen}\n  expected: {expected}", step.arguments));
            }
        }
        differences
    }

    /// The number of times that each intended difference and each exit status occurred.
    pub fn census(&self) -> String {
        let mut statuses: BTreeMap<i32, usize> = BTreeMap::new();
        let mut met: BTreeMap<Fault, usize> = BTreeMap::new();
        for step in &self.steps {
            *statuses.entry(step.expected(Kind::C).exit).or_default() += 1;
            if step.differs() {
                step.faults.iter().for_each(|fault| *met.entry(*fault).or_default() += 1);
            }
        }
        let mut text = format!("{} commands of seed {}; exit statuses of the C tool:", self.steps.len(), self.seed);
        for (status, count) in statuses {
            write!(text, " {status} ({count})").unwrap();
        }
        for (fault, count) in met {
            write!(text, "\nintended difference, met {count} times: {}", fault.name()).unwrap();
        }
        text
    }
}

impl fmt::Display for Observation {
    /// Escaped, since names and metadata may be any bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}, version {:?}, list \"{}\"", self.exit, self.extra, self.list.escape_ascii())
    }
}

impl ScriptStep {
    pub fn expected(&self, of: Kind) -> &Observation {
        if of == Kind::C { &self.expected[0] } else { &self.expected[1] }
    }

    /// Returns true if the tools are expected to differ.
    pub fn differs(&self) -> bool {
        self.expected[0] != self.expected[1]
    }
}
