//! The behaviour of real Xens 4.14, 4.17 and 4.20, word for word where the client parses it.

use super::*;

const SEEN: [Release; 3] = [Release::V4_14, Release::V4_17, Release::V4_20];

/// The lines that the console got from this.
fn said(xen: &SimulatedXen, done: impl FnOnce()) -> String {
    let before = xen.console().len();
    done();
    xen.console().split_off(before)
}

#[test]
fn the_payload_on_top_is_named() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        stack(&xen, &["two words", "two\nlines"]);
        let _ = (done(&xen, "two words", APPLY), done(&xen, "two\nlines", APPLY));
        let line = "(XEN) livepatch: two words: can't unload. Top is two\nlines\n";
        let busy = || assert_eq!(action(&xen, "two words", REVERT), Err(Errno::EBUSY));
        assert_eq!(said(&xen, busy), line, "{release}: names are written as they are");
    }
}

#[test]
fn a_symbol_that_is_there_twice_is_named() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let twice = builder(&xen, "p").defines("printk").build();
        let refused = || assert_eq!(upload(&xen, "p", &twice), Err(Errno::EEXIST));
        assert_eq!(said(&xen, refused), "(XEN) livepatch: p: duplicate new symbol: printk\n");
    }
}

#[test]
fn a_function_that_is_not_as_expected_is_named() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let function = || FunctionPatch::returning("xen_extra_version", "x");
        let differs = bare(&xen, "differs").function(function().expecting(&[0xcc; 4]));
        let long = bare(&xen, "long").function(function().expecting(&[0xcc; 31]));
        for (name, payload, errno) in [("differs", differs, Errno::EINVAL), ("long", long, Errno::ERANGE)] {
            assert_eq!(upload(&xen, name, &payload.build()), Ok(0));
            let why = format!("expectations of xen_extra_version failed (rc=-{}), aborting!", errno.number());
            let refused = || assert_eq!(action(&xen, name, APPLY), Err(errno));
            assert_eq!(said(&xen, refused), format!("(XEN) livepatch: {name}: {why}\n"), "{release}");
        }
    }
}

#[test]
fn a_function_without_a_name_is_unknown() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let address = xen.host().image.symbol(b"xen_extra_version").unwrap();
        let function = FunctionPatch::returning("xen_extra_version", "x").at(address);
        let payload = bare(&xen, "p").function(function.expecting(&[0xcc]).unnamed());
        assert_eq!(upload(&xen, "p", &payload.build()), Ok(0), "{release}");
        let refused = || assert_eq!(action(&xen, "p", APPLY), Err(Errno::EINVAL));
        assert_eq!(
            said(&xen, refused),
            "(XEN) livepatch: p: expectations of unknown failed (rc=-22), aborting!\n",
            "{release}"
        );
        // Xen's own `%s` writes NULL in another way.
        let press = || drop(RawSysctl::debug_keys(release).memory(8, "x").word(16, 1).send(&xen).unwrap());
        assert!(said(&xen, press).contains("    <NULL> patch "), "{release}");
    }
}

#[test]
fn a_hook_that_refuses_is_told() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let veto = builder(&xen, "p").hook(HookKind::PreApply, HookCode::returns(-77)).build();
        assert_eq!(upload(&xen, "p", &veto), Ok(0));
        let refused = || assert_eq!(action(&xen, "p", APPLY), Err(Errno::new(77)));
        assert_eq!(
            said(&xen, refused),
            "(XEN) livepatch: p: Calling pre-apply hook function\n(XEN) livepatch: p: pre-apply hook failed (rc=-77), aborting!\n"
        );
    }
}

/// The sum of a section's offset and size overflows 64 bits: each of the three releases copied past the end of the file
/// and crashed.
#[test]
fn a_section_whose_end_wraps_around_ends_the_host() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let mut file = builder(&xen, "p").build();
        let table = usize::try_from(u64::from_le_bytes(file[40..48].try_into().unwrap())).unwrap();
        // The size of the first section.
        file[table + 64 + 32..table + 64 + 40].fill(0xff);
        assert_eq!(upload(&xen, "p", &file), Err(Errno::EIO), "{release}");
        assert!(xen.crashed().unwrap().contains("64 bits"));
    }
}

#[test]
fn xen_banner_is_no_symbol_that_payloads_find() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let payload = builder(&xen, "p").needs("xen_banner").build();
        assert_eq!(upload(&xen, "p", &payload), Err(Errno::ENOENT), "{release}");
    }
}
