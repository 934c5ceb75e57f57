//! The check of `.livepatch.funcs`.

use super::super::elf::Elf;
use super::super::finding::{Finding, FunctionProblem};
use super::super::funcs::{self, Address, Function, NamePointer, PayloadVersion};
use super::super::name::SymbolName;
use super::super::target::{Architecture, Target};

/// The most bytes that Xen turns into no-operations: those that it can keep.
const MAX_NOP: u32 = 31;

/// The releases of which not the first, but these point releases on, know ENDBR64.
const KNOWS_ENDBR: [((u16, u16), u16); 3] = [((4, 14), 5), ((4, 15), 3), ((4, 16), 1)];

/// Where the half of the address space begins that Xen is in, on x86.
const XENS_HALF: u64 = 0xffff_8000_0000_0000;

pub(super) fn check(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    let Some(section) = elf.section(funcs::SECTION).filter(|section| section.size > 0 && section.is_complete()) else {
        return;
    };
    let expected = if target.since((4, 14)) { PayloadVersion::V2 } else { PayloadVersion::V1 };
    let said = funcs::version(elf);
    let size_of_entry = said.and_then(PayloadVersion::entry_size).or(expected.entry_size()).unwrap_or(1);
    let size_of_entry = super::wide(size_of_entry);
    if section.size % size_of_entry != 0 {
        findings.push(Finding::FunctionsSize { size: section.size, entry_size: size_of_entry });
    }

    let functions = funcs::functions(elf);
    match (functions.iter().find(|function| function.version != expected), said) {
        (Some(function), _) => findings.push(version(name_of(function), expected, function.version)),
        (None, Some(found)) if found != expected && functions.is_empty() => {
            findings.push(version(SymbolName::new(funcs::SECTION), expected, found));
        }
        _ => {}
    }

    let architecture = Architecture::from_raw(elf.header.e_machine.get(super::LE).0);
    for (index, function) in functions.iter().enumerate() {
        let problems = problems(function, architecture, target);
        findings.extend(problems.into_iter().flatten().map(|problem| Finding::Function {
            index,
            function: name_of(function),
            problem,
        }));
    }
}

fn version(function: SymbolName, expected: PayloadVersion, found: PayloadVersion) -> Finding {
    Finding::Version { function, expected, found }
}

fn name_of(function: &Function) -> SymbolName {
    function.name.clone().unwrap_or_else(|| SymbolName::new(function.to_string()))
}

fn problems(function: &Function, architecture: Architecture, target: &Target) -> [Option<FunctionProblem>; 6] {
    let code = if target.since((4, 8)) { code(function, architecture) } else { code_before_nops(function) };
    [
        name_problem(function),
        not_in_xen(function, architecture, target),
        code,
        (!target.since((4, 8)) && function.new_size == 0).then_some(FunctionProblem::NoNewSize),
        reserved(function).filter(|_| target.since((4, 14))),
        past_end(function).filter(|_| target.since((4, 14))),
    ]
}

/// A name is looked at only where there is no address.
fn name_problem(function: &Function) -> Option<FunctionProblem> {
    match (&function.old_address, function.name_pointer) {
        (None, NamePointer::Null) => Some(FunctionProblem::Nameless),
        (None, NamePointer::Stray) => Some(FunctionProblem::StrayName),
        _ => None,
    }
}

/// From 4.8 on Xen looks how far it is to an address; those that know ENDBR64 look first what code is there.
fn not_in_xen(function: &Function, architecture: Architecture, target: &Target) -> Option<FunctionProblem> {
    let Some(Address::Number(found)) = function.old_address else { return None };
    let crashes_xen =
        target.since((4, 17)) || KNOWS_ENDBR.iter().any(|(release, point)| target.may_be_at_least(*release, *point));
    // It is 0 where relocations for other places made it up: what it becomes is not known, but it is hardly an address.
    let far = (1..XENS_HALF).contains(&found) || (found == 0 && crashes_xen);
    (architecture == Architecture::X86_64 && target.since((4, 8)) && far)
        .then_some(FunctionProblem::NotInXen { found, crashes_xen })
}

/// The sizes as Xen 4.7 looks at them, which knows x86 and replacements alone.
fn code_before_nops(function: &Function) -> Option<FunctionProblem> {
    if function.is_nop() { Some(FunctionProblem::NoNewCode) } else { room_for_jump(function, 5) }
}

fn code(function: &Function, architecture: Architecture) -> Option<FunctionProblem> {
    let &Function { old_size, new_size: found, .. } = function;
    let x86 = architecture == Architecture::X86_64;
    if old_size == 0 {
        Some(FunctionProblem::NoOldSize)
    } else if !function.is_nop() {
        room_for_jump(function, if x86 { 5 } else { 4 })
    } else if found > MAX_NOP {
        Some(FunctionProblem::NopTooLong { found })
    } else if x86 && old_size < found {
        Some(FunctionProblem::NopPastEnd { found, old_size })
    } else {
        (!x86 && found % 4 != 0).then_some(FunctionProblem::NopPartial { found })
    }
}

fn room_for_jump(function: &Function, needed: u32) -> Option<FunctionProblem> {
    let found = function.old_size;
    (found < needed).then_some(FunctionProblem::OldSizeTooSmall { found, needed })
}

fn reserved(function: &Function) -> Option<FunctionProblem> {
    let found = function.expectation.as_ref()?.reserved;
    (found != 0).then_some(FunctionProblem::ExpectationReserved { found })
}

fn past_end(function: &Function) -> Option<FunctionProblem> {
    let (found, old_size) = (function.expectation.as_ref()?.bytes.len(), function.old_size);
    (super::wide(found) > u64::from(old_size) && old_size != 0)
        .then_some(FunctionProblem::ExpectationPastEnd { found, old_size })
}
