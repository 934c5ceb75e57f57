//! The style of documentation: no sentence of a doc comment, a page, an error or a help text begins with a question word, so that
//! the first word of each names its subject or its action.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Lower-case elsewhere, so that a capital letter means the beginning of a sentence, a heading or a cell.
const QUESTION_WORDS: [&str; 7] = ["What", "Who", "Whose", "Where", "Whether", "How", "Why"];

#[test]
fn no_sentence_begins_with_a_question_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in ["src", "examples", "tests", "benches", "docs", "fuzz"] {
        collect(&root.join(entry), &mut files);
    }
    files.extend(["build.rs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        // `fuzz/` is not in the package.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        found.extend(questions_in_file(&name, &text).into_iter().map(|(line, text)| format!("{name}:{line}: {text}")));
    }
    assert!(found.is_empty(), "{} sentences begin with a question word:\n{}", found.len(), found.join("\n"));
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(OsStr::to_str);
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if matches!(extension, Some("rs" | "md" | "json")) {
            files.push(path);
        }
    }
}

/// The offending lines with their numbers. Pages are searched whole, because the output in a transcript is a text of the tool.
fn questions_in_file(name: &str, text: &str) -> Vec<(usize, String)> {
    if Path::new(name).extension().is_none_or(|extension| extension != "rs") {
        return questions(1, text);
    }
    // Other literals are data of a test.
    let shipped = name.starts_with("src/") || (name.starts_with("examples/") && !name.contains("/tests/"));
    let texts = texts(text).into_iter().filter(|text| text.is_public() || shipped);
    texts.flat_map(|text| questions(text.line, &without_examples(&text.contents))).collect()
}

/// The lines with a capitalised question word outside of code spans.
fn questions(first: usize, text: &str) -> Vec<(usize, String)> {
    let is_question = |line: &str| {
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        let mut words = prose.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| QUESTION_WORDS.contains(&word))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| is_question(line));
    lines.map(|(index, line)| (first + index, line.trim().to_owned())).collect()
}

/// The same lines, with those of code examples empty.
fn without_examples(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        if inside || fence { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line of a doc comment with those that follow it, or a string literal, in a source file.
struct Text {
    line: usize,
    contents: String,
    /// The source before a literal.
    before: Option<String>,
}

impl Text {
    /// Returns true for doc comments and attributes `error` and `doc`.
    fn is_public(&self) -> bool {
        let attribute = |before: &String| {
            let before: String = before.split_whitespace().collect();
            before.ends_with("#[error(") || before.ends_with("[doc=")
        };
        self.before.as_ref().is_none_or(attribute)
    }
}

/// All doc comments and string literals of a source file.
fn texts(source: &str) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < source.len() {
        let rest = &source[at..];
        let len = if rest.starts_with("//") {
            let comment = rest.lines().next().unwrap_or(rest);
            if let Some(doc) = comment.strip_prefix("///").or(comment.strip_prefix("//!")) {
                let follows =
                    |last: &&mut Text| last.before.is_none() && last.line + last.contents.lines().count() == line;
                match texts.last_mut().filter(follows) {
                    Some(last) => last.contents.extend([doc, "\n"]),
                    None => texts.push(Text { line, contents: format!("{doc}\n"), before: None }),
                }
            }
            comment.len()
        } else if let Some((len, contents)) = literal(rest) {
            let start = source[..at].char_indices().rev().nth(40).map_or(0, |(index, _)| index);
            texts.push(Text { line, contents: contents.into(), before: Some(source[start..at].into()) });
            len
        } else {
            other(rest)
        };
        line += rest[..len].matches('\n').count();
        at += len;
    }
    texts
}

/// The string literal at the beginning of `source`: its length, and its contents with their escapes.
fn literal(source: &str) -> Option<(usize, &str)> {
    let hashes = source.strip_prefix('r').map(|rest| rest.len() - rest.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|hashes| source[1 + hashes..].starts_with('"')) {
        let (begin, end) = (2 + hashes, format!("\"{}", "#".repeat(hashes)));
        let len = source[begin..].find(&end)?;
        return Some((begin + len + end.len(), &source[begin..begin + len]));
    }
    let contents = source.strip_prefix('"')?;
    let mut escaped = false;
    for (len, c) in contents.char_indices() {
        if c == '"' && !escaped {
            return Some((len + 2, &contents[..len]));
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// The length of the word or the character at the beginning of `source`, which may be a quotation mark as a literal.
fn other(source: &str) -> usize {
    let quote = ["'\"'", "'\\\"'"].into_iter().find(|quote| source.starts_with(quote));
    let word = source.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(source.len());
    let character = source.chars().next().map_or(1, char::len_utf8);
    quote.map_or(word.max(character), str::len)
}

/// The question words that are found in a file, by line.
fn found(name: &str, text: &str) -> Vec<usize> {
    questions_in_file(name, text).into_iter().map(|(line, _)| line).collect()
}

const NOTHING: [usize; 0] = [];

/// A text with slashes for `%`, so that its doc comments are not taken for those of this file.
fn docs(text: &str) -> String {
    text.replace('%', "//")
}

#[test]
fn doc_comments_are_searched() {
    assert_eq!(found("tests/a.rs", &docs("%! What it does.\n\n%/ A list.\n%/ Where it is.\nfn f() {}\n")), [1, 4]);
    assert_eq!(found("tests/a.rs", &docs("%/ A place, where it is. Whose? Whoever.\n% Why not.\nlet c = 'W';")), [1]);
    assert_eq!(found("src/a.rs", &docs("%/ [`Who`] and `What`.\n%/ ```\n%/ What\n%/ ```\n%/ Why.")), [5]);
}

#[test]
fn shipped_literals_are_searched() {
    let text = "let a = '\"'; let b = \"Who\";\nlet c = r#\"a \"Why\" \"#;\nlet d: &'a str = \"\\\"\\\n    What\";";
    assert_eq!(found("examples/a.rs", text), [1, 2, 4]);
    assert_eq!(found("tests/a.rs", text), NOTHING);
    assert_eq!(found("tests/a.rs", "#[error(\"Whether\")]\n#![doc = \"Why\"]"), [1, 2]);
    assert_eq!(found("src/a.rs", "let how = \"it depends on how\";"), NOTHING);
}

#[test]
fn pages_are_searched() {
    assert_eq!(
        found("a.md", "# What\n\n| Who | why |\n\n* Done. Whether so.\n\n```console\nWhy\n```\n`Why`"),
        [1, 3, 5, 8]
    );
}
