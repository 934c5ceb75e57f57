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
fn the_reason_of_a_refusal_is_named() {
    for release in SEEN {
        let xen = SimulatedXen::new(release);
        let address = xen.host().image.symbol(b"xen_extra_version").unwrap();
        let function = || FunctionPatch::returning("xen_extra_version", "x");
        let expects = |name: &str, function: FunctionPatch| bare(&xen, name).function(function);
        let veto = "Calling pre-apply hook function\n(XEN) livepatch: veto: pre-apply hook failed (rc=-77), aborting!";
        for (name, payload, errno, why) in [
            ("twice", builder(&xen, "twice").defines("printk"), Errno::EEXIST, "duplicate new symbol: printk"),
            (
                "differs",
                expects("differs", function().expecting(&[0xcc; 4])),
                Errno::EINVAL,
                "expectations of xen_extra_version failed (rc=-22), aborting!",
            ),
            (
                "long",
                expects("long", function().expecting(&[0xcc; 31])),
                Errno::ERANGE,
                "expectations of xen_extra_version failed (rc=-34), aborting!",
            ),
            (
                "unnamed",
                expects("unnamed", function().at(address).expecting(&[0xcc]).unnamed()),
                Errno::EINVAL,
                "expectations of unknown failed (rc=-22), aborting!",
            ),
            ("veto", builder(&xen, "veto").hook(HookKind::PreApply, HookCode::returns(-77)), Errno::new(77), veto),
        ] {
            let refused = || {
                let uploaded = upload(&xen, name, &payload.build());
                assert_eq!(uploaded.and_then(|_| action(&xen, name, APPLY)), Err(errno), "{release} {name}");
            };
            assert_eq!(said(&xen, refused), format!("(XEN) livepatch: {name}: {why}\n"), "{release}");
        }
        // Xen's own `%s` writes NULL in another way.
        let press =
            || assert_eq!(RawSysctl::debug_keys(xen.release()).memory(8, *b"x").word(16, 1).result(&xen), Ok(0));
        assert!(said(&xen, press).contains("    <NULL> patch "), "{release}");
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
