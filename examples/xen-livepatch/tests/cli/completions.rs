//! Completions, each in its shell. A shell that is not installed is skipped; the gate installs them all.

use std::env;
use std::process::Command;

use crate::demo::Demo;
use crate::tool;

/// For each shell, a script that completes the last of the words in `$line`, one candidate a line.
const SHELLS: [(&str, &str); 3] = [
    (
        "bash",
        r#"
        source <(xen-livepatch completions bash)
        [[ $(complete -p xen-livepatch) == *"-F _clap_complete_xen_livepatch xen-livepatch" ]] || exit 1
        IFS=' ' read -ra COMP_WORDS <<<"$line"
        [[ $line == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _clap_complete_xen_livepatch xen-livepatch "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
        "#,
    ),
    (
        "zsh",
        r#"
        compdef() { [[ "$*" == "_clap_dynamic_completer_xen_livepatch xen-livepatch" ]] || exit 1 }
        # In the place of zsh's own, which draws on the terminal.
        _describe() { print -rl -- "${(P@)3}" | sed -E 's/([^\\]):.*/\1/; s/\\:/:/g' }
        source <(xen-livepatch completions zsh)
        words=("${(@s: :)line}")
        CURRENT=${#words}
        _clap_dynamic_completer_xen_livepatch
        "#,
    ),
    (
        "fish",
        r#"
        xen-livepatch completions fish | source
        complete -C "$line"
        "#,
    ),
];

/// The candidates for the last word of a line, without their descriptions.
fn candidates(demo: &Demo, shell: &str, script: &str, line: &str) -> Vec<String> {
    let directory = tool().parent().unwrap().display();
    let path = format!("{directory}:{}", env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    command.args(["-c", script]).current_dir(demo.directory()).env("PATH", path).env("line", line);
    let output = command.env("HOME", demo.directory()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shell}, {line}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn shells_complete_options_commands_and_names() {
    let demo = Demo::new(&[("a", None), ("b", None)]);
    demo.ends(0, "load a.livepatch");
    demo.ends(0, "upload b b.livepatch");
    demo.ends(0, "simulate payload c.livepatch");
    demo.ends(0, "upload hex:24287829 c.livepatch");
    for (shell, script) in SHELLS {
        if Command::new(shell).args(["-c", ":"]).status().is_err() {
            eprintln!("SKIPPED: {shell} is not installed");
            continue;
        }
        let of = |line: &str| candidates(&demo, shell, script, &format!("xen-livepatch {line}"));
        let options = of("ensure -");
        for option in ["--dry-run", "--no-gap", "--json", "--deadline"] {
            assert!(options.iter().any(|found| found == option), "{shell}: {option} of {options:?}");
        }
        assert_eq!(of("ens"), ["ensure"], "{shell}");
        // A name with characters that a shell would act on is offered in another form.
        for (command, names) in [
            ("simulate", &["new", "payload", "help"][..]),
            ("apply", &["b", "hex:24287829"]),
            ("replace", &["b", "hex:24287829"]),
            ("unload", &["b", "hex:24287829"]),
            ("revert", &["a"]),
            ("status", &["a", "b", "hex:24287829"]),
        ] {
            for simulate in ["--simulate demo", "--simulate=demo"] {
                let found = of(&format!("{simulate} {command} "));
                let found: Vec<&str> = found.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
                assert_eq!(found, names, "{shell}: {simulate} {command}");
            }
        }
    }
}
