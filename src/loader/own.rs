//! Functions of Xen that live patching itself consists of.

/// Files of Xen that consist of such functions; static functions are named `FILE#NAME`.
const FILES: [&[u8]; 2] = [b"livepatch.c", b"virtual_region.c"];

/// Returns true for one that is global, or in another file.
///
/// A processor may be inside of one while all are patched, and goes on in a copy that is gone (`idle_loop`,
/// `check_for_livepatch_work`); or it is one half of a pair, of which an apply runs the first half as it was and the second
/// as it will be, and a revert the other way round. (Read from `livepatch.c` and `virtual_region.c` of all releases. A payload
/// that left out `register_virtual_region` was applied by a real 4.17.3, which died when it was reverted.)
fn is_listed(function: &[u8]) -> bool {
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

/// Returns true if a function that a payload replaces is one of them, by the name that the payload gives it.
pub(super) fn is_of_live_patching(name: &[u8]) -> bool {
    let at = name.iter().rposition(|byte| *byte == b'#');
    let (file, function) = match at {
        Some(at) => (name.get(..at), name.get(at.saturating_add(1)..).unwrap_or_default()),
        None => (None, name),
    };
    let of_file = file.is_some_and(|file| {
        FILES.iter().any(|known| file.strip_suffix(*known).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/")))
    });
    of_file || is_listed(function)
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
            assert_eq!(is_of_live_patching(name.as_bytes()), expected, "{name}");
        }
    }
}
