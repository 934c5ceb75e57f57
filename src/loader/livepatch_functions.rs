//! The functions of Xen that live patching itself consists of.

/// The files that consist of such functions; static functions are named `FILE#NAME`.
const FILES: [&[u8]; 2] = [b"livepatch.c", b"virtual_region.c"];

/// Returns true for such functions that are global, or in other files.
///
/// A processor may be in one while all are patched, and continue in a copy that is gone (`idle_loop`,
/// `check_for_livepatch_work`). Others are halves of a pair: an apply runs the old first half and the new second half, and a
/// revert the reverse. (Read from `livepatch.c` and `virtual_region.c` of all releases. A payload that left out
/// `register_virtual_region` was applied by a real 4.17.3, which died when it was reverted.)
fn is_elsewhere(function: &[u8]) -> bool {
    matches!(
        function,
        b"idle_loop"
            | b"check_for_livepatch_work"
            | b"livepatch_op"
            | b"apply_payload"
            | b"apply_payload_tail"
            | b"revert_payload"
            | b"revert_payload_tail"
            | b"is_patch"
            | b"livepatch_symbols_lookup_by_name"
            | b"common_livepatch_apply"
            | b"common_livepatch_revert"
            | b"arch_livepatch_safety_check"
            | b"arch_livepatch_quiesce"
            | b"arch_livepatch_revive"
            | b"arch_livepatch_apply"
            | b"arch_livepatch_revert"
            | b"arch_livepatch_apply_jmp"
            | b"arch_livepatch_revert_jmp"
            | b"arch_livepatch_post_action"
            | b"arch_livepatch_mask"
            | b"arch_livepatch_unmask"
            | b"arch_livepatch_secure"
            | b"arch_livepatch_verify_elf"
            | b"arch_livepatch_verify_func"
            | b"arch_livepatch_perform_rela"
            | b"register_virtual_region"
            | b"unregister_virtual_region"
            | b"find_text_region"
            | b"relax_virtual_region_perms"
            | b"tighten_virtual_region_perms"
            | b"reset_virtual_region_perms"
            | b"remove_virtual_region"
    )
}

/// Returns true if they contain a function, by the name that a payload gives it.
pub(super) fn contain(name: &[u8]) -> bool {
    let (file, function) = match name.iter().rposition(|byte| *byte == b'#').map(|at| name.split_at(at)) {
        Some((file, [_, function @ ..])) => (Some(file), function),
        _ => (None, name),
    };
    let of_file = file.is_some_and(|file| {
        FILES.iter().any(|known| file.strip_suffix(*known).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/")))
    });
    of_file || is_elsewhere(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_recognised_by_file_and_by_name() {
        for (name, expected) in [
            ("common/livepatch.c#livepatch_spin", true),
            ("livepatch.c#mask_nmi_callback", true),
            ("arch/x86/domain.c#idle_loop", true),
            ("register_virtual_region", true),
            ("xen_extra_version", false),
            ("common/notlivepatch.c#tasklet_fn", false),
            ("common/kernel.c#do_xen_version", false),
            ("tasklet_fn", false),
            ("", false),
            ("#", false),
        ] {
            assert_eq!(contain(name.as_bytes()), expected, "{name}");
        }
    }
}
