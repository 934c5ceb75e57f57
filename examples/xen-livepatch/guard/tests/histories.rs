//! Histories of a host: boots, crashes, power cuts, and retries.

use super::*;

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

    /// Applies the allowed payloads at boot, or the last level that survived.
    #[track_caller]
    fn boots(&mut self, wanted: &[&str], applied: &[&str]) {
        let guard = self.guard();
        let Judgement { allowed, last_survived, .. } = guard.judge(XEN, &stack(wanted), &self.running());
        let may = last_survived.unwrap_or_else(|| stack(&wanted[..allowed]));
        assert_eq!(guard.begin(XEN, &may, &self.running(), Trigger::Boot), Written::default());
        assert_eq!(may, stack(applied));
        self.applied = may;
    }

    /// Applies payloads by `ensure`.
    fn applies(&mut self, payloads: &[&str], by: Trigger) {
        self.begins(payloads, by);
        self.applied = stack(payloads);
    }

    /// Records payloads, as if the tool were killed before it applied any.
    fn begins(&mut self, payloads: &[&str], by: Trigger) {
        assert_eq!(self.guard().begin(XEN, &stack(payloads), &self.running(), by), Written::default());
    }

    fn lives(&mut self, seconds: u64) {
        self.age += seconds;
    }

    /// Confirms the boot, as the timer does.
    #[track_caller]
    fn confirms(&self, survived: &[&str], waiting: &[&str]) {
        let confirmed =
            self.guard().confirm(XEN, Some(&self.running()), Ending::Lived(600)).expect("it can be written");
        assert_eq!((confirmed.survived, confirmed.waiting), (stack(survived), stack(waiting)));
    }

    /// Ends the boot by a crash or a power cut.
    fn goes_down(&mut self) {
        (self.boot, self.age) = (self.boot + 1, 10);
        self.applied.clear();
    }

    #[track_caller]
    fn shuts_down(&mut self, survived: &[&str]) {
        let confirmed = self.guard().confirm(XEN, Some(&self.running()), Ending::Shutdown).expect("it can be written");
        assert_eq!((confirmed.survived, confirmed.waiting), (stack(survived), stack(&[])));
        self.goes_down();
    }

    #[track_caller]
    fn has(&self, payload: &str, verdict: Verdict) {
        let (state, _) = self.guard().settled();
        assert_eq!(state.verdict(XEN, payload), verdict, "{payload}");
    }
}

#[test]
fn a_new_payload_that_the_host_goes_down_with_stays_suspect() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    for _ in 0..3 {
        host.boots(&["a"], &[]);
        host.lives(10_000);
        host.confirms(&[], &[]);
        host.shuts_down(&[]);
    }
    host.has("a", Verdict::Suspect);
}

#[test]
fn no_power_cut_makes_a_survivor_suspect() {
    let mut host = Host::new();
    for _ in 0..20 {
        host.boots(&["a", "b"], &["a", "b"]);
        host.lives(600);
        host.confirms(&["a", "b"], &[]);
        host.shuts_down(&[]);
    }
    for _ in 0..3 {
        host.boots(&["a", "b"], &["a", "b"]);
        host.goes_down();
    }
    host.boots(&["a", "b"], &["a", "b"]);
    host.has("a", Verdict::Survived);
}

#[test]
fn a_stack_is_cut_at_its_suspect() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.boots(&["a", "b"], &[]);
    host.goes_down();
    host.boots(&["a", "b", "c"], &[]);
    // b and c were never begun.
    host.has("b", Verdict::New);
    // Without the suspect they are allowed.
    host.boots(&["b", "c"], &["b", "c"]);
}

#[test]
fn only_the_payloads_below_a_suspect_are_applied() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.goes_down();
    host.boots(&["a", "b"], &["a", "b"]);
    host.goes_down();
    host.boots(&["a", "b", "c"], &["a"]);
    host.goes_down();
    // The same after a power cut.
    host.boots(&["a", "b", "c"], &["a"]);
}

#[test]
fn a_payload_whose_retry_is_killed_early_stays_suspect() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.begins(&["a"], Trigger::Retry);
    host.has("a", Verdict::Suspect);
    host.lives(10_000);
    host.confirms(&[], &[]);
    host.begins(&["a"], Trigger::Retry);
    host.shuts_down(&[]);
    host.boots(&["a"], &[]);
}

