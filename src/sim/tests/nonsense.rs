//! Bytes that make no sense get an answer, not a panic.

use super::*;

#[allow(dead_code, unreachable_pub, reason = "shared with the integration tests, which need all of it")]
#[path = "../../../tests/common/random.rs"]
mod random;

use random::Random;

/// Ends of the range are where things break.
fn byte(random: &mut Random) -> u8 {
    let any = random.next().to_le_bytes()[0];
    random.weighted(&[(1, 0), (1, 0xff), (2, any)])
}

#[test]
fn damaged_payloads_are_judged() {
    let mut random = Random::new(1);
    for release in [Release::V4_7, Release::V4_9, Release::V4_14, Release::V4_17, Release::V4_22] {
        let good = builder(&SimulatedXen::new(release), "p")
            .hook(HookKind::Revert, HookCode::returns(-1))
            .metadata("k", Some("v"))
            .section(".ex_table", vec![0; 16])
            .build();
        let mut loaded = 0;
        for _ in 0..3000 {
            let xen = SimulatedXen::new(release);
            let mut file = good.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(file.len());
                file[at] = byte(&mut random);
            }
            file.truncate(if random.below(8) == 0 { random.below(file.len()) } else { file.len() });
            if xen.other_upload("p", &file).is_ok() {
                loaded += 1;
                let _ = (xen.other_action("p", Action::Apply, Flags::NODEPS), extra_version_or_crash(&xen));
                let _ = (xen.other_action("p", Action::Revert, Flags::empty()), extra_version_or_crash(&xen));
            }
        }
        assert!((300..2700).contains(&loaded), "{release}: {loaded} of 3000 load all the same");
    }
}

fn extra_version_or_crash(xen: &SimulatedXen) -> Result<u32, Errno> {
    xen.xen_version(1, Some(&mut xen.allocate(16, End::Guarded).unwrap()))
}

#[test]
fn random_requests_are_answered() {
    let mut random = Random::new(2);
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        stack(&xen, &["a", "b"]);
        for _ in 0..2000 {
            let operation = u32::from(byte(&mut random) % 5);
            let mut request = named(&xen, operation, "a");
            for _ in 0..random.below(12) {
                let at = 12 + random.below(124);
                let byte = byte(&mut random);
                request = request.bytes(at, &[byte]);
            }
            if random.below(2) == 0 {
                request = request.memory(16 + 4 * random.below(30), *b"a\0 and more");
            }
            let _ = request.result(&xen);
        }
        assert_eq!(xen.crashed(), None, "no request alone does harm");
    }
}
