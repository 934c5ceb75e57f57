//! Any file is read and checked without a panic and in time.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::prelude::*;

/// Has a file read, checked and printed, and tried on simulated Xens.
fn exercise(bytes: &[u8]) {
    let start = Instant::now();
    crate::any::check(bytes);
    for release in [Release::V4_7, Release::V4_14, Release::V4_17, Release::V4_22] {
        let xen = SimulatedXen::builder(release).build_id(Some(xen())).build();
        let _ = xen.other_upload("p", bytes);
        for action in [Action::Apply, Action::Revert] {
            let _ = (xen.other_action("p", action, Flags::NODEPS), RawVersion::new(1).argument([0; 16]).send(&xen));
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

fn good() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(HOOKED.to_vec()),
        Just(EXTRA_VERSION.to_vec()),
        Just(STACKED.to_vec()),
        Just(Editor::version_1().bytes)
    ]
}

/// Numbers at the limits of arithmetic, and others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 7),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        0..5000_u64,
        any::<u64>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..2000)) {
        exercise(&bytes);
    }

    #[test]
    fn any_bytes_after_a_header(bytes in vec(any::<u8>(), 0..4000)) {
        let file = [&HOOKED[..40], &64_u64.to_le_bytes(), &HOOKED[48..64], &bytes].concat();
        exercise(&file);
    }

    #[test]
    fn bytes_flipped(file in good(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut file = file;
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] ^= byte;
        }
        exercise(&file);
    }

    #[test]
    fn cut_off(file in good(), at in any::<prop::sample::Index>()) {
        exercise(&file[..at.index(file.len())]);
    }

    #[test]
    fn bytes_put_in(file in good(), at in any::<prop::sample::Index>(), more in vec(any::<u8>(), 1..100)) {
        let mut file = file;
        let at = at.index(file.len());
        file.splice(at..at, more);
        exercise(&file);
    }

    /// Fields with sizes and offsets.
    #[test]
    fn section_headers_that_lie(
        file in good(),
        lies in vec((any::<prop::sample::Index>(), 0..10_usize, number()), 1..8),
    ) {
        let mut file = Editor { bytes: file };
        let fields = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)];
        let (table, count) = (file.get(0, header::TABLE), file.get(0, header::COUNT));
        for (section, field, value) in lies {
            file = file.put(table + 64 * section.index(count), fields[field], value);
        }
        exercise(&file.bytes);
    }
}
