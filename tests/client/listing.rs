//! Lists that are long, large, cut short, or changed while they are read.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::prelude::*;

/// As much metadata as fits into a payload of 2 MiB with what else it needs.
const LARGEST: usize = (2 << 20) - 8192;

/// Uploads a payload whose metadata says its name, and has this length.
fn load_with(xen: &SimulatedXen, id: &str, metadata: usize) {
    let head = format!("id={id}\0");
    let fill = vec![b'm'; metadata.saturating_sub(head.len() + 1)];
    let modinfo = [head.as_bytes(), &fill, b"\0"].concat();
    xen.other_upload(id, &builder(xen, id).modinfo(modinfo).build()).unwrap();
}

fn unload(xen: &SimulatedXen, id: &str) {
    xen.other_action(id, Action::Unload, Flags::empty()).unwrap();
}

fn many(release: Release, count: u32, metadata: usize) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    (0..count).for_each(|i| load_with(&xen, &format!("p{i}"), metadata));
    let client = connect(&xen);
    (xen, client)
}

/// A host of each release with so many payloads, and a client.
fn long(
    releases: impl IntoIterator<Item = Release>,
    count: u32,
    metadata: usize,
) -> impl Iterator<Item = (SimulatedXen, LivepatchClient)> {
    each(releases).map(move |release| many(release, count, metadata))
}

/// The list is what Xen has; the number of LIST hypercalls that it took.
#[track_caller]
fn lists(xen: &SimulatedXen, client: &LivepatchClient) -> u64 {
    let before = xen.calls().of(Call::List);
    let rows = client.list().unwrap_or_else(|error| panic!("{}: {error}", xen.release()));
    let packed = xen.release() >= Release::V4_14;
    for row in &rows {
        assert_eq!(row.metadata.get("id"), packed.then_some(row.name.as_bytes()), "{}", xen.release());
        assert_eq!(Some(row.status), xen.status(&row.name));
    }
    assert_eq!(rows.into_iter().map(|row| row.name).collect::<Vec<_>>(), xen.loaded(), "{}", xen.release());
    xen.calls().of(Call::List) - before
}

#[test]
fn long_lists() {
    for (xen, client) in long(Release::ALL, 64, 50) {
        assert_eq!(lists(&xen, &client), 1, "opening has shown how long it is");
        load_with(&xen, "one more", 50);
        assert_eq!(lists(&xen, &client), 1, "it may grow a little");
        (0..100).for_each(|i| load_with(&xen, &format!("q{i}"), 50));
        assert_eq!(lists(&xen, &client), 3, "once to see that it is longer, and once how long");
        assert_eq!(lists(&xen, &client), 1, "there is room now");
    }
}

#[test]
fn the_room_for_a_long_list_is_kept() {
    for (payloads, metadata) in [(500, 100), (1000, 100), (1000, 250), (1024, 250)] {
        let (xen, client) = many(Release::V4_20, payloads, metadata);
        lists(&xen, &client);
        // Room for the request, and for no row.
        xen.limit_buffers(Some(256));
        assert_eq!(lists(&xen, &client), 1, "{payloads} with {metadata} bytes");
    }
}

#[test]
fn the_list_of_a_host_without_payloads_needs_no_room() {
    for (xen, client) in hosts(Release::ALL) {
        // Room for the request, and for no row.
        xen.limit_buffers(Some(256));
        assert_eq!((lists(&xen, &client), lists(&xen, &client)), (1, 1));
        xen.limit_buffers(None);
        load_with(&xen, "first", 50);
        assert_eq!((lists(&xen, &client), lists(&xen, &client)), (2, 1), "how long it is, once");
        unload(&xen, "first");
        assert_eq!(lists(&xen, &client), 1, "in the room that there is");
    }
}

#[test]
fn the_longest_list_that_fits_into_one_hypercall_and_one_that_does_not() {
    for (xen, client) in long([Release::V4_13, Release::V4_20], 1024, 100) {
        lists(&xen, &client);
        assert_eq!(lists(&xen, &client), 1);
        load_with(&xen, "one more", 100);
        assert_eq!(lists(&xen, &client), 4, "two parts, twice");
    }
}

#[test]
fn more_metadata_than_there_is_room_for() {
    for (xen, client) in long(Release::ALL, 3, 20_000) {
        assert_eq!(lists(&xen, &client), 1);
        load_with(&xen, "another", 20_000);
        let calls = lists(&xen, &client);
        assert_eq!(calls, if xen.release() >= Release::V4_14 { 3 } else { 1 }, "too little, how much, all");
        assert_eq!(lists(&xen, &client), 1);
        load_with(&xen, "largest", LARGEST);
        assert!(lists(&xen, &client) <= 3);
    }
}

