//! Whole histories of a host: boots, crashes, power cuts, retries.

use super::*;

/// A host that boots, and has payloads applied by boots and by people.
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

    /// Applies what the boot unit may apply, or the last level that survived.
    #[track_caller]
    fn boots(&mut self, wanted: &[&str], applied: &[&str]) {
        let guard = self.guard();
        let Judgement { allowed, last_survived, .. } = guard.judge(XEN, &stack(wanted), &self.running());
        let may = last_survived.unwrap_or_else(|| stack(&wanted[..allowed]));
        assert_eq!(guard.begin(XEN, &may, &self.running(), Trigger::Boot), Written::default());
        assert_eq!(may, stack(applied));
        self.applied = may;
    }

    /// A person applies these.
    fn applies(&mut self, payloads: &[&str], by: Trigger) {
        self.begins(payloads, by);
        self.applied = stack(payloads);
    }

    /// The tool is killed before it has applied anything.
    fn begins(&mut self, payloads: &[&str], by: Trigger) {
        assert_eq!(self.guard().begin(XEN, &stack(payloads), &self.running(), by), Written::default());
    }

    fn lives(&mut self, seconds: u64) {
        self.age += seconds;
    }

    /// The timer asks.
    #[track_caller]
    fn confirms(&self, survived: &[&str], waiting: &[&str]) {
        let confirmed =
            self.guard().confirm(XEN, Some(&self.running()), Ending::Lived(600)).expect("it can be written");
        assert_eq!((confirmed.survived, confirmed.waiting), (stack(survived), stack(waiting)));
    }

    /// A crash, or a power cut.
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
fn a_new_payload_that_the_host_goes_down_with_is_suspect_boot_after_boot() {
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
fn power_cuts_do_not_outlaw_what_has_survived_before() {
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
fn a_superset_of_a_crasher_is_cut_where_the_crasher_is() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.boots(&["a", "b"], &[]);
    host.goes_down();
    host.boots(&["a", "b", "c"], &[]);
    // Nobody began b and c.
    host.has("b", Verdict::New);
    // Without the crasher they go.
    host.boots(&["b", "c"], &["b", "c"]);
}

#[test]
fn what_is_below_a_crasher_is_applied_and_what_is_above_is_not() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.goes_down();
    host.boots(&["a", "b"], &["a", "b"]);
    host.goes_down();
    host.boots(&["a", "b", "c"], &["a"]);
    host.goes_down();
    // Also after a power cut.
    host.boots(&["a", "b", "c"], &["a"]);
}

#[test]
fn a_retry_that_is_killed_before_it_applies_anything_stays_suspect() {
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
fn a_retry_is_believed_when_its_payload_is_seen_applied_at_the_confirmation() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.boots(&["a"], &[]);
    // Hundreds of days later, too.
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
fn a_retry_that_the_host_goes_down_with_stays_suspect() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.applies(&["a"], Trigger::Retry);
    host.lives(599);
    host.confirms(&[], &["a"]);
    host.goes_down();
    host.boots(&["a"], &[]);
    // A clean shutdown with it applied counts, however early.
    host.applies(&["a"], Trigger::Retry);
    host.shuts_down(&["a"]);
    host.boots(&["a"], &["a"]);
}

#[test]
fn an_ensure_by_hand_that_crashes_is_not_repeated_by_the_boot() {
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
fn each_payload_has_a_time_of_its_own() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(500);
    host.applies(&["a", "b"], Trigger::Hand);
    host.lives(100);
    host.confirms(&["a"], &["b"]);
    host.has("b", Verdict::New);
    host.lives(500);
    host.confirms(&["b"], &[]);
    // Begun, killed, and begun anew much later: the ten minutes begin then.
    host.begins(&["a", "b", "c"], Trigger::Hand);
    host.lives(10_000);
    host.applies(&["a", "b", "c"], Trigger::Hand);
    host.confirms(&[], &["c"]);
}

#[test]
fn a_confirmation_leaves_alone_what_is_on_its_way() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.lives(600);
    // The list was read before another process applied b, and is looked at after that process wrote it down.
    host.begins(&["a", "b"], Trigger::Hand);
    host.confirms(&["a"], &["b"]);
    host.goes_down();
    host.boots(&["a", "b"], &["a"]);
}

