//! Stories of a host and of a client, as text: commands, each with its result. README.md beside this file has the language.

mod client;
mod host;
#[path = "../orders.rs"]
pub mod orders;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use xen_livepatch::Release;
use xen_livepatch::sim::SimulatedXen;

use client::Runner;
use host::Host;
use text::Line;

/// Runs each story of a file on each of its releases, in each of its cases.
pub fn run(file: &'static str) {
    let (common, stories) = text::stories(file);
    for (title, mut lines) in stories {
        let releases = text::take(&mut lines, "releases").map_or_else(|| "..".to_owned(), |line| line.text);
        let cases = text::take_all(&mut lines, "each").iter().map(text::cases).fold(vec![Vec::new()], |all, cases| {
            all.iter().flat_map(|one| cases.iter().map(|case| [one.clone(), case.clone()].concat())).collect()
        });
        let releases: Vec<Release> = Release::ALL.into_iter().flat_map(|last| text::chosen(last, &releases)).collect();
        assert!(!releases.is_empty() && !cases.is_empty(), "{title}");
        for release in releases {
            for case in &cases {
                let series = ("$release".to_owned(), format!("4.{}", release.minor()));
                let case = &[case.clone(), vec![series]].concat();
                let lines: Vec<Line> = common.iter().chain(&lines).map(|line| line.with(case)).collect();
                let at = At(format!("{title}: {release} {case:?}"));
                run_on(release, &lines, file);
                drop(at);
            }
        }
    }
}

fn run_on(release: Release, lines: &[Line], file: &'static str) {
    let mut lines = lines.to_vec();
    let set_up = text::take_all(&mut lines, "xen");
    let set_up = set_up.iter().filter(|line| line.is_for(release));
    let xen = set_up.flat_map(|line| &line.options).fold(SimulatedXen::builder(release), host::set_up).build();
    let kinds = text::take_all(&mut lines, "payload").into_iter().map(|line| (line.text, line.options));
    let host = Host { xen, kinds: Arc::new(kinds.collect::<BTreeMap<_, _>>()) };
    let mut runner = Runner::new(host, file);
    for line in lines.iter().filter(|line| line.is_for(release)) {
        let at = At(format!("line {}: {}", line.number, line.text));
        runner.run(line);
        drop(at);
    }
    runner.end();
}

/// Printed if a test fails while it exists.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at {}", self.0);
        }
    }
}
