//! The check for a Xen on Arm, where it differs.

use xen_livepatch::Target;
use xen_livepatch::payload::{Architecture, FunctionProblem as F, PointerProblem, Problem};
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};

use crate::editor::{Editor, header, relocation, section, xen};
use crate::findings::{FUNCS, NEW, RELA_FUNCS, check, extra, hooked, problems};
use crate::layout::point;
use crate::rules::alternative;

/// Makes it one for Arm, as far as the check looks: its code stays what it was.
fn arm(editor: Editor) -> Editor {
    let tables: Vec<_> = (1..editor.get(0, header::COUNT))
        .map(|index| String::from_utf8_lossy(editor.name_of(index)).into_owned())
        .filter(|name| name.starts_with(".rela."))
        .collect();
    tables.iter().fold(editor.header(header::MACHINE, 183), |editor, table| {
        let start = editor.field(table, section::OFFSET);
        (0..editor.field(table, section::SIZE) / 24).fold(editor, |editor, index| {
            let kind = match editor.get(start + 24 * index, relocation::TYPE) {
                1 => 257,
                2 => 261,
                other => panic!("{other}"),
            };
            editor.entry(table, index, relocation::TYPE, kind)
        })
    })
}

fn found(editor: Editor) -> Vec<Problem> {
    problems(&check(&arm(editor), &NEW.architecture(Architecture::AArch64)))
}

fn function(editor: Editor) -> Option<F> {
    match &*found(editor) {
        [] => None,
        [Problem::Function { problem, .. }] => Some(*problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_found_in_good_ones() {
    for minor in 14..=22 {
        let target = Target::new((4, minor)).architecture(Architecture::AArch64);
        assert_eq!(check(&arm(hooked()), &target), [], "4.{minor}");
    }
}

#[test]
fn no_operations_are_whole_instructions_of_the_function() {
    let old_size = 16;
    for (found, problem) in [
        (4, None),
        (5, Some(F::NopPartial { found: 5 })),
        (16, None),
        (20, Some(F::NopPastEnd { found: 20, old_size })),
    ] {
        let nops = extra().patch(FUNCS, 24, &[found]).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28);
        assert_eq!(function(nops), problem, "{found}");
    }
}

#[test]
fn replacements_are_whole_instructions_and_callbacks_have_none() {
    let builder = PayloadBuilder::named("p", &xen()).function(FunctionPatch::with_code("f", [0; 16]));
    let alternative = alternative(builder, 12);
    for (original, replacement, inside, fine) in [
        (4, 4, true, true),
        (8, 8, true, true),
        (8, 4, true, false),
        (4, 8, true, false),
        (6, 6, true, false),
        (4, 4, false, false),
        (4, 0, true, true),
        (4, 0, false, true),
    ] {
        let editor = alternative.clone().patch(".altinstructions", 10, &[original, replacement]);
        let editor = if inside { editor } else { point(editor, ".altinstructions", 4, (".text", 0)) };
        let found = found(editor);
        assert_eq!(found.is_empty(), fine, "{replacement} for {original}, {inside}: {found:?}");
    }
}

#[test]
fn code_is_aligned_to_instructions() {
    for (addend, problem) in [(0, None), (4, None), (2, Some(F::NewAddress(PointerProblem::Unaligned)))] {
        let editor = extra().patch(FUNCS, 24, &[8]).entry(RELA_FUNCS, 1, relocation::ADDEND, addend);
        assert_eq!(function(editor), problem, "{addend}");
    }
}

#[test]
fn a_branch_reaches_128_mib() {
    // Where the check takes a payload's code to be.
    let (code, reach) = (0xffff_82d0_4100_0000_u64, 128 << 20);
    for (old, problem) in [
        (code - reach - 4, Some(F::TooFar)),
        (code - reach, None),
        (code + reach - 4, None),
        (code + reach, Some(F::TooFar)),
    ] {
        assert_eq!(function(Editor::function(16, &old.to_le_bytes())), problem, "{old:#x}");
    }
}