#[test]
fn more_metadata_than_is_made_room_for_at_once() {
    for (xen, client) in long([Release::V4_7, Release::V4_14, Release::V4_22], 1, 50) {
        for id in ["first", "second", "third"] {
            load_with(&xen, id, LARGEST);
        }
        assert!(lists(&xen, &client) < 20);
        // Half of these fit, so that they take two parts and not 64.
        let (xen, client) = many(xen.release(), 64, 100_000);
        assert!(lists(&xen, &client) < 20);
    }
}

#[test]
fn a_long_list_before_is_no_reason_to_exceed_the_limit() {
    for (xen, client) in long([Release::V4_14, Release::V4_22], 64, 100_000) {
        // Seen when the client was opened.
        xen.limit_buffers(Some(6 << 20));
        lists(&xen, &client);
        // Seen when the list had become too long for its room.
        let (xen, client) = many(xen.release(), 1, 50);
        lists(&xen, &client);
        xen.limit_buffers(Some(6 << 20));
        (0..6).for_each(|i| load_with(&xen, &format!("large{i}"), LARGEST));
        lists(&xen, &client);
        lists(&xen, &client);
    }
}

#[test]
fn a_list_that_has_become_short_needs_no_room_for_a_long_one() {
    for (xen, client) in long(Release::ALL, 64, 20_000) {
        (1..64).for_each(|i| unload(&xen, &format!("p{i}")));
        lists(&xen, &client);
        xen.limit_buffers(Some(100_000));
        assert_eq!(lists(&xen, &client), 1);
    }
}

#[test]
fn lists_that_xen_cuts_short() {
    for (xen, client) in long(Release::ALL, 7, 10) {
        // Until two agree.
        for (rows, calls) in [(1, 14), (2, 8), (3, 6), (6, 4), (7, 1)] {
            xen.on_list().always().stop_after(rows);
            assert_eq!(lists(&xen, &client), calls);
            xen.forget_orders();
        }
    }
}

#[test]
fn a_list_that_changes_between_two_parts_is_read_again() {
    let changes: [fn(&SimulatedXen); 4] = [
        |xen| load_with(xen, "new", 20),
        |xen| unload(xen, "p0"),
        // As many as before: only the version tells.
        |xen| {
            unload(xen, "p1");
            load_with(xen, "new", 20);
        },
        // Nothing is where it was to go on.
        |xen| ["p0", "p1", "p2", "p3"].iter().for_each(|id| unload(xen, id)),
    ];
    let changes = changes.into_iter().enumerate();
    for (release, ((_, change), nth)) in each(pairs(Release::ALL, pairs(changes, 2..=4))) {
        let (xen, client) = many(release, 4, 20);
        xen.on_list().always().stop_after(1);
        xen.on_list().nth(nth).before(change);
        let calls = lists(&xen, &client);
        assert!(calls <= nth + 10, "{calls}");
    }
}

#[test]
fn a_list_that_shrank_below_where_to_go_on_is_read_again() {
    for (xen, client) in long(Release::ALL, 5, 0) {
        xen.on_list().always().stop_after(4);
        xen.on_list().nth(2).before(|xen| ["p0", "p1"].iter().for_each(|id| unload(xen, id)));
        assert_eq!(lists(&xen, &client), 3, "two parts, and what is left in one");
    }
}

#[test]
fn a_list_that_keeps_changing_is_given_up() {
    for (xen, client) in long([Release::V4_7, Release::V4_14, Release::V4_22], 3, 20) {
        let turn = AtomicU32::new(0);
        xen.on_list().always().stop_after(1);
        xen.on_list().always().before(move |xen| {
            if turn.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
                load(xen, "passing");
            } else {
                unload(xen, "passing");
            }
        });
        let before = xen.calls().total();
        let given_up = kind(client.list());
        let ErrorKind::ListKeptChanging { attempts } = given_up else { panic!("{given_up:?}") };
        assert_eq!(xen.calls().total() - before, u64::from(attempts) * 2);
        xen.forget_orders();
        lists(&xen, &client);
    }
}

#[test]
fn states_that_change_between_two_parts_are_read_again() {
    // The row in question is read by the first call and by the fifth.
    let cases = [(1, 8, true), (2, 12, true), (5, 12, true), (6, 8, false), (8, 8, false)];
    for (release, (nth, calls, seen)) in each(pairs(Release::ALL, cases)) {
        let (xen, client) = many(release, 4, 20);
        xen.on_list().always().stop_after(1);
        xen.on_list().nth(nth).before(|xen| xen.other_action("p0", Action::Apply, Flags::empty()).unwrap());
        let made = xen.calls().of(Call::List);
        let rows = client.list().unwrap();
        assert_eq!(xen.calls().of(Call::List) - made, calls);
        assert_eq!(rows.iter().any(|row| row.status.state == State::Applied), seen);
    }
}

