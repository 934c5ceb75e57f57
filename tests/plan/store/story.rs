//! Directories as text: their files, and what a store finds in them. README.md beside this file has the language.

use std::fs;

use super::directory::{Directory, builder, id};
use crate::prelude::*;

/// Runs each story of a file, in a directory of its own.
pub(super) fn run(file: &str) {
    for story in file.split("\n= ").skip(1) {
        let (title, lines) = story.split_once('\n').unwrap();
        let mut runner = Runner {
            directory: Directory::new(),
            elsewhere: Directory::new(),
            problem: String::new(),
            untrusted: Vec::new(),
        };
        for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let line = line.replace("$elsewhere", runner.elsewhere.0.path().to_str().unwrap());
            let line = line.replace("$128", &"n".repeat(128));
            let (command, rest) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            if let Some(found) = runner.run(command, rest) {
                assert_eq!(found.trim(), rest, "{title}: {command}");
            }
        }
    }
}

struct Runner {
    directory: Directory,
    /// `$elsewhere`
    elsewhere: Directory,
    /// The first problem of the last `for`.
    problem: String,
    untrusted: Vec<BuildId>,
}

impl Runner {
    /// Carries out a command. Returns what was found, if it is one of the checks.
    fn run(&mut self, command: &str, rest: &str) -> Option<String> {
        let words: Vec<&str> = command.split(' ').collect();
        let (directory, path) = (&self.directory, words.get(1).copied().unwrap_or_default());
        match words[0] {
            "put" => self.put(path, rest),
            "directory" => fs::create_dir(directory.path(path)).unwrap(),
            "pipe" => nix::unistd::mkfifo(&directory.path(path), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "link" => directory.link(path, rest),
            "hard-link" => fs::hard_link(directory.path(rest), directory.path(path)).unwrap(),
            "remove" => directory.remove(path),
            "for" => {
                let target = target(&words[1..]);
                let wanted = self.store().wanted_for(&target).unwrap();
                let summary = directory.summary(&wanted);
                self.problem = wanted.problems().first().map(ToString::to_string).unwrap_or_default();
                return Some(summary);
            }
            "contains" => assert!(self.problem.contains(rest), "{rest}: {}", self.problem),
            "distrust" => self.untrusted = rest.split_terminator(' ').map(|own| id(byte(own))).collect(),
            "problems" => {
                let problems = directory.problems();
                let problems: Vec<_> = problems.iter().map(|(word, path)| format!("| {word} {path}")).collect();
                return Some(problems.join(" "));
            }
            "payloads" => return Some(self.payloads(&target(&words[1..]))),
            "read" => return Some(self.read(path)),
            _ => panic!("{command} is no command"),
        }
        None
    }

    fn store(&self) -> PayloadStore {
        self.directory.read().verified_by(|stored| {
            let is_untrusted = stored.payload().build_id().is_some_and(|own| self.untrusted.contains(own));
            if is_untrusted { Err("nobody signed it".into()) } else { Ok(()) }
        })
    }

    fn put(&self, path: &str, contents: &str) {
        let mut options = contents.split(", ");
        let first: Vec<&str> = options.next().unwrap_or_default().split(' ').collect();
        let bytes = match first[..] {
            ["gcc", name] => fs::read(format!("tests/gcc-payloads/{name}.livepatch")).unwrap(),
            [own, "on", base, ref xen @ ..] => {
                let builder = builder(byte(own), byte(base), byte(xen.last().unwrap_or(&"a0")));
                options.clone().fold(builder, property).build()
            }
            _ => first.join(" ").into_bytes(),
        };
        self.directory.put(path, &bytes);
        if let Some(size) = options.find_map(|option| option.strip_prefix("size ")) {
            let size = match size.strip_prefix('-') {
                Some(less) => u64::try_from(bytes.len()).unwrap() - less.parse::<u64>().unwrap(),
                None => size.parse().unwrap(),
            };
            // Zeros beyond its end take no room on the disk.
            fs::File::options().write(true).open(self.directory.path(path)).unwrap().set_len(size).unwrap();
        }
    }

    /// The payloads of the store, and after each its place: for this Xen, or for another one; the link's choice; naming no Xen.
    fn payloads(&self, target: &Target) -> String {
        let store = self.store();
        let (own, others) = (store.for_target(target), store.for_another(target));
        assert!(own.iter().chain(&others).all(|stored| store.payloads().iter().any(|one| std::ptr::eq(one, *stored))));
        let is_in = |some: &[&StoredPayload], stored| some.iter().any(|one| std::ptr::eq(*one, stored));
        let shown = |stored: &StoredPayload| {
            let places = [
                (is_in(&own, stored), " own"),
                (is_in(&others, stored), " another's"),
                (stored.is_chosen(), " chosen"),
                (stored.payload().xen_depends().is_none(), " nobody's"),
            ];
            let places = places.into_iter().filter(|(is, _)| *is).map(|(_, place)| place);
            let paths: Vec<_> = stored.paths().map(|path| self.directory.relative(path)).collect();
            let paths = if paths.len() > 1 { format!(" in {}", paths.join(" ")) } else { String::new() };
            format!("{}{paths}{}", stored.name(), places.collect::<String>())
        };
        store.payloads().iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    /// Reads a single file: its payload's name, and the path that it was read from, or its error, which names the file once.
    fn read(&self, path: &str) -> String {
        let full = self.directory.path(path);
        match StoredPayload::read(&full) {
            Ok(stored) => format!("{} of {}", stored.name(), self.directory.relative(stored.path())),
            Err(error) => {
                assert_eq!(error.file(), full.to_str(), "{error}");
                assert_eq!(error.to_string().matches(path).count(), 1, "{error}");
                let kind = format!("{:?}", error.kind());
                kind.split([' ', '(']).next().unwrap().to_owned()
            }
        }
    }
}

fn byte(text: &str) -> u8 {
    u8::from_str_radix(text, 16).unwrap()
}

/// A Xen by its release, 4.20 if absent, its architecture, if known, and the first byte of its build-id or all of it.
fn target(words: &[&str]) -> Target {
    let release = if words.contains(&"4.11") { (4, 11) } else { (4, 20) };
    let own = words[words.len() - 1];
    let build_id = if own.len() == 2 { id(byte(own)) } else { own.parse().unwrap() };
    let target = Target::new(release).build_id(build_id);
    if words.contains(&"x86-64") { target.architecture(Architecture::X86_64) } else { target }
}

fn property(builder: PayloadBuilder, property: &str) -> PayloadBuilder {
    match property.split(' ').collect::<Vec<_>>()[..] {
        ["4.11"] => builder.for_release((4, 11)),
        ["arm"] => builder.architecture(Architecture::AArch64),
        ["without", section] => builder.defect(section, Defect::Missing),
        ["emptied", section] => builder.defect(section, Defect::Contents(Vec::new())),
        ["cut", section, len] => builder.defect(section, Defect::Truncated(len.parse().unwrap())),
        ["size", _] => builder,
        _ => panic!("{property} is no property"),
    }
}
