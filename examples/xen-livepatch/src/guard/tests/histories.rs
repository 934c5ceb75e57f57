//! Histories of a host: boots, crashes, power cuts, and retries.

use super::*;

/// Histories, each with a line for each boot. An event may have an expected outcome after an arrow, `-` for nothing:
///
/// * `boot` applies the allowed payloads, or the last level that survived; the outcome is those.
/// * `hand` and `retry` apply payloads by `ensure`; `killed` records them as such an `ensure` does, and applies none.
/// * `timer` and `shutdown` confirm the boot; the outcome is the payloads that survived, and those that wait.
/// * `applied` makes other payloads the applied ones, as another tool does; `taken back` records that in the guard.
/// * `crash` is a crash or a power cut.
const HISTORIES: &str = include_str!("histories.txt");

/// A host, with payloads that its boots and people apply.
struct Host {
    directory: Directory,
    boot: u32,
    age: u64,
    applied: Vec<String>,
}

impl Host {
    fn new() -> Self {
        Self { directory: Directory::new(), boot: 1, age: 10, applied: Vec::new() }
    }

    fn guard(&self) -> Guard {
        self.directory.boot_at(self.boot, self.age)
    }

    fn running(&self) -> Applied {
        Applied { stack: self.applied.clone(), ..Applied::default() }
    }

    /// Lives through an event, and asserts its outcome.
    #[track_caller]
    fn lives(&mut self, event: &str) {
        let (words, outcome) = event.split_once(" -> ").unwrap_or((event, ""));
        let words: Vec<&str> = words.split(' ').collect();
        let guard = self.guard();
        match words[..] {
            ["boot", ref wanted @ ..] => {
                let Judgement { allowed, last_survived, .. } = guard.judge(XEN, &stack(wanted), &self.running());
                let may = last_survived.unwrap_or_else(|| stack(&wanted[..allowed]));
                self.begins("boot", &may);
                assert_eq!(may, of_words(outcome));
                self.applied = may;
            }
            ["killed", by, ref payloads @ ..] => self.begins(by, &stack(payloads)),
            [by @ ("hand" | "retry"), ref payloads @ ..] => {
                self.begins(by, &stack(payloads));
                self.applied = stack(payloads);
            }
            ["applied", ref payloads @ ..] => self.applied = stack(payloads),
            ["taken", "back"] => assert_eq!(guard.take_back(XEN, &self.running()), Written::default()),
            ["lives", seconds] => self.age += seconds.parse::<u64>().expect("a number"),
            ["timer"] => self.confirms(Some(&self.running()), Ending::Lived(600), outcome),
            ["shutdown"] => {
                self.confirms(Some(&self.running()), Ending::Shutdown, outcome);
                self.goes_down();
            }
            ["crash"] => self.goes_down(),
            [payload, "is", verdict] => {
                let is = guard.settled().0.verdict(XEN, payload);
                assert_eq!(format!("{is:?}").to_lowercase(), verdict, "{payload}");
            }
            _ => panic!("{event} is no event"),
        }
    }

    /// Records payloads that are about to be applied.
    #[track_caller]
    fn begins(&self, by: &str, payloads: &[String]) {
        let by = match by {
            "boot" => Trigger::Boot,
            "retry" => Trigger::Retry,
            _ => Trigger::Hand,
        };
        assert_eq!(self.guard().begin(XEN, payloads, &self.running(), by), Written::default());
    }

    #[track_caller]
    fn confirms(&self, applied: Option<&Applied>, ending: Ending, outcome: &str) {
        let xen = if applied.is_some() { XEN } else { "" };
        let confirmed = self.guard().confirm(xen, applied, ending).expect("it can be written");
        let (survived, waiting) = outcome.split_once(" waiting ").unwrap_or((outcome, "-"));
        assert_eq!((confirmed.survived, confirmed.waiting), (of_words(survived), of_words(waiting)));
    }

    /// Ends the boot.
    fn goes_down(&mut self) {
        (self.boot, self.age) = (self.boot + 1, 10);
        self.applied.clear();
    }
}

fn of_words(payloads: &str) -> Vec<String> {
    payloads.split(' ').filter(|word| *word != "-").map(str::to_owned).collect()
}

/// A host with a history, which is printed if it is not lived as written.
fn lived(history: &str) -> Host {
    let mut host = Host::new();
    println!("{history}");
    for boot in history.lines().filter_map(|line| line.strip_prefix("    ")) {
        println!("at: {boot}");
        boot.split("; ").for_each(|event| host.lives(event));
    }
    host
}

#[test]
fn histories_are_lived_as_written() {
    let histories: Vec<&str> = HISTORIES.split("\n\n").collect();
    assert_eq!(histories.len(), 18);
    for history in histories {
        lived(history);
    }
}

#[test]
fn a_longer_chain_below_a_suspect_is_at_least_as_good_as_the_last_level() {
    let host = lived("    boot v1 -> v1; shutdown -> v1\n    boot v2 -> v2; crash");
    let last_survived = |wanted: &[&str]| host.guard().judge(XEN, &stack(wanted), &Applied::default()).last_survived;
    assert_eq!(last_survived(&["v2"]), Some(stack(&["v1"])));
    assert_eq!(last_survived(&["w", "v2"]), None);
}

#[test]
fn an_unidentified_payload_neither_survives_nor_is_taken_back() {
    let mut host = lived("    boot a b -> a b; lives 600");
    host.confirms(Some(&Applied { unidentified: true, ..running(&["a"]) }), Ending::Lived(600), "a waiting b");
    host.lives("crash");
    host.lives("boot a b -> a");
}

#[test]
fn a_clean_shutdown_makes_no_suspects_even_without_access_to_xen() {
    let mut host = lived("    boot a -> a");
    host.confirms(None, Ending::Shutdown, "-");
    host.lives("crash");
    host.lives("a is new");
    host.lives("boot a -> a");
    // Before the shutdown, that changes nothing.
    host.lives("lives 600");
    host.confirms(None, Ending::Lived(600), "- waiting a");
    host.lives("crash");
    host.lives("boot a -> -");
}

#[test]
fn a_confirmed_boot_counts_once_and_its_later_crash_makes_no_suspects() {
    let mut host = lived("    boot a -> a; lives 600; timer -> a; killed hand a; timer -> -");
    assert_eq!(host.guard().settled().0.record(XEN, "a").map(|record| record.survived), Some(1));
    host.lives("crash");
    host.lives("a is survived");
}

#[test]
fn without_begun_payloads_there_is_nothing_to_confirm() {
    let confirmed = "    boot a -> a; lives 600; timer -> a";
    let of_another_boot = "    boot b -> b; crash";
    for (history, has_pending) in [("", false), ("    boot a -> a", true), (confirmed, false), (of_another_boot, false)]
    {
        assert_eq!(lived(history).guard().has_pending(), has_pending, "{history}");
    }
}
