//! Histories of a host: boots, crashes, power cuts, and retries.

use super::*;

/// Histories, each with a line for each boot. An event may have an expected outcome after an arrow, `-` for nothing:
///
/// * `boot` applies the allowed payloads, or the last level that survived; the outcome is those.
/// * `hand` and `retry` apply payloads by `ensure`; `killed` records them as such an `ensure` does, and applies none.
/// * `timer` and `shutdown` confirm the boot; the outcome is the payloads that survived, and those that wait.
/// * `applied` makes other payloads the applied ones, as another tool does; `taken back` tells the guard.
/// * `crash` is a crash or a power cut.
const HISTORIES: &str = "
a new payload that the host goes down with stays suspect
    boot a -> a; crash
    boot a -> -; lives 10000; timer -> -; shutdown -> -
    boot a -> -; lives 10000; timer -> -; shutdown -> -
    a is suspect

no power cut makes a survivor suspect
    boot a b -> a b; lives 600; timer -> a b; shutdown -> -
    boot a b -> a b; lives 600; timer -> a b; shutdown -> -
    boot a b -> a b; crash
    boot a b -> a b; crash
    boot a b -> a b; a is survived

a stack is cut at its suspect, and payloads that were never begun stay new
    boot a -> a; crash
    boot a b -> -; crash
    boot a b c -> -; b is new; boot b c -> b c

only the payloads below a suspect are applied, also after a power cut
    boot a -> a; lives 600; timer -> a; crash
    boot a b -> a b; crash
    boot a b c -> a; crash
    boot a b c -> a

a payload whose retry is killed early stays suspect
    boot a -> a; crash
    killed retry a; a is suspect; lives 10000; timer -> -; killed retry a; shutdown -> -
    boot a -> -

a retry counts if its payload is applied at the confirmation, also hundreds of days later
    boot a -> a; crash
    boot a -> -; lives 50000000; retry a; timer -> - waiting a; a is suspect; lives 600; timer -> a; a is survived; crash
    boot a -> a

a payload stays suspect if the host goes down with its retry, but a clean shutdown counts, however early
    boot a -> a; crash
    retry a; lives 599; timer -> - waiting a; crash
    boot a -> -; retry a; shutdown -> a
    boot a -> a

a payload that crashed by hand is not applied at boot
    boot a -> a; lives 600; timer -> a; lives 10000; hand a b; crash
    boot a b -> a

the ten minutes of each payload are its own, and restart if it is begun again
    boot a -> a; lives 500; hand a b; lives 100; timer -> a waiting b; b is new; lives 500; timer -> b
    killed hand a b c; lives 10000; hand a b c; timer -> - waiting c

a confirmation ignores payloads that another process has just recorded
    boot a -> a; lives 600; killed hand a b; timer -> a waiting b; crash
    boot a b -> a

a suspect is replaced by the last level that survived, which may be of another chain
    boot v1 -> v1; shutdown -> v1
    boot v2 -> v2; crash
    boot v2 -> v1; shutdown -> v1
    boot v1 x1 -> v1 x1; shutdown -> v1 x1
    boot v1 x2 -> v1 x2; crash
    boot v1 x2 -> v1 x1

a level at risk does not replace the previous level
    boot a b1 -> a b1; shutdown -> a b1
    boot a b1 -> a b1; lives 600; hand a b2; timer -> a waiting b2; crash
    boot a b2 -> a b1

a payload that could not be applied neither survives nor is suspect
    killed boot a b; applied a; taken back; lives 600; timer -> a; b is new; crash
    boot a b -> a b

the same if it was not taken back
    killed boot a b; applied a; shutdown -> a; b is new

the same if it was reverted in the meantime
    boot a -> a; applied; lives 600; timer -> -; a is new

a payload that was removed before a crash is not suspect
    hand a; hand; taken back; crash
    boot a -> a; applied; hand b; crash
    boot a -> a; b is suspect

payloads that were not begun are not confirmed, and do not keep a level from being kept
    boot a -> a; crash
    applied a z; shutdown -> -
    a is suspect; z is new; boot b -> b; applied b z; shutdown -> b
    boot a -> b

an applied suspect is allowed, since a restarted service must not remove it
    boot a -> a; crash
    retry a; boot a -> a; boot a b -> a b
";

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
