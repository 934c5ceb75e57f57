//! Signatures and keys that were changed at random. `tests/signatures/` was made by minisign 0.11: one signature of a hash, and one
//! legacy signature.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const FIRST: &[u8] = include_bytes!("../../../../tests/gcc-payloads/extra-version.livepatch");
const SECOND: &[u8] = include_bytes!("../../../../tests/gcc-payloads/stacked.livepatch");

const FILES: [(&str, &[u8]); 5] = [
    ("first.livepatch", FIRST),
    ("second.livepatch", SECOND),
    ("first.livepatch.minisig", include_bytes!("../../tests/signatures/extra-version.livepatch.minisig")),
    ("second.livepatch.minisig", include_bytes!("../../tests/signatures/stacked.livepatch.minisig")),
    ("trusted.d/release.pub", include_bytes!("../../tests/signatures/release.pub")),
];

proptest! {
    /// Random bytes flipped, and files cut short or exchanged: a payload that is left has signed bytes, and a comment that is shown was
    /// signed as well.
    #[test]
    fn no_payload_is_used_whose_bytes_were_not_signed(
        changes in prop::collection::vec((0..5_usize, any::<Index>(), any::<Index>(), 1..=u8::MAX, 0..8_usize), 1..4),
    ) {
        let place = tempfile::tempdir().unwrap();
        let keys = place.path().join("trusted.d");
        fs::create_dir(&keys).unwrap();
        for (name, contents) in FILES {
            fs::write(place.path().join(name), contents).unwrap();
        }
        for (file, at, from, flip, kind) in changes {
            let path = place.path().join(FILES[file].0);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len().max(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes = fs::read(place.path().join(FILES[from.index(FILES.len())].0)).unwrap(),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip),
            }
            fs::write(path, bytes).unwrap();
        }
        let Ok(trust) = Trust::of_directory(&keys, false, true) else { return Ok(()) };
        prop_assert_eq!(trust.keys.len(), 1);
        let store = trust.read_directory(place.path()).unwrap();
        prop_assert!(!store.payloads().is_empty() || !store.problems().is_empty());
        for stored in store.payloads() {
            let contents = stored.payload().bytes();
            prop_assert!([FIRST, SECOND].contains(&contents));
            let signers = stored.paths().filter_map(|path| trust.signer(path, contents).ok()?);
            for signer in signers {
                let comment = if contents == FIRST { "the first fix" } else { "the second fix" };
                prop_assert_eq!((&*signer.comment, &*signer.key_id), (comment, "B386380F591365EB"));
            }
        }
    }
}
