//! The check of relocations.

use object::elf::{R_AARCH64_NONE, R_X86_64_64, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_PLT32};
use object::elf::{RelocationType, SHT_REL, SHT_RELA};

use super::super::elf::{Elf, LE, RELOCATION_SIZE, Relocation, Section, relocations_in, symbol_index};
use super::super::finding::{Finding, RelocationProblem, RelocationSectionProblem};
use super::super::target::{Architecture, Target};
use super::{Release, name_of, wide};

/// The releases whose first point releases follow a symbol number without looking at it, and the first that look.
const FOLLOWS_ANY_SYMBOL: [(Release, u16); 3] = [((4, 7), 4), ((4, 8), 2), ((4, 9), 1)];

/// From when on every point release looks whether a symbol is in a section that it loads.
const LOOKS_FOR_LOADED: Release = (4, 17);

pub(super) fn check(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    let mut left = elf.data.len() / RELOCATION_SIZE;
    let x86 = Architecture::from_raw(elf.header.e_machine.get(LE).0) == Architecture::X86_64;
    let crashes_xen = target.may_precede(&FOLLOWS_ANY_SYMBOL);
    for section in elf.sections.iter().skip(1).filter(|section| matches!(section.kind, SHT_REL | SHT_RELA)) {
        if section.info == 0 {
            let problem = RelocationSectionProblem::NullSection;
            findings.push(Finding::RelocationSection { section: name_of(section), problem });
        }
        // Xen leaves alone what is for a section that it does not load.
        let base = elf.section_at(section.info).filter(|base| base.is_allocated() && base.size > 0);
        let Some(base) = base.filter(|_| section.size > 0 && section.is_complete()) else { continue };
        findings.extend(
            section_problems(elf, section, x86)
                .into_iter()
                .flatten()
                .map(|problem| Finding::RelocationSection { section: name_of(section), problem }),
        );
        if section.kind != SHT_RELA || section.entry_size != wide(RELOCATION_SIZE) {
            continue;
        }
        let relocations = relocations_in(section);
        let Some(rest) = left.checked_sub(relocations.len()) else {
            findings.push(Finding::Overlapping);
            return;
        };
        left = rest;
        let within = Within { elf, base, x86, crashes_xen, looks_for_loaded: target.since(LOOKS_FOR_LOADED) };
        within.check(section, relocations, findings);
    }
}

fn section_problems(elf: &Elf<'_>, section: &Section<'_>, x86: bool) -> [Option<RelocationSectionProblem>; 3] {
    let linked = usize::try_from(section.link).ok();
    let without_addends = x86 && section.kind == SHT_REL;
    let wrong_size = section.kind == SHT_RELA
        && (section.entry_size < wide(RELOCATION_SIZE) || section.size % section.entry_size != 0);
    [
        (elf.symbol_table.is_some() && linked != elf.symbol_table)
            .then_some(RelocationSectionProblem::SymbolTable { found: section.link }),
        wrong_size.then_some(RelocationSectionProblem::EntrySize { found: section.entry_size }),
        without_addends.then_some(RelocationSectionProblem::WithoutAddends),
    ]
}

/// What a relocation is looked at against.
struct Within<'e, 'd> {
    elf: &'e Elf<'d>,
    base: &'e Section<'d>,
    x86: bool,
    crashes_xen: bool,
    looks_for_loaded: bool,
}

impl Within<'_, '_> {
    fn check(&self, section: &Section<'_>, relocations: &[Relocation], findings: &mut Vec<Finding>) {
        // The first of each problem, and how many there are.
        let mut found: Vec<(RelocationProblem, usize, usize)> = Vec::new();
        for (index, relocation) in relocations.iter().enumerate() {
            for problem in [self.symbol_problem(relocation), self.place_problem(relocation)].into_iter().flatten() {
                match found.iter_mut().find(|(known, _, _)| *known == problem) {
                    Some((_, _, count)) => *count = count.saturating_add(1),
                    None => found.push((problem, index, 1)),
                }
            }
        }
        findings.extend(found.into_iter().map(|(problem, first, count)| Finding::Relocations {
            section: name_of(section),
            problem,
            first,
            count,
        }));
    }

    fn symbol_problem(&self, relocation: &Relocation) -> Option<RelocationProblem> {
        let index = symbol_index(relocation);
        if index == 0 {
            return Some(RelocationProblem::NullSymbol { crashes_xen: self.crashes_xen });
        }
        // That there are none at all has been said already.
        if self.elf.symbols.is_empty() {
            return None;
        }
        let Some(symbol) = self.elf.symbol(index) else {
            // The old mistake lets just the first number behind the last symbol through.
            let next = usize::try_from(index) == Ok(self.elf.symbols.len());
            return Some(RelocationProblem::NoSuchSymbol { crashes_xen: self.crashes_xen && next });
        };
        let not_loaded = self.elf.section_of(symbol).is_some_and(|section| !section.is_allocated());
        (self.looks_for_loaded && not_loaded).then_some(RelocationProblem::SymbolNotLoaded)
    }

    fn place_problem(&self, relocation: &Relocation) -> Option<RelocationProblem> {
        let width = self.width(relocation.r_type(LE, false))?;
        let end = relocation.r_offset.get(LE).checked_add(width);
        end.is_none_or(|end| end > self.base.size).then_some(RelocationProblem::Outside)
    }

    /// How much a relocation changes; at least one byte, unless it is none.
    fn width(&self, kind: RelocationType) -> Option<u64> {
        match (self.x86, kind) {
            (true, R_X86_64_NONE) | (false, R_AARCH64_NONE) => None,
            (true, R_X86_64_64) => Some(8),
            (true, R_X86_64_PC32 | R_X86_64_PLT32) => Some(4),
            _ => Some(1),
        }
    }
}
