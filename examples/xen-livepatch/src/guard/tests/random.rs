//! Random histories, compared with a model that follows the definitions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

const PAYLOADS: [&str; 4] = ["a", "b", "c", "d"];

/// An event in the life of a host.
#[derive(Clone, Debug)]
enum Event {
    /// An `ensure` that applies this many of its payloads before it ends, or is killed.
    Ensure {
        wanted: Vec<&'static str>,
        by: Trigger,
        applied: usize,
        ends: bool,
    },
    /// Time passes, in seconds.
    Lives(u64),
    /// The timer, or a shutdown, which ends the boot.
    Confirms(Ending),
    GoesDown,
}

fn event() -> impl Strategy<Value = Event> {
    let by = prop_oneof![3 => Just(Trigger::Boot), 1 => Just(Trigger::Retry), 1 => Just(Trigger::Hand)];
    let ensure = (subsequence(PAYLOADS.to_vec(), 0..=4), by, 0_usize..6, any::<bool>())
        .prop_map(|(wanted, by, applied, ends)| Event::Ensure { wanted, by, applied, ends });
    prop_oneof![
        4 => ensure,
        2 => prop_oneof![Just(1_u64), Just(599), Just(600)].prop_map(Event::Lives),
        2 => Just(Event::Confirms(Ending::Lived(600))),
        1 => Just(Event::Confirms(Ending::Shutdown)),
        2 => Just(Event::GoesDown),
    ]
}

/// The model: the payloads that a boot began, and those that have survived or gone down with a boot.
#[derive(Default)]
struct Oracle {
    begun: BTreeMap<&'static str, u64>,
    /// The payloads that this boot has survived already.
    safe: BTreeSet<&'static str>,
    survived: BTreeSet<&'static str>,
    suspect: BTreeSet<&'static str>,
}

impl Oracle {
    fn survives(&mut self, applied: &[&'static str], is_old: impl Fn(u64) -> bool) -> Vec<&'static str> {
        let seen: Vec<_> =
            applied.iter().copied().filter(|id| self.begun.get(id).copied().is_some_and(&is_old)).collect();
        for id in &seen {
            self.begun.remove(id);
            self.suspect.remove(id);
            self.survived.insert(id);
            self.safe.insert(id);
        }
        self.begun.retain(|id, since| applied.contains(id) || !is_old(*since));
        seen
    }

    fn goes_down(&mut self) {
        let new = std::mem::take(&mut self.begun).into_keys().filter(|id| !self.survived.contains(id));
        self.suspect.extend(new);
        self.safe.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_verdicts_follow_from_the_history(events in prop::collection::vec(event(), 1..40)) {
        let directory = Directory::new();
        let (mut oracle, mut boot, mut age, mut applied) = (Oracle::default(), 1, 10, Vec::<&'static str>::new());
        for event in events {
            let guard = directory.boot_at(boot, age);
            let now = running(&applied);
            let mut ends_boot = false;
            match event {
                Event::Ensure { mut wanted, by, applied: count, ends } => {
                    let Judgement { allowed, suspect, last_survived, .. } = guard.judge(XEN, &stack(&wanted), &now);
                    let refused =
                        wanted.iter().position(|id| oracle.suspect.contains(id) && !applied.contains(id));
                    prop_assert_eq!(allowed, refused.unwrap_or(wanted.len()));
                    prop_assert_eq!(suspect.is_some(), refused.is_some());
                    for id in last_survived.iter().flatten() {
                        prop_assert!(oracle.survived.contains(id.as_str()), "{} has not survived", id);
                    }
                    if by == Trigger::Boot {
                        wanted.truncate(allowed);
                    }
                    prop_assert_eq!(guard.begin(XEN, &stack(&wanted), &now, by), Written::default());
                    oracle.begun.retain(|id, _| applied.contains(id));
                    for id in &wanted {
                        let stays = applied.contains(id) && (oracle.begun.contains_key(id) || oracle.safe.contains(id));
                        if !stays {
                            oracle.begun.insert(id, age);
                        }
                    }
                    let is_whole = count >= wanted.len();
                    wanted.truncate(count);
                    applied = wanted;
                    if ends && !is_whole {
                        prop_assert_eq!(guard.take_back(XEN, &running(&applied)), Written::default());
                        oracle.begun.retain(|id, _| applied.contains(id));
                    }
                }
                Event::Lives(seconds) => age += seconds,
                Event::Confirms(ending) => {
                    let confirmed = guard.confirm(XEN, Some(&now), ending).expect("it can be written");
                    let is_old = |since| ending == Ending::Shutdown || age >= since + 600;
                    let survived = oracle.survives(&applied, is_old).into_iter().map(str::to_owned).collect();
                    prop_assert_eq!(BTreeSet::from_iter(confirmed.survived), survived);
                    let waiting: BTreeSet<_> = oracle.begun.keys().map(|&id| id.to_owned()).collect();
                    prop_assert_eq!(BTreeSet::from_iter(confirmed.waiting), waiting);
                    ends_boot = ending == Ending::Shutdown;
                }
                Event::GoesDown => ends_boot = true,
            }
            if ends_boot {
                oracle.goes_down();
                (boot, age) = (boot + 1, 10);
                applied.clear();
            }
            let (state, _) = directory.boot_at(boot, age).settled();
            for id in PAYLOADS {
                let verdict = match (oracle.survived.contains(id), oracle.suspect.contains(id)) {
                    (true, false) => Verdict::Survived,
                    (false, true) => Verdict::Suspect,
                    (false, false) => Verdict::New,
                    (true, true) => panic!("{id} is both"),
                };
                prop_assert_eq!(state.verdict(XEN, id), verdict, "{}", id);
            }
        }
    }
}
