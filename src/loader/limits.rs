//! How much there is of what a payload may name: processor features, and Xen's own image.

use crate::target::Target;

/// The words of processor features that alternatives may name, by series, from which point release on: how many
/// features there are is 32 times that. (`NCAPINTS`; it grew with the features that processors and mitigations got.)
const FEATURE_WORDS: [(u16, u16, u16); 32] = [
    (7, 0, 10),
    (7, 5, 11),
    (8, 0, 10),
    (8, 4, 11),
    (9, 0, 11),
    (10, 0, 11),
    (11, 0, 11),
    (12, 0, 11),
    (13, 0, 13),
    (14, 0, 13),
    (14, 5, 16),
    (14, 6, 19),
    (15, 0, 13),
    (15, 3, 16),
    (15, 5, 19),
    (16, 0, 14),
    (16, 1, 16),
    (16, 4, 18),
    (16, 5, 19),
    (17, 0, 16),
    (17, 1, 18),
    (17, 2, 19),
    (17, 6, 21),
    (18, 0, 19),
    (18, 6, 21),
    (19, 0, 19),
    (19, 3, 21),
    (20, 0, 19),
    (20, 1, 21),
    (21, 0, 21),
    (21, 1, 22),
    (22, 0, 22),
];

/// How many features this Xen knows: at least, and at most.
pub(crate) fn features(target: &Target) -> (u32, u32) {
    let (major, minor) = target.release();
    let newest = if major > 4 { 22 } else { minor.min(22) };
    let rows = FEATURE_WORDS.iter().filter(|(series, ..)| *series == newest);
    let (mut least, mut most) = (u16::MAX, 0);
    for (_, first, words) in rows {
        match target.known_point() {
            Some(point) if point < *first => {}
            Some(_) => (least, most) = (*words, *words),
            None => (least, most) = (least.min(*words), most.max(*words)),
        }
    }
    (u32::from(least).saturating_mul(32), u32::from(most).saturating_mul(32))
}

/// Where Xen's own image is on x86: 2 MiB past the start of its gigabyte of the address space (seen on 4.11, 4.13, 4.16
/// to 4.18, 4.20 and 4.22), 1 MiB on 4.7 and perhaps a few after it. It ends before 16 MiB, where that is depends on the build.
pub(crate) fn image(target: &Target) -> core::ops::Range<u64> {
    let start = if target.since((4, 14)) { 0xffff_82d0_4000_0000 } else { 0xffff_82d0_8000_0000 };
    let offset = if target.since((4, 11)) { 2 << 20 } else { 1 << 20 };
    start + offset..start + (16 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_grow_with_point_releases() {
        let of = |minor, point: Option<u16>| features(&point.into_iter().fold(Target::new((4, minor)), Target::point));
        assert_eq!(of(7, Some(4)), (320, 320));
        assert_eq!(of(14, None), (13 * 32, 19 * 32));
        assert_eq!(of(14, Some(5)), (16 * 32, 16 * 32));
        assert_eq!(of(17, Some(7)), (21 * 32, 21 * 32));
        assert_eq!(of(22, Some(9)), (22 * 32, 22 * 32));
        assert_eq!(of(23, None), (22 * 32, 22 * 32));
        assert_eq!(features(&Target::new((5, 0))), (22 * 32, 22 * 32));
        assert!(FEATURE_WORDS.is_sorted());
    }
}