#[test]
fn the_level_below_a_suspect_is_the_last_that_survived_also_on_another_chain() {
    let mut host = Host::new();
    host.boots(&["v1"], &["v1"]);
    host.shuts_down(&["v1"]);
    host.boots(&["v2"], &["v2"]);
    host.goes_down();
    // It is cumulative, and depends on Xen as v1 does.
    host.boots(&["v2"], &["v1"]);
    host.shuts_down(&["v1"]);
    let judgement = host.guard().judge(XEN, &stack(&["v2"]), &Applied::default());
    assert_eq!((judgement.allowed, judgement.last_survived), (0, Some(stack(&["v1"]))));
    // With a longer chain below it, that is at least as much.
    assert_eq!(host.guard().judge(XEN, &stack(&["w", "v2"]), &Applied::default()).last_survived, None);
    // A level of two, of which one was replaced by a suspect.
    host.boots(&["v1", "x1"], &["v1", "x1"]);
    host.shuts_down(&["v1", "x1"]);
    host.boots(&["v1", "x2"], &["v1", "x2"]);
    host.goes_down();
    host.boots(&["v1", "x2"], &["v1", "x1"]);
}

#[test]
fn a_level_that_is_still_at_risk_does_not_replace_the_one_before() {
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
fn survived_is_never_said_of_what_is_not_applied() {
    let mut host = Host::new();
    host.begins(&["a", "b"], Trigger::Boot);
    // The second could not be applied.
    host.applied = stack(&["a"]);
    assert_eq!(host.guard().take_back(XEN, &host.running()), Written::default());
    host.lives(600);
    host.confirms(&["a"], &[]);
    host.has("b", Verdict::New);
    // So nothing is held against it either.
    host.goes_down();
    host.boots(&["a", "b"], &["a", "b"]);

    // The same where nobody took it back.
    let mut host = Host::new();
    host.begins(&["a", "b"], Trigger::Boot);
    host.applied = stack(&["a"]);
    host.shuts_down(&["a"]);
    host.has("b", Verdict::New);
    // It was taken out by hand since.
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.applied.clear();
    host.lives(600);
    host.confirms(&[], &[]);
    host.has("a", Verdict::New);
}

#[test]
fn nothing_is_held_against_what_was_taken_out_before() {
    let mut host = Host::new();
    host.applies(&["a"], Trigger::Hand);
    host.applies(&[], Trigger::Hand);
    assert_eq!(host.guard().take_back(XEN, &host.running()), Written::default());
    host.goes_down();
    host.boots(&["a"], &["a"]);
    // Taken out by another tool, and noticed at the next ensure.
    host.applied.clear();
    host.applies(&["b"], Trigger::Hand);
    host.goes_down();
    host.boots(&["a"], &["a"]);
    host.has("b", Verdict::Suspect);
}

#[test]
fn payloads_that_nobody_began_are_not_confirmed() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    // Applied by another tool, a moment ago.
    host.applied = stack(&["a", "z"]);
    host.shuts_down(&[]);
    host.has("a", Verdict::Suspect);
    host.has("z", Verdict::New);
    // Next to others that are known, it does not hide their level.
    host.boots(&["b"], &["b"]);
    host.applied.push("z".to_owned());
    host.shuts_down(&["b"]);
    host.boots(&["a"], &["b"]);
}

#[test]
fn what_is_applied_already_is_not_refused() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    host.goes_down();
    host.applies(&["a"], Trigger::Retry);
    // The service is started again. It must not take out what runs.
    host.boots(&["a"], &["a"]);
    host.boots(&["a", "b"], &["a", "b"]);
}

#[test]
fn a_payload_that_can_not_be_identified_is_neither_survived_nor_taken_back() {
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
fn a_clean_end_makes_no_suspects_also_where_xen_can_not_be_asked() {
    let mut host = Host::new();
    host.boots(&["a"], &["a"]);
    let confirmed = host.guard().confirm("", None, Ending::Shutdown).expect("it can be written");
    assert_eq!(confirmed.survived, stack(&[]));
    host.goes_down();
    host.has("a", Verdict::New);
    host.boots(&["a"], &["a"]);
    // While it runs, that settles nothing.
    host.lives(600);
    let confirmed = host.guard().confirm("", None, Ending::Lived(600)).expect("it can be written");
    assert_eq!((confirmed.survived, confirmed.waiting), (stack(&[]), stack(&["a"])));
    host.goes_down();
    host.boots(&["a"], &[]);
}

#[test]
fn a_boot_is_not_counted_twice_and_its_crash_after_the_confirmation_is_not_the_payloads() {
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
fn nothing_begun_is_nothing_to_confirm() {
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
