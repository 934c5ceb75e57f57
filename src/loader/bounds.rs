//! The check for a Xen with only bounds on its point release: certain and possible findings.
//!
//! The loader is run once for each way in which the point releases within the bounds differ. A finding that all of them report
//! is certain, and one that some report is possible, so that no rule of the loader depends on bounds.

use std::collections::HashMap;

use super::finding::{Finding, Severity};
use super::problem::Problem;
use super::{Checked, check_for, is_fit_for, machine};
use crate::xen::elf::Elf;
use crate::xen::release::Release;
use crate::xen::rules;
use crate::xen::target::Target;

/// Checks a payload for a Xen of which only bounds on the release may be known.
pub(crate) fn check<'d>(elf: &Elf<'d>, target: &Target) -> Checked<'d> {
    let (oldest, newest) = target.range();
    if oldest == newest {
        return check_for(elf, oldest, target);
    }
    let releases = target.releases();
    let mut groups = alike(&releases);
    let Checked { findings, new_symbols } = check_for(elf, oldest, target);
    let Some(first) = groups.next().filter(|first| first.len() < releases.len()) else {
        return Checked { findings, new_symbols };
    };
    let mut merged = Merged::default();
    merged.add(first, findings);
    for group in groups {
        merged.add(group, group.first().map_or_else(Vec::new, |release| check_for(elf, *release, target).findings));
    }
    Checked { findings: merged.into_findings(&releases), new_symbols }
}

/// The point releases that can take a payload: those for which the check finds nothing.
pub(crate) fn fit_for(elf: &Elf<'_>) -> Vec<Release> {
    let mut fit = Vec::new();
    for last in Release::ALL {
        let releases = Target::new(last.series()).releases();
        let groups = alike(&releases).filter(|group| group.first().is_some_and(|release| is_fit_for(elf, *release)));
        fit.extend(groups.flatten());
    }
    fit
}

/// The releases of a series, in groups that load payloads in the same way.
fn alike(releases: &[Release]) -> impl Iterator<Item = &[Release]> {
    releases.chunk_by(|_, next| !differs_from_the_one_before(*next))
}

fn differs_from_the_one_before(release: Release) -> bool {
    let backports = rules::ALL.iter().flat_map(|(_, rule)| rule.backports);
    let mut rules = backports.filter(|(minor, _)| *minor == release.minor()).map(|(_, point)| *point);
    rules.any(|point| point == release.point())
        || machine::feature_changes(release.minor()).any(|point| point == release.point())
}

/// The finding of the first release that reports it, with its severity in each of them.
struct MergedFinding {
    finding: Finding,
    reported: Vec<(Release, Severity)>,
}

/// The findings of several groups of releases.
#[derive(Default)]
struct Merged {
    entries: Vec<MergedFinding>,
    /// The index of each problem: a hostile file can have many thousands.
    indices: HashMap<Problem, usize>,
}

impl Merged {
    fn add(&mut self, group: &[Release], findings: Vec<Finding>) {
        for finding in findings {
            let reported = group.iter().map(|release| (*release, finding.severity));
            let next = self.entries.len();
            let index = *self.indices.entry(finding.problem.clone().of_one()).or_insert(next);
            let Some(entry) = self.entries.get_mut(index) else {
                self.entries.push(MergedFinding { reported: reported.collect(), finding });
                continue;
            };
            entry.reported.extend(reported);
            entry.finding.at_upload &= finding.at_upload;
            entry.finding.errno = entry.finding.errno.or(finding.errno);
        }
    }

    fn into_findings(self, all: &[Release]) -> Vec<Finding> {
        self.entries.into_iter().map(|entry| entry.into_finding(all)).collect()
    }
}

