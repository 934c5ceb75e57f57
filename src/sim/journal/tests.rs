//! Damaged journals are errors, and what is none is no harm.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::error::Action;
use crate::sim::{FunctionPatch, LogLevel, Pace, PayloadBuilder, Release, SimulatedXen};
use crate::types::flags::Flags;

/// One with an event of each kind.
fn journal() -> Journal {
    let xen = SimulatedXen::builder(Release::V4_17).recorded().build();
    let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fix"));
    xen.print("first");
    xen.other_upload("fix", &fix.build()).unwrap();
    xen.set_pace(Pace::Polls(2));
    xen.other_action("fix", Action::Apply, Flags::empty()).unwrap();
    xen.other_start("fix", Action::Revert, Flags::empty()).unwrap();
    crate::sim::RawSysctl::livepatch(Release::V4_17, 1).send(&xen).unwrap();
    xen.finish_action();
    xen.print("second");
    crate::sim::RawSysctl::read_console(Release::V4_17)
        .bytes(8, &[1])
        .memory(16, [0; 64])
        .word(24, 64)
        .send(&xen)
        .unwrap();
    crate::sim::RawSysctl::debug_keys(Release::V4_17).memory(8, *b"x").word(16, 1).send(&xen).unwrap();
    xen.set_log_level(LogLevel::Errors);
    xen.set_pace(Pace::Time(Duration::from_secs(1000)));
    xen.other_start("fix", Action::Apply, Flags::empty()).unwrap();
    let journal = xen.journal().unwrap();
    let mut kinds: Vec<_> = journal.events.iter().map(core::mem::discriminant).collect();
    kinds.dedup();
    let distinct = kinds.iter().enumerate().filter(|(at, kind)| !kinds[..*at].contains(kind)).count();
    assert_eq!(distinct, 10, "{:?}", journal.events.iter().map(core::mem::discriminant).collect::<Vec<_>>());
    journal
}

fn replay(journal: &Journal) -> Result<(), JournalError> {
    SimulatedXen::builder(journal.release()).build_id(journal.build_id()).replay(journal).map(drop)
}

#[test]
fn what_was_written_is_read() {
    let journal = journal();
    let read = Journal::from_bytes(&journal.to_bytes()).unwrap();
    assert_eq!((read.events.as_slice(), &read), (journal.events.as_slice(), &journal));
    assert_eq!(replay(&read), Ok(()));
    assert!(!format!("{read:?}").contains("ELF"));
}

#[test]
fn every_damaged_byte_is_found() {
    let good = journal().to_bytes();
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let error = Journal::from_bytes(&bytes).unwrap_err();
            match at {
                0..8 => assert_eq!(error, JournalError::NotAJournal),
                8..10 => assert!(matches!(error, JournalError::UnknownVersion { known: 1, .. })),
                _ => assert_eq!(error, JournalError::Damaged { problem: "its sum is wrong" }),
            }
        }
        assert!(Journal::from_bytes(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(Journal::from_bytes(&[&good[..], &[0]].concat()).is_err());
    assert!(Journal::from_bytes(&[&good[..], &good[..]].concat()).is_err());
}

#[test]
fn what_cannot_be_is_refused_though_the_sum_is_right() {
    let good = journal().to_bytes();
    let body = &good[18..];
    for at in 0..body.len() {
        assert!(Journal::from_bytes(&bytes::sealed(&body[..at])).is_err(), "cut at {at}");
    }
    let more = bytes::sealed(&[body, &[0]].concat());
    assert_eq!(Journal::from_bytes(&more), Err(JournalError::Damaged { problem: "there is more after its end" }));
    // Any byte of what is not a file: a journal or an error, and a host or an error.
    let (mut journals, mut hosts) = (0, 0);
    for at in (0..80).chain(body.len().saturating_sub(400)..body.len()) {
        for value in [0, 1, 2, 5, 11, 0x7f, 0xff] {
            let mut body = body.to_vec();
            body[at] = value;
            let Ok(journal) = Journal::from_bytes(&bytes::sealed(&body)) else { continue };
            journals += 1;
            hosts += u32::from(replay(&journal).is_ok());
        }
    }
    assert!(hosts > 0 && journals > hosts, "{journals} {hosts}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(body in vec(prop_oneof![3 => 0..12_u8, 1 => any::<u8>()], 0..200), seal in any::<bool>()) {
        let bytes = if seal { bytes::sealed(&body) } else { body };
        if let Ok(journal) = Journal::from_bytes(&bytes) {
            let _ = replay(&journal);
        }
    }

    #[test]
    fn any_events_are_replayed_or_refused(tail in vec(prop_oneof![5 => 0..12_u8, 1 => any::<u8>()], 0..60), count in 0..8_u32) {
        // The host of a good one, no files, and events of any kind.
        let empty = SimulatedXen::builder(Release::V4_17).recorded().build().journal().unwrap().to_bytes();
        let host = &empty[18..empty.len() - 4];
        let body = [host, &count.to_le_bytes(), &tail].concat();
        // Read up to where they end.
        for end in host.len()..=body.len() {
            if let Ok(journal) = Journal::from_bytes(&bytes::sealed(&body[..end])) {
                let _ = replay(&journal);
            }
        }
    }
}
