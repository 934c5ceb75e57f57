//! The steps that xapi takes by hand today, and `ensure` in their place.

use super::host::{Deed, builder, connect, name, of, wanted};
use crate::prelude::*;

/// Compares nothing but names: unload (which may fail), upload, replace, then unload everything that is not applied.
fn by_hand(xen: &SimulatedXen, client: &LivepatchClient, id: &str) {
    let name = name(of(id).name);
    let _ = client.unload(&name, Flags::empty());
    client.upload(&name, &builder(xen, id).build()).unwrap();
    client.replace(&name, Flags::empty()).unwrap();
    for row in client.list().unwrap() {
        if row.status.state == State::Checked {
            client.unload(&row.name, Flags::empty()).unwrap();
        }
    }
}

fn rows(client: &LivepatchClient) -> Vec<(PayloadName, State)> {
    client.list().unwrap().into_iter().map(|row| (row.name, row.status.state)).collect()
}

#[test]
fn both_end_in_the_same_list() {
    use xen_livepatch::Action::{Apply, Revert};
    let upload = |id| Deed::Upload(of(id));
    let apply = |id| Deed::Act(of(id), Apply, false);
    let revert = |id| Deed::Act(of(id), Revert, false);
    for release in Release::ALL {
        for deeds in [
            &[][..],
            &[upload("a"), apply("a")],
            &[upload("a"), apply("a"), upload("b"), apply("b")],
            &[upload("a"), apply("a"), revert("a")],
            &[upload("d")],
            &[upload("a"), upload("data"), apply("data")],
        ] {
            let [one, other] = [(); 2].map(|()| SimulatedXen::new(release));
            for xen in [&one, &other] {
                for deed in deeds {
                    deed.act(xen);
                }
            }
            let [hand, ensured] = [&one, &other].map(connect);
            by_hand(&one, &hand, "d");
            ensured.ensure(&wanted(&other, &["d"]), |_| ()).unwrap();
            assert_eq!(rows(&hand), rows(&ensured), "{release} {deeds:?}");
            assert_eq!(rows(&ensured), [(name("d"), State::Applied)]);
            assert_eq!(hand.xen_version().unwrap(), ensured.xen_version().unwrap());
        }
    }
}
