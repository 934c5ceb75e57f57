//! Hooks: code of the payload that Xen runs around its actions.

use super::functions::code_problem;
use super::problem::Problem;
use super::problem::function::PointerProblem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::xen::format::HookKind;
use crate::xen::rules::{self, Rule};

/// The addresses of the hooks around actions; 0 for a kind without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct LinkedHooks {
    pub(crate) before_apply: u64,
    pub(crate) instead_of_apply: u64,
    pub(crate) after_apply: u64,
    pub(crate) before_revert: u64,
    pub(crate) instead_of_revert: u64,
    pub(crate) after_revert: u64,
}

impl LinkedHooks {
    fn of(&mut self, kind: HookKind) -> Option<&mut u64> {
        match kind {
            HookKind::Load | HookKind::Unload => None,
            HookKind::PreApply => Some(&mut self.before_apply),
            HookKind::Apply => Some(&mut self.instead_of_apply),
            HookKind::PostApply => Some(&mut self.after_apply),
            HookKind::PreRevert => Some(&mut self.before_revert),
            HookKind::Revert => Some(&mut self.instead_of_revert),
            HookKind::PostRevert => Some(&mut self.after_revert),
        }
    }
}

const POINTER: u64 = 8;

pub(super) fn read(linker: &mut Linker<'_, '_>) -> Progress<LinkedHooks> {
    let mut hooks = LinkedHooks::default();
    for kind in HookKind::ALL {
        let name = kind.section_name();
        let Some(section) = linker.elf.section(name).filter(|_| linker.has(since(kind))) else { continue };
        let (size, several) = (section.size, kind.may_be_several());
        if size % POINTER != 0 || (size > POINTER && !several) {
            linker.refuse(Errno::EINVAL, Problem::HookSize { section: name.text(), size, several })?;
        }
        let Some((start, _)) = linker.loaded(name)? else { continue };
        if !linker.unlinkable {
            check(linker, kind, pointers(start, size))?;
        }
        if let Some(hook) = hooks.of(kind) {
            *hook = linker.memory.address_at(start);
        }
    }
    Ok(hooks)
}

/// The rule from which on Xen runs hooks of a kind.
pub(super) fn since(kind: HookKind) -> &'static Rule {
    if kind.may_be_several() { &rules::LOAD_HOOKS } else { &rules::ACTION_HOOKS }
}

/// The places of so many pointers.
pub(super) fn pointers(start: u64, size: u64) -> impl Iterator<Item = u64> {
    (0..size / POINTER).map(move |index| start.saturating_add(index.saturating_mul(POINTER)))
}

/// Checks the pointers of a section, up to the first wrong one.
fn check(linker: &mut Linker<'_, '_>, kind: HookKind, pointers: impl Iterator<Item = u64>) -> Progress {
    for (index, at) in pointers.enumerate() {
        match code_problem(linker, linker.memory.pointer(at)) {
            None => {}
            // Xen calls each hook of a kind that may have several without checking it.
            Some(PointerProblem::Null) if !kind.may_be_several() => {}
            Some(problem) => return linker.harm(Problem::Hook { section: kind.section(), index, problem }),
        }
    }
    Ok(())
}
