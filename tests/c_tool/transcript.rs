//! What came of the commands, one line for each.

use std::fmt;
use std::str::FromStr;

use xen_livepatch::LivepatchClient;

use super::differences::Kind;
use super::script::{Script, Seen, Step};
use super::tool::Tool;

/// What a line begins with, so that it is told from what else is printed.
const MARK: &str = "step";

/// Escaped, since names and metadata may break lines.
#[derive(PartialEq, Eq)]
pub struct Line {
    exit: i32,
    arguments: String,
    extra: String,
    list: String,
}

pub struct Transcript(Vec<Line>);

impl Line {
    fn new(step: &Step, seen: &Seen) -> Self {
        let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
        Self {
            exit: seen.exit,
            arguments: shown(step),
            extra: escaped(seen.extra.as_bytes()),
            list: escaped(&seen.list),
        }
    }
}

fn shown(step: &Step) -> String {
    let words = step.arguments.iter().map(|word| format!("'{}'", word.as_encoded_bytes().escape_ascii()));
    words.collect::<Vec<_>>().join(" ")
}

impl Transcript {
    /// Has the tool carry out the commands.
    pub fn take(script: &Script, tool: &Tool, client: &LivepatchClient) -> Self {
        let line = |step: &Step| {
            let answer = tool.run_until_done(&step.arguments, step.expected(tool.kind).exit);
            let (list, extra) = (tool.list(), client.xen_version().unwrap().extra);
            if answer.exit != step.expected(tool.kind).exit {
                let told = [answer.stdout, answer.stderr].concat();
                println!("\n{}: exit status {}: {}", shown(step), answer.exit, String::from_utf8_lossy(&told));
            }
            Line::new(step, &Seen { exit: answer.exit, list, extra })
        };
        Self(script.steps.iter().map(line).collect())
    }

    /// What the tools are expected to leave.
    pub fn expected(script: &Script, kind: Kind) -> Self {
        Self(script.steps.iter().map(|step| Line::new(step, step.expected(kind))).collect())
    }

    /// Differences from what is expected of this tool.
    pub fn against_what_is_expected(&self, script: &Script, kind: Kind) -> Vec<String> {
        let expected = Self::expected(script, kind);
        let pairs = self.0.iter().zip(&expected.0).zip(0..);
        pairs.filter_map(|((line, expected), at)| line.difference(at, "expected was", expected)).collect()
    }

    /// Differences from what the C tool printed, but for those that are on purpose.
    pub fn against_the_c_tool(&self, c_tool: &Self, script: &Script, kind: Kind) -> Vec<String> {
        if c_tool.0.len() != self.0.len() {
            return vec![format!("{} commands, but {} were run by the C tool", self.0.len(), c_tool.0.len())];
        }
        // Where they are to differ the expectation has both sides, and this one was held against its own.
        let wanted = Self::expected(script, Kind::C);
        let lines = self.0.iter().zip(&c_tool.0).zip(&wanted.0).zip(&script.steps).zip(0..);
        let difference = |((((line, c_tool), wanted), step), at): ((((_, _), _), &Step), usize)| {
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
        write!(f, "{MARK}\t{}\t{}\t{}\t{}", self.exit, self.arguments, self.extra, self.list)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Transcript {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(MARK)?.strip_prefix('\t'));
        let parsed = lines.map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut next = || fields.next().ok_or_else(|| format!("a line lacks a field: {line}"));
            let exit = next()?.parse().map_err(|error| format!("{error}: {line}"))?;
            Ok(Line { exit, arguments: next()?, extra: next()?, list: next()? })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }
}
