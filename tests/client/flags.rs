//! Flags that Xen would ignore or reject, which are errors before anything is sent.

use crate::prelude::*;

const ACTIONS: [Action; 4] = [Action::Apply, Action::Revert, Action::Replace, Action::Unload];

#[test]
fn a_flag_without_a_meaning_is_refused_without_a_hypercall() {
    for (xen, client) in hosts(Release::ALL) {
        let one = load(&xen, "one");
        let before = xen.calls().total();
        for (action, bits) in pairs(ACTIONS, [1, 2, 3, 1 << 31, u32::MAX]) {
            let flags = Flags::from_bits_retain(bits);
            let bad = if action == Action::Apply { flags - Flags::NODEPS } else { flags };
            if bad.is_empty() {
                continue;
            }
            let error = error(client.action(action, &one).flags(flags).run());
            let ErrorKind::UnsupportedFlag { flags, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!((*flags, error.raw_errno()), (bad, None), "the offending bits alone");
            assert!(error.to_string().contains(&bad.to_string()), "by name: {error}");
        }
        assert_eq!(xen.calls().total(), before);
    }
}
