//! The style of documentation: no sentence of a doc comment, a page, an error or a help text begins with a question word, so that
//! the first word of each names its subject or its action.
#![cfg(test)]

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
        } else if matches!(extension, Some("rs" | "md" | "json" | "roff")) {
            files.push(path);
        }
    }
}

/// The offending lines with their numbers. Of the tests' sources only doc comments and attributes are searched, as their literals
/// are data; of what is shipped everything but comments, since a capitalised question word can only be in a literal. Pages are
/// searched whole, because the output in a transcript is a text of the tool.
fn questions_in_file(name: &str, text: &str) -> Vec<(usize, String)> {
    let source = Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let shipped = name.starts_with("src/") || (name.starts_with("examples/") && !name.contains("/tests/"));
    let mut in_example = false;
    let mut is_question = |line: &str| {
        let line = line.trim();
        let doc = line.strip_prefix("///").or(line.strip_prefix("//!")).map(str::trim_start);
        let fence = doc.is_some_and(|doc| doc.starts_with("```"));
        in_example = doc.is_some() && in_example != fence;
        let attribute = ["#[error(", "#[doc =", "#![doc ="].iter().any(|start| line.starts_with(start));
        let searched = !source || doc.is_some() && !in_example || attribute || shipped && !line.starts_with("//");
        searched && has_question_word(line)
    };
    let lines = text.lines().zip(1..);
    lines.filter(|(line, _)| is_question(line)).map(|(line, number)| (number, line.trim().to_owned())).collect()
}

/// Returns true if there is a capitalised question word outside of code spans.
fn has_question_word(line: &str) -> bool {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut words = prose.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| QUESTION_WORDS.contains(&word))
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
