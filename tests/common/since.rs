//! Point releases that introduced rules of Xen.

use xen_livepatch::Release;

/// Returns true for 4.`first`.0 and later, and for backports to older series: minor number and first point.
pub fn since(release: Release, first: u16, backports: &[(u16, u16)]) -> bool {
    let backported = |(minor, point): &(u16, u16)| release.minor() == *minor && release.point() >= *point;
    release.minor() >= first || backports.iter().any(backported)
}

/// A relocation against symbol 0 is refused (commit 2ff229643b).
pub fn refuses_symbol_0(release: Release) -> bool {
    since(release, 10, &[(7, 4), (8, 2), (9, 1)])
}

/// Alternatives have to be inside the payload's code (commit e74360e4ba).
pub fn checks_alternatives(release: Release) -> bool {
    since(release, 18, &[(17, 4)])
}

/// An alternative that is wrong is refused and does no harm (commit aa5a06d5d6).
pub fn refuses_alternatives(release: Release) -> bool {
    since(release, 20, &[(18, 4), (19, 1)])
}

/// The highest bit of a feature turns it around (commit 328ed39c59).
pub fn negates_alternatives(release: Release) -> bool {
    since(release, 21, &[(17, 6), (18, 5), (19, 3), (20, 1)])
}

/// UNLOAD waits for all processors (commit a57b4074ab).
pub fn waits_to_unload(release: Release) -> bool {
    since(release, 19, &[(17, 4), (18, 1)])
}

/// The table of functions may be read-only: Xen does not write to it, or writes to all of its memory (commits 8676092a0f
/// and 82182ad7b4).
pub fn leaves_functions_alone(release: Release, arm: bool) -> bool {
    let elsewhere = since(release, 19, &[(17, 3), (18, 1)]);
    elsewhere || (!arm && !since(release, 18, &[(16, 4), (17, 1)]))
}
