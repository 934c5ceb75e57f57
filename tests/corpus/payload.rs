//! Properties of every file, with any contents.
//!
//! The fuzz target `payload` includes this file.

use xen_livepatch::payload::Architecture;
use xen_livepatch::{BuildId, Finding, Payload, Problem, ProblemKind, Release, Severity, Target};

/// The most bytes of a name, and of an escaped one.
const NAME: usize = 128;
const ESCAPED: usize = 6 * NAME;

/// Reads and checks a file in every way there is.
///
/// # Panics
/// When something that holds of every file does not hold of this one.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(payload) = Payload::parse(bytes) else { return };
    assert_eq!(payload.bytes(), bytes);
    contents(&payload, bytes);
    texts(&payload, bytes.len());
    let fit = payload.releases();
    for last in [Release::V4_7, Release::V4_13, Release::V4_14, Release::V4_17, Release::V4_20, Release::V4_22] {
        bounds(&payload, last, &fit);
        let target = Target::new(last.series());
        let own = payload.xen_depends().cloned().unwrap_or_else(|| BuildId::new([0xab; 20]));
        let known = findings(&payload, &Target::from(last).build_id(own).architecture(payload.architecture()));
        let _ = findings(&payload, &target.build_id(BuildId::new([])).architecture(Architecture::AArch64));
        // A fact that is not known is not held against a payload.
        for finding in findings(&payload, &Target::from(last)).iter().filter(|_| known.is_empty()) {
            let architecture = matches!(finding.problem, Problem::Architecture { .. });
            assert!(finding.hurts_xen() || architecture, "{last} {finding:?}");
        }
        let _ = payload.reapply(last.series());
    }
}

/// A finding is certain where all point releases have it, and possible where some have, with the worst of what it means.
fn bounds(payload: &Payload, last: Release, fit: &[Release]) {
    let points: Vec<Release> = (0..=last.point()).map(|point| last.at(point)).collect();
    let exact: Vec<Vec<Finding>> = points.iter().map(|release| findings(payload, &Target::from(*release))).collect();
    for (release, found) in points.iter().zip(&exact) {
        assert_eq!(found.is_empty(), fit.contains(release), "{release}");
        assert!(found.iter().all(|finding| finding.severity.is_certain() && finding.releases.is_empty()));
    }
    let merged = findings(payload, &Target::new(last.series()));
    assert_eq!(merged.is_empty(), exact.iter().all(Vec::is_empty), "{last}");
    let of = |kind: ProblemKind, severities: &[Severity]| -> Vec<Release> {
        let has = |found: &[Finding]| found.iter().any(|f| f.kind() == kind && severities.contains(&f.severity));
        points.iter().zip(&exact).filter(|(_, found)| has(found)).map(|(release, _)| *release).collect()
    };
    for finding in &merged {
        let harmed = of(finding.kind(), &[Severity::Harmful, Severity::PossiblyHarmful]);
        let surely = of(finding.kind(), &[Severity::Harmful]);
        let reported = of(finding.kind(), &[Severity::Harmful, Severity::Refused, Severity::Unnoticed]);
        let holds = match finding.severity {
            Severity::Harmful => surely == points,
            Severity::PossiblyHarmful if finding.releases.is_empty() => harmed == points,
            Severity::PossiblyHarmful => finding.releases.iter().all(|release| harmed.contains(release)),
            Severity::Possible => !finding.releases.is_empty() && finding.releases.iter().all(|r| reported.contains(r)),
            _ => reported == points,
        };
        assert!(holds, "{last} {finding:?}: {harmed:?} {reported:?}");
    }
    for found in exact.iter().flatten() {
        let worse = |merged: &&Finding| merged.kind() == found.kind() && (merged.hurts_xen() || !found.hurts_xen());
        assert!(merged.iter().any(|merged| worse(&merged)), "{last} {found:?}");
    }
}

/// Asserts that all parts are in the file, and are no larger than it.
fn contents(payload: &Payload, bytes: &[u8]) {
    for id in [payload.build_id(), payload.depends(), payload.xen_depends()].into_iter().flatten() {
        assert_is_in(id.as_bytes(), bytes);
    }
    assert_is_in(payload.metadata().as_bytes(), bytes);
    let pairs = payload.metadata().pairs().map(|(key, value)| key.len() + value.map_or(0, |value| 1 + value.len()));
    assert!(pairs.sum::<usize>() <= payload.metadata().as_bytes().len());

    assert!(payload.functions().len() <= bytes.len() / 64);
    assert!(payload.functions().first().is_none_or(|first| Some(first.version) == payload.version()));
    for function in payload.functions() {
        assert!(function.name.as_ref().is_none_or(|name| (1..=NAME).contains(&name.as_bytes().len())));
        assert!(function.expectation.as_ref().is_none_or(|e| e.bytes.len() <= 31 && e.reserved < 4));
    }
    assert!(payload.hooks().len() <= bytes.len() / 32);
    assert!(payload.hooks().is_sorted_by_key(|hook| hook.kind));
    assert!(payload.writable_sections().len() <= bytes.len() / 64);
    assert!(payload.writable_sections().iter().all(|name| name.as_bytes().len() <= NAME));
}

/// Texts are of one screen or in proportion to the file, and make no terminal act.
fn texts(payload: &Payload, len: usize) {
    let screen = payload.to_string();
    assert!(screen.lines().count() <= 40 && screen.len() <= 20_000, "{screen:?}");
    assert!(!screen.chars().any(|c| c.is_control() && c != '\n'), "{screen:?}");

    // Three names a function of at least 64 bytes, one a hook of 32 and a section of 64; escapes are escaped again.
    let names = len / 64 * 3 + len / 32 + len / 64;
    let most = 4096 + 2 * ESCAPED * names + 12 * len;
    assert!(serde_json::to_string(payload).unwrap().len() <= most);
    assert!(format!("{payload:?}").len() <= most);
}

/// The findings, of which there are no more than fit into the file, each of one line.
fn findings(payload: &Payload, target: &Target) -> Vec<Finding> {
    let len = payload.bytes().len();
    let findings = payload.check_against(target);
    // At most ten a section of 64 bytes, two a relocation of 24, six a function of 64; the others once each.
    assert!(findings.len() <= 64 + len / 64 * 10 + len / 24 * 2 + len / 64 * 6, "{}", findings.len());
    for finding in &findings {
        let text = finding.to_string();
        assert!(!text.is_empty() && text.len() < 2000 && !text.chars().any(char::is_control), "{text:?}");
    }
    assert!(serde_json::to_string(&findings).unwrap().len() <= 4096 * findings.len() + 2);
    findings
}

/// Asserts that a part is in the file, by its first bytes: the time for all of them could grow with the square of the size.
fn assert_is_in(part: &[u8], whole: &[u8]) {
    let start = &part[..part.len().min(64)];
    assert!(part.len() <= whole.len());
    assert!(start.is_empty() || whole.windows(start.len()).any(|window| window == start), "{start:?}");
}
