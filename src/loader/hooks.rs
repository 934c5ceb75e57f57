//! Hooks: code of the payload that Xen runs around its actions.

use super::details::PointerProblem;
use super::functions::code_problem;
use super::memory::Memory;
use super::problem::Problem;
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::HookKind;
use crate::xen::rules;

/// The addresses of the hooks of which there is one of a kind; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct LoadedHooks {
    pub(crate) before_apply: u64,
    pub(crate) instead_of_apply: u64,
    pub(crate) after_apply: u64,
    pub(crate) before_revert: u64,
    pub(crate) instead_of_revert: u64,
    pub(crate) after_revert: u64,
}

impl LoadedHooks {
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

pub(super) fn read(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step<LoadedHooks> {
    let mut hooks = LoadedHooks::default();
    for kind in HookKind::ALL {
        let several = kind.may_be_several();
        let since = if several { &rules::LOAD_HOOKS } else { &rules::ACTION_HOOKS };
        if !loading.has(since) {
            continue;
        }
        let name = kind.section_name();
        let size = loading.elf.section(name).map_or(0, |section| section.size);
        if size % POINTER != 0 || (size > POINTER && !several) {
            loading.refuse(Errno::EINVAL, Problem::HookSize { section: name.text(), size, several })?;
        }
        let Some((start, _)) = loading.loaded(name, memory)? else { continue };
        if !loading.unlinkable {
            check(loading, memory, kind, start, size / POINTER)?;
        }
        if let Some(hook) = hooks.of(kind) {
            *hook = memory.number(start);
        }
    }
    Ok(hooks)
}

/// Looks where the pointers of a section lead, up to the first that is wrong.
fn check(loading: &mut Loading<'_, '_>, memory: &Memory<'_>, kind: HookKind, start: u64, count: u64) -> Step {
    for index in 0..usize::try_from(count).unwrap_or_default() {
        let at = start.saturating_add(to_u64(index).saturating_mul(POINTER));
        match code_problem(loading, memory, memory.pointer(at)) {
            None => {}
            // Xen calls what there may be several of without looking.
            Some(PointerProblem::Null) if !kind.may_be_several() => {}
            Some(problem) => return loading.harm(Problem::Hook { section: kind.section(), index, problem }),
        }
    }
    Ok(())
}
