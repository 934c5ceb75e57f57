//! The text of stories: lines, the lines below them, releases and cases.

use std::iter::Peekable;
use std::time::Duration;

use xen_livepatch::{Errno, Release};

/// `[RELEASES] TEXT: OPTION, OPTION -> RESULT`, and the lines that are indented below it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) whole: String,
    pub(super) releases: Option<String>,
    pub(super) text: String,
    pub(super) options: Vec<String>,
    pub(super) result: Option<String>,
    pub(super) below: Vec<Line>,
}

/// The values of some variables.
pub(super) type Case = Vec<(String, String)>;

impl Line {
    pub(super) fn new(number: usize, whole: &str) -> Self {
        let (releases, line) = match whole.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            Some((releases, line)) => (Some(releases.to_owned()), line),
            None => (None, whole),
        };
        let (line, result) = line.split_once(" -> ").map_or((line, None), |(line, result)| (line, Some(result.into())));
        let (text, options) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let options = options.split_terminator(", ").map(Into::into).collect();
        Self { number, whole: whole.into(), releases, text: text.into(), options, result, below: Vec::new() }
    }

    pub(super) fn words(&self) -> Vec<&str> {
        self.text.split(' ').collect()
    }

    pub(super) fn is_for(&self, release: Release) -> bool {
        self.releases.as_deref().is_none_or(|range| contains(range, release))
    }

    /// With the values of variables in the places of their names.
    pub(super) fn with(&self, case: &Case) -> Self {
        let filled = case.iter().fold(self.whole.clone(), |text, (name, value)| text.replace(name, value));
        let below = self.below.iter().map(|line| line.with(case)).collect();
        let line = Self::new(self.number, &filled);
        Self { result: line.result.filter(|result| result != "ok"), below, ..line }
    }

    /// The lines below, or the options as lines.
    pub(super) fn script(&self) -> Vec<Self> {
        let inline = self.options.iter().map(|option| Self::new(self.number, option));
        inline.chain(self.below.iter().cloned()).collect()
    }
}

/// The lines before the first story, and all stories with their titles.
pub(super) fn stories(file: &str) -> (Vec<Line>, Vec<(String, Vec<Line>)>) {
    let lines = file.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    let mut all = vec![(String::new(), Vec::new())];
    for (line, number) in lines {
        match (line.strip_prefix("= "), all.last_mut()) {
            (Some(title), _) => all.push((title.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push((number, line)),
            (None, None) => {}
        }
    }
    let mut all = all.into_iter().map(|(title, lines)| (title, parse(&mut lines.into_iter().peekable(), 0)));
    let (_, common) = all.next().expect("the lines before the first title");
    (common, all.collect())
}

fn parse<'t>(lines: &mut Peekable<impl Iterator<Item = (usize, &'t str)>>, indent: usize) -> Vec<Line> {
    let mut all: Vec<Line> = Vec::new();
    while let Some((number, line)) = lines.peek().copied() {
        let own = line.len() - line.trim_start().len();
        if own < indent {
            break;
        }
        if own > indent {
            all.last_mut().expect("a line above").below = parse(lines, own);
        } else {
            all.push(Line::new(number, line.trim()));
            lines.next();
        }
    }
    all
}

/// Removes the lines that begin with this word, and returns their rest.
pub(super) fn take_all(lines: &mut Vec<Line>, word: &str) -> Vec<Line> {
    let is_it = |line: &Line| line.text == word || line.text.starts_with(&format!("{word} "));
    let (taken, left): (Vec<Line>, Vec<Line>) = lines.drain(..).partition(is_it);
    *lines = left;
    let rest = |line: Line| Line { text: line.text[word.len()..].trim().into(), ..line };
    taken.into_iter().map(rest).collect()
}

pub(super) fn take(lines: &mut Vec<Line>, word: &str) -> Option<Line> {
    take_all(lines, word).pop()
}

/// The cases of `each $A; $B`: one in each line below, with the values in the same order.
pub(super) fn cases(line: &Line) -> Vec<Case> {
    let names = || line.text.split("; ").map(str::to_owned);
    let inline = line.options.join(", ");
    let inline = inline.split_terminator(" | ").map(str::to_owned);
    let below = line.below.iter().map(|case| case.whole.clone());
    let case = |case: String| names().zip(case.split("; ").map(str::to_owned)).collect::<Case>();
    let cases: Vec<Case> = inline.chain(below).map(case).collect();
    assert!(cases.iter().all(|case| case.len() == names().count()), "line {}", line.number);
    cases
}

/// The releases of a series that some words name: the last point release for a range, or the one that is named.
pub(super) fn chosen(last: Release, words: &str) -> Vec<Release> {
    let named = |word: &str| {
        let release: Option<Release> = if word.contains("..") { Some(last) } else { word.parse().ok() };
        release.filter(|release| release.minor() == last.minor() && (!word.contains("..") || contains(word, last)))
    };
    words.split(' ').filter_map(named).collect()
}

/// Returns true if a range such as `4.8..4.13`, ends included, contains a release.
fn contains(range: &str, release: Release) -> bool {
    let (first, last) = range.split_once("..").unwrap_or((range, range));
    let series = |text: &str, open: u16| if text.is_empty() { open } else { text.parse::<Release>().unwrap().minor() };
    (series(first, 0)..=series(last, u16::MAX)).contains(&release.minor())
}

/// A time such as `40 ms`.
pub(super) fn time(text: &str) -> Duration {
    let (number, unit) = text.split_once(' ').expect("a number and a unit");
    let number = number.parse().unwrap();
    match unit {
        "ns" => Duration::from_nanos(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => panic!("{unit} is no unit of time"),
    }
}

/// The name of an error number, or itself.
pub(super) fn number(errno: Errno) -> String {
    errno.name().map_or_else(|| errno.number().to_string(), str::to_owned)
}

/// An error number by its name, or itself.
pub(super) fn errno(text: &str) -> Errno {
    let named = (1..200).map(Errno::new).find(|errno| errno.name() == Some(text));
    named.unwrap_or_else(|| Errno::new(text.parse().unwrap()))
}
