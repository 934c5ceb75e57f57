//! Files that are too large because of their debug sections, compared with those that `strip -S` makes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::prelude::*;

const SOURCE: &str = r#"
    #include <string.h>
    struct pair { int a, b; };
    static int sum(const struct pair *pair) { return pair->a * 3 + pair->b; }
    int first(const struct pair *pair) { static int total; total += sum(pair); return total; }
    const char *second(int number) { return number == 0 ? "zero" : number == 1 ? "one" : "many"; }
    size_t third(const char *text) { return strlen(text) + strlen(second(1)); }
"#;

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).current_dir(directory).status();
    assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {arguments:?}");
}

fn len(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

#[test]
fn the_size_without_debug_sections_is_that_of_strip() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("a.c"), SOURCE).unwrap();
    let (made, stripped) = (directory.path().join("made.o"), directory.path().join("stripped.o"));
    for options in ["-g -O0", "-g3 -O2", "-ggdb -O2 -ffunction-sections -fdata-sections", "-g -gz -O1", "-O2"] {
        for linked in [false, true] {
            let options = options.split(' ');
            let compile: Vec<_> = options.clone().chain(["-c", "a.c", "-o", "made.o"]).collect();
            run(directory.path(), "cc", &compile);
            if linked {
                run(directory.path(), "ld", &["-r", "made.o", "-o", "linked.o"]);
                fs::rename(directory.path().join("linked.o"), &made).unwrap();
            }
            run(directory.path(), "strip", &["-S", "made.o", "-o", "stripped.o"]);
            let what = format!("{:?}, linked: {linked}", options.collect::<Vec<_>>());
            let (whole, left) = (len(&made), len(&stripped));
            let Some(estimate) = Payload::read(&made).unwrap().size_without_debug() else {
                assert!(!what.contains("-g"), "{what}");
                continue;
            };
            assert!(what.contains("-g"), "{what}");
            assert!(estimate < whole, "{what}: {estimate} of {whole}");
            // The excess are the names of removed sections and symbols.
            assert!((left..left + 1500).contains(&estimate), "{what}: {estimate}, not {left}, of {whole}");
            assert_eq!(Payload::read(&stripped).unwrap().size_without_debug(), None, "{what}");
        }
    }
}

const OLD_NAME: &str = ".note.GNU-stack";

/// A payload with a debug section of this many bytes.
fn with_debug(len: usize) -> Editor {
    with_section(len, ".debug_info")
}

/// A payload whose section `.note.GNU-stack` gets so many bytes and this name.
fn with_section(len: usize, name: &str) -> Editor {
    let mut editor = Editor::new(HOOKED);
    let at = editor.bytes.len();
    editor.bytes.resize(at + len, 1);
    let names = editor.get(editor.get(0, header::TABLE) + 64 * editor.get(0, header::NAMES), section::OFFSET);
    let start = names + editor.field(OLD_NAME, section::NAME);
    let mut editor = editor.set(OLD_NAME, section::OFFSET, u64::try_from(at).unwrap()).set(
        OLD_NAME,
        section::SIZE,
        u64::try_from(len).unwrap(),
    );
    editor.bytes[start..start + name.len()].copy_from_slice(name.as_bytes());
    editor.bytes[start + name.len()] = 0;
    editor
}

fn texts(payload: &Payload, target: &Target) -> Vec<String> {
    payload.check_against(target).iter().map(ToString::to_string).collect()
}

#[test]
fn debug_sections_are_named_as_the_cause_of_the_size() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("large.livepatch");
    fs::write(&file, with_debug(3 << 20).bytes).unwrap();
    let (payload, small) = (Payload::read(&file).unwrap(), Payload::parse(HOOKED).unwrap());
    assert_eq!(payload.build_id(), small.build_id());
    assert_eq!(payload.functions(), small.functions());
    assert_eq!(payload.releases(), small.releases());
    let size = payload.size_without_debug().unwrap();
    assert!(usize::try_from(size).unwrap() <= HOOKED.len(), "{size}");
    let advice = format!("Xen accepts at most 2097152 (2 MiB): strip -S leaves about {size} of them");
    assert_eq!(texts(&payload, &NEW), [format!("it has {} bytes, but {advice}", len(&file))]);
    assert!(payload.to_string().contains(&format!("  too large  {advice}\n")), "{payload}");
    assert!(!small.to_string().contains("too large"));

    // Everything else is checked as well.
    let worse = Payload::parse(&with_debug(3 << 20).hide(".livepatch.depends").bytes).unwrap();
    assert_eq!(texts(&worse, &NEW).len(), 2);
    assert!(worse.releases().is_empty());

    // Only binutils for x86-64 are sure to know these files.
    if cfg!(target_arch = "x86_64") {
        run(directory.path(), "strip", &["-S", "large.livepatch"]);
        assert_eq!(texts(&Payload::read(&file).unwrap(), &NEW), [""; 0]);
        assert!((len(&file)..len(&file) + 500).contains(&size), "{size}, not {}", len(&file));
    }
}

#[test]
fn files_that_are_too_large_without_debug_sections_are_refused() {
    let just_large = |name| Payload::parse(&with_section(3 << 20, name).bytes).unwrap();
    let other = just_large(".comment");
    assert_eq!(other.size_without_debug(), None);
    let [text] = &texts(&other, &NEW)[..] else { panic!() };
    assert!(text.ends_with("leave out debug information (strip -S) and what the patch does not change"), "{text}");
    assert!(other.releases().is_empty());

    // A section that is loaded is no debug section, whatever its name.
    let loaded = with_debug(3 << 20).set(".debug_info", section::FLAGS, 2);
    assert_eq!(Payload::parse(&loaded.bytes).unwrap().size_without_debug(), None);

    let mut both = with_debug(1 << 20);
    let at = both.bytes.len();
    both.bytes.resize(at + (3 << 20), 1);
    let strings = ".livepatch.strings";
    let both = both.set(strings, section::OFFSET, u64::try_from(at).unwrap()).set(strings, section::SIZE, 3 << 20);
    let both = Payload::parse(&both.bytes).unwrap();
    let [text] = &texts(&both, &NEW)[..] else { panic!() };
    assert!(text.contains("of them, still too many: leave out what the patch does not change"), "{text}");
    assert!(both.size_without_debug().unwrap() > 3 << 20);
}

#[test]
fn files_are_read_up_to_a_limit() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("a.livepatch");
    let read = |size: usize| {
        let size = u64::try_from(size).unwrap();
        File::create(&file).unwrap().set_len(size).unwrap();
        Payload::read(&file).unwrap_err().kind().clone()
    };
    assert!(matches!(read(Payload::MAX_FILE), ErrorKind::File { .. }));
    let size = u64::try_from(Payload::MAX_FILE).unwrap() + 1;
    let expected = ErrorKind::PayloadTooLarge { size, without_debug: None };
    assert_eq!(read(Payload::MAX_FILE + 1), expected);
}