#[test]
fn a_retry_counts_if_its_payload_is_applied_at_the_confirmation() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.boots(&["a"], &[]);
    // Also hundreds of days later.
    host.lives(50_000_000);
    host.applies(&["a"], Trigger::Retry);
    host.confirms(&[], &["a"]);
    host.has("a", Verdict::Suspect);
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.has("a", Verdict::Survived);
    host.goes_down();
    host.boots(&["a"], &["a"]);
}

#[test]
fn a_payload_stays_suspect_if_the_host_goes_down_with_its_retry() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.applies(&["a"], Trigger::Retry);
    host.lives(599);
    host.confirms(&[], &["a"]);
    host.goes_down();
    host.boots(&["a"], &[]);
    // A clean shutdown with the payload applied counts, however early.
    host.applies(&["a"], Trigger::Retry);
    host.shuts_down(&["a"]);
    host.boots(&["a"], &["a"]);
}

#[test]
fn a_payload_that_crashed_by_hand_is_not_applied_at_boot() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.lives(10_000);
    host.applies(&["a", "b"], Trigger::Hand);
    host.goes_down();
    host.boots(&["a", "b"], &["a"]);
}

#[test]
fn the_ten_minutes_of_each_payload_are_its_own() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(500);
    host.applies(&["a", "b"], Trigger::Hand);
    host.lives(100);
    host.confirms(&["a"], &["b"]);
    host.has("b", Verdict::New);
    host.lives(500);
    host.confirms(&["b"], &[]);
    // Begun, killed, and begun again much later: the ten minutes restart.
    host.begins(&["a", "b", "c"], Trigger::Hand);
    host.lives(10_000);
    host.applies(&["a", "b", "c"], Trigger::Hand);
    host.confirms(&[], &["c"]);
}

#[test]
fn a_confirmation_ignores_payloads_that_are_about_to_be_applied() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    // The list was read before another process applied b, and is used after that process recorded b.
    host.begins(&["a", "b"], Trigger::Hand);
    host.confirms(&["a"], &["b"]);
    host.goes_down();
    host.boots(&["a", "b"], &["a"]);
}

#[test]
fn a_suspect_is_replaced_by_the_last_level_that_survived_on_any_chain() {
    let mut host = Host::new();
    host.boots(&["v1"], &["v1"]);
    host.shuts_down(&["v1"]);
    host.boots(&["v2"], &["v2"]);
    host.goes_down();
    // It is cumulative: like v1 it depends on Xen.
    host.boots(&["v2"], &["v1"]);
    host.shuts_down(&["v1"]);
    let judgement = host.guard().judge(XEN, &stack(&["v2"]), &Applied::default());
    assert_eq!((judgement.allowed, judgement.last_survived), (0, Some(stack(&["v1"]))));
    // A longer chain below the suspect is at least as good.
    assert_eq!(host.guard().judge(XEN, &stack(&["w", "v2"]), &Applied::default()).last_survived, None);
    // A level of two payloads, one of which was replaced by a suspect.
    host.boots(&["v1", "x1"], &["v1", "x1"]);
    host.shuts_down(&["v1", "x1"]);
    host.boots(&["v1", "x2"], &["v1", "x2"]);
    host.goes_down();
    host.boots(&["v1", "x2"], &["v1", "x1"]);
}

#[test]
fn a_level_at_risk_does_not_replace_the_previous_level() {
    let mut host = Host::new();
    host.boots(&["a", "b1"], &["a", "b1"]);
    host.shuts_down(&["a", "b1"]);
    host.boots(&["a", "b1"], &["a", "b1"]);
    host.lives(600);
    host.applies(&["a", "b2"], Trigger::Hand);
    host.confirms(&["a"], &["b2"]);
    host.goes_down();
    host.boots(&["a", "b2"], &["a", "b1"]);
}

