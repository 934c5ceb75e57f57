//! The order in which payloads were applied, from Xen's log.
//!
//! Xen reports no order. Dependencies give one, unless `NODEPS` was used: then the payload below may have been applied
//! later, and its code is in effect. Xen logs the end of each action, at the level of information.

use crate::types::PayloadName;
use crate::xen::log::messages::ActionLine;

/// Returns the names of payloads that were applied and not reverted since, in the order of their last apply in a log.
fn applied(log: &[u8]) -> Vec<Vec<u8>> {
    let mut order: Vec<Vec<u8>> = Vec::new();
    for line in log.split(|byte| *byte == b'\n') {
        let Some(ActionLine::Finished { name, action, rc: 0 }) = ActionLine::parse(line) else { continue };
        match action {
            "APPLY" => order.retain(|other| other != name),
            "REPLACE" => order.clear(),
            "REVERT" => {
                order.retain(|other| other != name);
                continue;
            }
            _ => continue,
        }
        order.push(name.to_vec());
    }
    order
}

/// Returns the order of these applied payloads, if a log shows it: for each, or for all but one, which was applied first.
pub(super) fn of(log: &[u8], applied_now: &[&PayloadName]) -> Option<Vec<PayloadName>> {
    let seen = applied(log);
    let place = |name: &PayloadName| seen.iter().position(|seen| seen == name.as_bytes());
    let unseen = applied_now.iter().filter(|name| place(name).is_none()).count();
    let mut order: Vec<PayloadName> = applied_now.iter().map(|name| (*name).clone()).collect();
    order.sort_by_key(|name| place(name).map_or(0, |place| place + 1));
    (unseen <= 1).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_the_order_of_what_it_has() {
        let log = |lines: &[&str]| format!("(XEN) livepatch: {}\n", lines.join("\n(XEN) livepatch: "));
        let names = ["a", "b"].map(|name| PayloadName::new(name).unwrap());
        let order = |lines: &[&str]| {
            let order = of(log(lines).as_bytes(), &names.each_ref())?;
            Some(order.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (lines, expected) in [
            (&["a finished APPLY with rc=0", "b finished APPLY with rc=0"][..], Some("a b")),
            (&["b finished APPLY with rc=0", "a finished APPLY with rc=0"], Some("b a")),
            (&["b finished APPLY with rc=0", "a finished APPLY with rc=-22"], Some("a b")),
            (&["a finished REPLACE with rc=0"], Some("b a")),
            (&["b finished APPLY with rc=0", "a finished APPLY with rc=0", "a finished REVERT with rc=0"], Some("a b")),
            (
                &["a finished APPLY with rc=0", "b finished REPLACE with rc=0", "a finished APPLY with rc=0"],
                Some("b a"),
            ),
            (&["a: Applying 1 functions"], None),
            (&[], None),
        ] {
            assert_eq!(order(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
