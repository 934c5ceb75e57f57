//! The outcome of each command, as one line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xen_livepatch::LivepatchClient;

use super::differences::Kind;
use super::script::{Observation, Script, ScriptStep};
use super::tool::Tool;

/// The first word of each line, which distinguishes it from other output.
const MARK: &str = "step";

/// A line. Its texts are escaped, since names and metadata may be any bytes.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    exit: i32,
    arguments: String,
    extra: String,
    list: String,
}

pub struct Transcript(Vec<Line>);

impl Line {
    fn new(step: &ScriptStep, seen: &Observation) -> Self {
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        Self {
            exit: seen.exit,
            arguments: shown(step),
            extra: escaped(seen.extra.as_bytes()),
            list: escaped(&seen.list),
        }
    }
}

fn shown(step: &ScriptStep) -> String {
    let words = step.arguments.iter().map(|word| format!("'{}'", word.as_encoded_bytes().escape_ascii()));
    words.collect::<Vec<_>>().join(" ")
}

impl Transcript {
    pub fn take(script: &Script, tool: &Tool, client: &LivepatchClient) -> Self {
        let line = |step: &ScriptStep| {
            let outcome = tool.run_until_done(&step.arguments, step.expected(tool.kind).exit);
            let (list, extra) = (tool.list(), client.xen_version().unwrap().extra);
            if outcome.exit != step.expected(tool.kind).exit {
                let printed = [outcome.stdout, outcome.stderr].concat();
                println!("\n{}: exit status {}: {}", shown(step), outcome.exit, String::from_utf8_lossy(&printed));
            }
            Line::new(step, &Observation { exit: outcome.exit, list, extra })
        };
        Self(script.steps.iter().map(line).collect())
    }

    pub fn expected(script: &Script, kind: Kind) -> Self {
        Self(script.steps.iter().map(|step| Line::new(step, step.expected(kind))).collect())
    }

    pub fn differences_from_expected(&self, script: &Script, kind: Kind) -> Vec<String> {
        let expected = Self::expected(script, kind);
        let pairs = self.0.iter().zip(&expected.0).zip(0..);
        pairs.filter_map(|((line, expected), at)| line.difference(at, "expected", expected)).collect()
    }

    /// The unintended differences from the transcript of the C tool.
    pub fn differences_from_c_tool(&self, c_tool: &Self, script: &Script, kind: Kind) -> Vec<String> {
        if c_tool.0.len() != self.0.len() {
            return vec![format!("{} commands, but {} were run by the C tool", self.0.len(), c_tool.0.len())];
        }
        // For an intended difference, the expectation of the C tool is compared in place of ours, which is checked separately.
        let wanted = Self::expected(script, Kind::C);
        let lines = self.0.iter().zip(&c_tool.0).zip(&wanted.0).zip(&script.steps).zip(0..);
        let difference = |((((line, c_tool), wanted), step), at): ((((_, _), _), &ScriptStep), usize)| {
            let line: &Line = if kind == Kind::Ours && step.differs() { wanted } else { line };
            line.difference(at, "the C tool has", c_tool)
        };
        lines.filter_map(difference).collect()
    }
}

impl Line {
    fn difference(&self, at: usize, what: &str, other: &Self) -> Option<String> {
        (self != other).then(|| format!("#{at}: {self}\n  {what}: {other}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} {}", serde_json::to_string(self).unwrap())
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Transcript {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(MARK)?.strip_prefix(' '));
        lines.map(serde_json::from_str).collect::<Result<_, _>>().map(Self)
    }
}