#[test]
fn a_payload_that_is_not_applied_never_survives() {
    let mut host = Host::new();
    host.begins(&["a", "b"], Trigger::Boot);
    // The second could not be applied.
    host.applied = stack(&["a"]);
    assert_eq!(host.guard().take_back(XEN, &host.running()), Written::default());
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.has("b", Verdict::New);
    // So it is not suspect either.
    host.goes_down();
    host.boots(&["a", "b"], &["a", "b"]);

    // The same if it was not taken back.
    let mut host = Host::new();
    host.begins(&["a", "b"], Trigger::Boot);
    host.applied = stack(&["a"]);
    host.shuts_down(&["a"]);
    host.has("b", Verdict::New);
    // It was reverted by hand in the meantime.
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.applied.clear();
    host.lives(600);
    host.confirms(&[], &[]);
    host.has("a", Verdict::New);
}

#[test]
fn a_payload_that_was_removed_before_a_crash_is_not_suspect() {
    let mut host = Host::new();
    host.applies(&["a"], Trigger::Hand);
    host.applies(&[], Trigger::Hand);
    assert_eq!(host.guard().take_back(XEN, &host.running()), Written::default());
    host.goes_down();
    host.boots(&["a"], &["a"]);
    // Removed by another tool, which the next ensure notices.
    host.applied.clear();
    host.applies(&["b"], Trigger::Hand);
    host.goes_down();
    host.boots(&["a"], &["a"]);
    host.has("b", Verdict::Suspect);
}

#[test]
fn payloads_that_were_not_begun_are_not_confirmed() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    // Applied by another tool, a moment ago.
    host.applied = stack(&["a", "z"]);
    host.shuts_down(&[]);
    host.has("a", Verdict::Suspect);
    host.has("z", Verdict::New);
    // It does not keep the level of the recorded payloads below it from being kept.
    host.boots(&["b"], &["b"]);
    host.applied.push("z".to_owned());
    host.shuts_down(&["b"]);
    host.boots(&["a"], &["b"]);
}

#[test]
fn an_applied_suspect_is_allowed() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.applies(&["a"], Trigger::Retry);
    // A restarted service must not remove running payloads.
    host.boots(&["a"], &["a"]);
    host.boots(&["a", "b"], &["a", "b"]);
}

#[test]
fn an_unidentified_payload_neither_survives_nor_is_taken_back() {
    let mut host = Host::new();
    host.boots(&["a", "b"], &["a", "b"]);
    host.lives(600);
    let seen = Applied { unidentified: true, ..running(&["a"]) };
    let confirmed = host.guard().confirm(XEN, Some(&seen), Ending::Lived(600)).expect("it can be written");
    assert_eq!((confirmed.survived, confirmed.waiting), (stack(&["a"]), stack(&["b"])));
    host.goes_down();
    host.boots(&["a", "b"], &["a"]);
}

#[test]
fn a_clean_shutdown_makes_no_suspects_even_without_access_to_xen() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    let confirmed = host.guard().confirm("", None, Ending::Shutdown).expect("it can be written");
    assert_eq!(confirmed.survived, stack(&[]));
    host.goes_down();
    host.has("a", Verdict::New);
    host.boots(&["a"], &["a"]);
    // Before the shutdown, that changes nothing.
    host.lives(600);
    let confirmed = host.guard().confirm("", None, Ending::Lived(600)).expect("it can be written");
    assert_eq!((confirmed.survived, confirmed.waiting), (stack(&[]), stack(&["a"])));
    host.goes_down();
    host.boots(&["a"], &[]);
}

#[test]
fn a_confirmed_boot_counts_once_and_its_later_crash_makes_no_suspects() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.begins(&["a"], Trigger::Hand);
    host.confirms(&[], &[]);
    let (state, _) = host.guard().settled();
    assert_eq!(state.record(XEN, "a").map(|record| record.survived), Some(1));
    host.goes_down();
    host.has("a", Verdict::Survived);
}

#[test]
fn without_begun_payloads_there_is_nothing_to_confirm() {
    let mut host = Host::new();
    assert!(!host.guard().has_pending());
    host.boots(&["a"], &["a"]);
    assert!(host.guard().has_pending());
    host.lives(600);
    host.confirms(&["a"], &[]);
    assert!(!host.guard().has_pending());
    host.goes_down();
    host.boots(&["b"], &["b"]);
    host.goes_down();
    assert!(!host.guard().has_pending(), "another boot's");
}
