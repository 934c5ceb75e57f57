//! Lists of any length with metadata of any size, cut short, refused and changed in between.

use crate::prelude::*;

fn load(xen: &SimulatedXen, id: &str, metadata: usize) {
    let function = FunctionPatch::returning("xen_extra_version", "-");
    let payload = PayloadBuilder::for_xen(xen, id).function(function).metadata("id", Some(id));
    let payload = if metadata > 0 { payload.modinfo([vec![b'm'; metadata], vec![0]].concat()) } else { payload };
    xen.other_upload(id, &payload.build()).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Change {
    /// With so much metadata.
    Upload(usize),
    /// The one at this place, if there is one.
    Unload(usize),
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 4 => 0..600_usize, 1 => 10_000..70_000_usize]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![sizes().prop_map(Change::Upload), (0..140_usize).prop_map(Change::Unload)]
}

impl Change {
    fn make(self, xen: &SimulatedXen, number: usize) {
        match self {
            Self::Upload(metadata) => load(xen, &format!("new{number}"), metadata),
            Self::Unload(at) => {
                if let Some(name) = xen.loaded().get(at) {
                    xen.other_action(name, Action::Unload, Flags::empty()).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn a_list_is_what_was_there_at_one_moment(
        release in release(),
        loaded in vec(sizes(), 0..140),
        stop in prop::option::weighted(0.5, 1..70_u32),
        changes in vec((1..6_u64, change()), 0..5),
        orders in vec(order(), 0..3),
    ) {
        let xen = SimulatedXen::new(release);
        let client = settings().settle_time(Duration::ZERO).connect(xen.clone()).unwrap();
        loaded.iter().enumerate().for_each(|(at, metadata)| load(&xen, &format!("p{at}"), *metadata));
        // Every membership that there was, one of which a list must show.
        let moments = std::sync::Arc::new(std::sync::Mutex::new(vec![xen.loaded()]));
        if let Some(rows) = stop {
            xen.on_list().always().stop_after(rows);
        }
        for (number, (nth, change)) in changes.into_iter().enumerate() {
            let moments = moments.clone();
            xen.on_list().nth(nth).before(move |xen| {
                change.make(xen, number);
                moments.lock().unwrap().push(xen.loaded());
            });
        }
        orders.iter().filter(|order| order.call == Call::List).for_each(|order| order.give(&xen));
        let before = xen.calls().of(Call::List);
        let listed = client.list();
        let calls = xen.calls().of(Call::List) - before;
        prop_assert!(calls < 32 * 150, "{} hypercalls", calls);
        match listed {
            Ok(rows) => {
                check_rows(release, &rows);
                let names: Vec<_> = rows.into_iter().map(|row| row.name).collect();
                prop_assert!(moments.lock().unwrap().contains(&names), "{:?}", names);
            }
            Err(error) if orders.iter().all(|order| order.call != Call::List) => {
                prop_assert!(matches!(error.kind(), ErrorKind::ListKeptChanging { .. }), "{}", error);
            }
            Err(_) => {}
        }
        all_is_well_again(&xen);
        check_agreement(&xen, &client);
    }
}
