//! Requests that make no sense get an answer, not a panic. Payloads that make none are tried in tests/payload/properties.rs.

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