/// Xen's version of the list stays what it was when a replacement ends.
#[test]
fn a_list_in_parts_is_not_of_two_moments() {
    for (xen, client) in long(Release::ALL, 2, 20) {
        xen.other_action("p0", Action::Apply, Flags::empty()).unwrap();
        xen.on_list().stop_after(1);
        xen.on_list().nth(2).before(|xen| xen.other_action("p1", Action::Replace, Flags::empty()).unwrap());
        let rows = client.list().unwrap();
        let states: Vec<_> = rows.iter().map(|row| row.status.state).collect();
        assert_eq!(states, [State::Checked, State::Applied]);
    }
}

#[test]
fn faults_are_asked_again_a_few_times() {
    let releases = [Release::V4_7, Release::V4_14, Release::V4_22];
    for (release, errno) in each(pairs(releases, [Errno::EFAULT, Errno::ENOBUFS])) {
        let (xen, client) = many(release, 4, 20);
        xen.on_list().fail(errno);
        lists(&xen, &client);
        xen.on_list().fault_after();
        xen.on_list().nth(3).fault_after();
        lists(&xen, &client);
        xen.on_list().nth(2).fail(Errno::EFAULT);
        xen.on_list().fail(errno);
        lists(&xen, &client);
        xen.on_list().always().fail(errno);
        let before = xen.calls().total();
        client.list().unwrap_err();
        assert!(xen.calls().total() - before < 70);
    }
}

#[test]
fn memory_that_xen_never_reaches_is_a_fault() {
    for (xen, client) in long([Release::V4_7, Release::V4_14, Release::V4_22], 4, 20) {
        // How much there is to read is answered each time.
        (0..32).for_each(|question| xen.on_list().nth(2 * question + 1).fail(Errno::EFAULT));
        assert_eq!(kind(client.list()), ErrorKind::Fault);
    }
}

#[test]
fn a_list_that_xen_refuses_from_its_start_is_not_read_again() {
    let (xen, client) = many(Release::V4_20, 1, 20);
    xen.on_list().always().fail(Errno::EINVAL);
    let before = xen.calls().of(Call::List);
    let error = client.list().unwrap_err();
    assert_eq!((error.raw_errno(), xen.calls().of(Call::List) - before), (Some(Errno::EINVAL), 1), "{error:?}");
}

#[test]
fn one_fault_costs_one_more_try_at_full_size() {
    for (release, errno) in each(pairs(Release::ALL, [Errno::EFAULT, Errno::ENOBUFS])) {
        let (xen, client) = many(release, 70, 20);
        xen.on_list().fail(errno);
        let calls = lists(&xen, &client);
        assert!((3..=4).contains(&calls), "the failure, whether it fits, and one or two for the list");
    }
}

#[test]
fn metadata_that_grows_between_the_question_and_the_list() {
    for (xen, client) in long(Release::ALL, 2, 20_000) {
        let turn = AtomicU32::new(0);
        // Each time that it is asked for it is larger than was told.
        xen.on_list().always().before(move |xen| {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            if turn < 6 {
                load_with(xen, &format!("more{turn}"), 50_000);
            }
        });
        lists(&xen, &client);
    }
}

#[test]
fn the_payload_without_a_name_is_listed_and_can_be_unloaded() {
    for (xen, client) in hosts(Release::ALL) {
        xen.other_upload("", &builder(&xen, "nameless").modinfo("id=\0").build()).unwrap();
        load_with(&xen, "named", 10);
        lists(&xen, &client);
        let nameless = client.list().unwrap().remove(0).name;
        assert_eq!(nameless.as_bytes(), b"");
        apply_and_revert(&client, &nameless);
        client.unload(&nameless, Flags::empty()).unwrap();
        assert_eq!(xen.loaded(), names(["named"]));
    }
}

#[test]
fn names_of_every_length_and_byte() {
    for (xen, client) in hosts(Release::ALL) {
        let ids = [vec![b'x'; 127], vec![0xff, b'\n', b' '], vec![b'x'; 126], vec![1]].map(name);
        for (id, at) in ids.iter().zip(0..) {
            client.upload(id, &builder(&xen, &format!("p{at}")).build()).unwrap();
        }
        assert_eq!(client.list().unwrap().into_iter().map(|row| row.name).collect::<Vec<_>>(), ids);
        for id in &ids {
            client.unload(id, Flags::empty()).unwrap();
        }
    }
}