impl MergedFinding {
    fn into_finding(self, all: &[Release]) -> Finding {
        let Self { finding, reported } = self;
        let with = |severities: &[Severity]| -> Vec<Release> {
            let has =
                |release: &&Release| reported.iter().any(|(of, found)| of == *release && severities.contains(found));
            all.iter().filter(has).copied().collect()
        };
        let harmed = with(&[Severity::Harmful, Severity::PossiblyHarmful]);
        let affected = with(&[Severity::Refused, Severity::Unnoticed, Severity::Harmful, Severity::PossiblyHarmful]);
        let (severity, releases) = match () {
            () if with(&[Severity::Harmful]) == all => (Severity::Harmful, Vec::new()),
            () if harmed == all => (Severity::PossiblyHarmful, Vec::new()),
            () if !harmed.is_empty() => (Severity::PossiblyHarmful, harmed),
            () if affected != all => (Severity::Possible, affected),
            () if with(&[Severity::Unnoticed]).is_empty() => (Severity::Refused, Vec::new()),
            () => (Severity::Unnoticed, Vec::new()),
        };
        let errno = finding.errno.filter(|_| severity != Severity::Harmful && severity != Severity::Unnoticed);
        Finding { severity, errno, releases, ..finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::errno::Errno;

    fn of(minor: u16, points: core::ops::RangeInclusive<u16>) -> Vec<Release> {
        points.map(|point| Release::of(minor, point)).collect()
    }

    #[test]
    fn releases_are_alike_between_changes() {
        let releases = of(17, 0..=7);
        let starts: Vec<u16> = alike(&releases).filter_map(|group| Some(group.first()?.point())).collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 6]);
        assert_eq!(alike(&of(17, 4..=5)).count(), 1);
        assert_eq!(alike(&of(13, 0..=5)).count(), 3, "for Arm's features");
        assert_eq!(alike(&of(9, 2..=4)).count(), 1);
    }

    /// Findings of 4.17.0, 4.17.1 and 4.17.2, merged.
    fn merged(severities: [Option<Severity>; 3]) -> Option<(Severity, Vec<u16>)> {
        let releases = of(17, 0..=2);
        let mut merged = Merged::default();
        for (release, severity) in releases.iter().zip(severities) {
            let errno = (severity == Some(Severity::Refused)).then_some(Errno::EINVAL);
            let finding = severity.map(|severity| Finding::new(severity, errno, Problem::ReadOnlyFunctions));
            merged.add(&[*release], finding.into_iter().collect());
        }
        let finding = merged.into_findings(&releases).into_iter().next()?;
        let worse = matches!(finding.severity, Severity::Unnoticed | Severity::Harmful);
        assert_eq!(finding.errno.is_some(), severities.contains(&Some(Severity::Refused)) && !worse);
        Some((finding.severity, finding.releases.iter().map(|release| release.point()).collect()))
    }

    #[test]
    fn findings_of_all_releases_are_certain_and_of_some_possible() {
        use Severity::{Harmful, Possible, PossiblyHarmful, Refused, Unnoticed};
        let (no, refused, unnoticed, harmful) = (None, Some(Refused), Some(Unnoticed), Some(Harmful));
        let perhaps = Some(PossiblyHarmful);
        for (severities, expected) in [
            ([no, no, no], None),
            ([refused, refused, refused], Some((Refused, vec![]))),
            ([unnoticed, unnoticed, unnoticed], Some((Unnoticed, vec![]))),
            ([harmful, harmful, harmful], Some((Harmful, vec![]))),
            ([refused, unnoticed, refused], Some((Unnoticed, vec![]))),
            ([refused, no, refused], Some((Possible, vec![0, 2]))),
            ([no, unnoticed, no], Some((Possible, vec![1]))),
            ([no, harmful, harmful], Some((PossiblyHarmful, vec![1, 2]))),
            ([harmful, refused, refused], Some((PossiblyHarmful, vec![0]))),
            ([harmful, no, refused], Some((PossiblyHarmful, vec![0]))),
            ([perhaps, perhaps, perhaps], Some((PossiblyHarmful, vec![]))),
            ([perhaps, harmful, harmful], Some((PossiblyHarmful, vec![]))),
            ([perhaps, no, refused], Some((PossiblyHarmful, vec![0]))),
        ] {
            assert_eq!(merged(severities), expected, "{severities:?}");
        }
    }
}
