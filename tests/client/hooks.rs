//! The simulated Xen dies of what a client avoids in the stories of hooks.

use std::thread::sleep;

use crate::prelude::*;

/// The time that hooks take.
const HOOK: Duration = Duration::from_millis(100);

#[test]
fn without_the_wait_the_host_goes_down() {
    for (release, then, dies) in each([
        (Release::V4_14, Action::Unload, true),
        (Release::V4_17, Action::Unload, false),
        (Release::V4_22, Action::Unload, false),
        (Release::V4_14, Action::Apply, true),
        (Release::V4_22, Action::Apply, true),
    ]) {
        let xen = SimulatedXen::new(release);
        xen.set_hook_time(HOOK);
        let slow = with_hook(&xen, "slow", HookKind::PostApply, 0).hook(HookKind::PostRevert, HookCode::returns(0));
        other_load(&xen, "slow", &slow);
        sleep(HOOK * 2);
        xen.other_action("slow", Action::Revert, Flags::empty()).unwrap();
        assert!(xen.console().contains("slow: Calling post-revert hook function with rc=0"));
        assert!(!xen.console().contains("slow finished REVERT"));
        let _ = xen.other_action("slow", then, Flags::empty());
        assert_eq!(xen.crashed().is_some(), dies, "{:?}", xen.crashed());
    }
}
