use super::*;

/// The answer of LIST: rows of name, state and metadata, and the fields written back.
#[derive(Debug)]
pub(super) struct Listed {
    result: Result<u32, Errno>,
    pub(super) names: Vec<String>,
    metadata: Vec<String>,
    version: u32,
    remaining: u32,
    totals: (u32, u32),
}

fn strings(lens: &[u8], bytes: &[u8], rows: u32, stride: Option<usize>) -> Vec<String> {
    let mut at = 0;
    (0..usize::try_from(rows).unwrap())
        .map(|row| {
            let len = usize::try_from(u32::from_le_bytes(lens[row * 4..row * 4 + 4].try_into().unwrap())).unwrap();
            let text = String::from_utf8_lossy(&bytes[at..at + len]).into_owned();
            at += stride.unwrap_or(len);
            text
        })
        .collect()
}

pub(super) fn list(xen: &SimulatedXen, start: u32, rows: u32, room: (u32, u32)) -> Listed {
    let request = livepatch(xen, 2).word(20, start).word(24, rows).word(32, room.0).word(36, room.1);
    let packed = xen.release() >= Release::V4_14;
    let buffers: &[usize] = if packed { &[40, 48, 56, 64, 72] } else { &[32, 40, 48] };
    let request = buffers.iter().fold(request, |request, offset| request.memory(*offset, [0xee; 4096]));
    let answer = request.answer(xen);
    let (result, memory) = (answer.result, &answer.memory);
    let rows = result.unwrap_or_default();
    let stride = (!packed).then_some(128);
    Listed {
        result,
        names: strings(&memory[2], &memory[1], rows, stride),
        metadata: if packed { strings(&memory[4], &memory[3], rows, None) } else { Vec::new() },
        version: answer.word(16),
        remaining: answer.word(24),
        totals: if packed { (answer.word(32), answer.word(36)) } else { (0, 0) },
    }
}

const PLENTY: (u32, u32) = (4096, 4096);

fn loaded(release: Release) -> SimulatedXen {
    let xen = SimulatedXen::new(release);
    for name in ["a", "bb", "ccc"] {
        let payload = builder(&xen, name).metadata("name", Some(name)).build();
        assert_eq!(upload(&xen, name, &payload), Ok(0));
    }
    xen
}

#[test]
fn rows_come_in_upload_order_in_each_layout() {
    for (xen, packed) in Release::ALL.map(|release| (loaded(release), release >= Release::V4_14)) {
        let all = list(&xen, 0, 9, PLENTY);
        assert_eq!((all.result, all.remaining, all.version), (Ok(3), 0, 4), "{}", xen.release());
        assert_eq!(all.names, ["a\0", "bb\0", "ccc\0"]);
        if packed {
            assert_eq!(all.metadata, ["name=a\0", "name=bb\0", "name=ccc\0"]);
            assert_eq!(all.totals, (9, 24));
        }
        let some = list(&xen, 1, 1, PLENTY);
        assert_eq!((some.result, some.remaining, some.names), (Ok(1), 1, vec!["bb\0".to_owned()]));
        let none = list(&xen, 2, 0, (7, 7));
        assert_eq!((none.result, none.remaining, none.version), (Ok(0), 3, 4));
        assert_eq!(none.totals, if packed { (9, 24) } else { (0, 0) });
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_whole() {
    for release in Release::ALL {
        let xen = loaded(release);
        let outside = 1 << 47;
        for (request, errno) in [
            (livepatch(&xen, 2).word(24, 1025).word(28, 1), Errno::E2BIG),
            (livepatch(&xen, 2).word(24, 1024).word(28, 1), Errno::EINVAL),
            (livepatch(&xen, 2).word(20, 3).word(24, 1), Errno::EINVAL),
            (livepatch(&xen, 2).word(20, 3), Errno::EINVAL),
            (livepatch(&xen, 2).word(24, 1).long(40, outside), Errno::EINVAL),
        ] {
            let answer = request.answer(&xen);
            assert_eq!((answer.result, answer.word(16)), (Err(errno), 0), "{release}: no version");
        }
        let empty = SimulatedXen::new(release);
        let listed = list(&empty, 17, 5, PLENTY);
        assert_eq!((listed.result, listed.remaining, listed.version), (Ok(0), 0, 1), "any start will do");
    }
}

#[test]
fn only_from_4_21_on_is_the_room_looked_at() {
    for release in Release::ALL.into_iter().filter(|release| *release >= Release::V4_14) {
        let told = release >= Release::V4_21;
        let xen = loaded(release);
        for room in [(4, 4096), (4096, 14)] {
            let short = list(&xen, 0, 3, room);
            assert_eq!(short.result, if told { Err(Errno::ENOBUFS) } else { Ok(3) }, "{release} {room:?}");
            if told {
                assert_eq!((short.version, short.remaining, short.totals), (4, 1, (2, 7)));
            }
        }
        assert_eq!(list(&xen, 0, 3, (9, 24)).result, Ok(3));
    }
}

#[test]
fn a_fault_in_the_middle_loses_the_count() {
    for (release, totals) in [(Release::V4_17, (5, 8213)), (Release::V4_22, (2, 7))] {
        let xen = loaded(release);
        let long = builder(&xen, "long").modinfo([&[b'm'; 8205][..], b"\0"].concat()).build();
        assert_eq!(action(&xen, "bb", UNLOAD).and(action(&xen, "ccc", UNLOAD)), Ok(0));
        assert_eq!(upload(&xen, "cc", &long), Ok(0));
        let listed = list(&xen, 0, 2, (4096, 100_000));
        assert_eq!(listed.result, Err(Errno::EFAULT));
        assert_eq!((listed.version, listed.remaining), (7, 0), "{release}");
        assert_eq!(listed.totals, totals, "{release}");
    }
}

#[test]
fn lists_can_be_made_to_stop_early() {
    let xen = loaded(Release::V4_13);
    xen.on_list().stop_after(2);
    let short = list(&xen, 0, 3, PLENTY);
    assert_eq!((short.result, short.remaining), (Ok(2), 1));
    xen.on_list().stop_after(0);
    assert_eq!(list(&xen, 2, 3, PLENTY).result, Ok(1), "one at least");
    assert_eq!(list(&xen, 0, 3, PLENTY).result, Ok(3));
}

#[test]
fn the_version_counts_uploads_and_unloads_alone() {
    let xen = loaded(Release::V4_20);
    let version = |xen: &SimulatedXen| list(xen, 0, 0, PLENTY).version;
    assert_eq!(done(&xen, "a", APPLY), (2, 0));
    assert_eq!(done(&xen, "bb", REPLACE), (2, 0));
    assert_eq!(done(&xen, "bb", REVERT), (1, 0));
    assert_eq!(upload(&xen, "bad", b"bad"), Err(Errno::EINVAL));
    assert_eq!(version(&xen), 4);
    assert_eq!(action(&xen, "a", UNLOAD), Ok(0));
    assert_eq!(version(&xen), 5);
}

#[test]
fn addresses_at_the_end_of_the_world_are_faults() {
    for release in [Release::V4_13, Release::V4_14] {
        let xen = loaded(release);
        for offset in [32, 40, 48, 56, 64, 72] {
            let request = livepatch(&xen, 2).word(24, 3).long(offset, u64::MAX);
            assert_eq!(request.result(&xen), Err(Errno::EFAULT), "{release} {offset}");
        }
    }
}
