//! Directories of payloads, signatures and keys. `tests/signatures/` was made by minisign 0.11: one signature of a hash, one legacy
//! signature, and one by another key.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::*;

const FIRST: &[u8] = include_bytes!("../../../../tests/gcc-payloads/extra-version.livepatch");
const SECOND: &[u8] = include_bytes!("../../../../tests/gcc-payloads/stacked.livepatch");
const OF_FIRST: &[u8] = include_bytes!("../../tests/signatures/extra-version.livepatch.minisig");
const OF_SECOND: &[u8] = include_bytes!("../../tests/signatures/stacked.livepatch.minisig");
const BY_OTHER: &[u8] = include_bytes!("../../tests/signatures/stacked.livepatch.other.minisig");
const KEY: &[u8] = include_bytes!("../../tests/signatures/release.pub");
const OTHER_KEY: &[u8] = include_bytes!("../../tests/signatures/other.pub");

const KEY_ID: &str = "B386380F591365EB";
const OTHER_ID: &str = "29611D42CBE9BE54";

/// The files by their names: payloads and signatures, and keys in `trusted.d`.
struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("trusted.d")).unwrap();
        for (name, contents) in files {
            place.put(name, contents);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn trust(&self) -> Result<Trust, Failure> {
        Trust::of_directory(&self.path("trusted.d"), false, true)
    }

    /// The trusted files, and the reasons against the others, without the path of this directory.
    fn verdicts(&self) -> (Vec<String>, Vec<String>) {
        let store = self.trust().unwrap().read_directory(self.0.path()).unwrap();
        let directory = format!("{}/", self.0.path().display());
        let names = store.payloads().iter().map(|stored| stored.name().to_string());
        let reasons = store.problems().iter().map(|problem| problem.to_string().replace(&directory, ""));
        (names.collect(), reasons.collect())
    }
}

fn signed() -> Place {
    Place::new(&[
        ("trusted.d/release.pub", KEY),
        ("first.livepatch", FIRST),
        ("first.livepatch.minisig", OF_FIRST),
        ("second.livepatch", SECOND),
        ("second.livepatch.minisig", OF_SECOND),
    ])
}

#[test]
fn signatures_of_both_kinds_are_verified() {
    let signer =
        |comment: &str| Some(Signer { key: "release.pub".into(), key_id: KEY_ID.into(), comment: comment.into() });
    let place = signed();
    let trust = place.trust().unwrap();
    for (file, contents, comment) in [("first", FIRST, "the first fix"), ("second", SECOND, "the second fix")] {
        let file = place.path(&format!("{file}.livepatch"));
        assert_eq!(trust.signer(&file, contents), Ok(signer(comment)));
    }
    assert_eq!(place.verdicts(), (vec!["first".into(), "second".into()], Vec::new()));
}

#[test]
fn every_reason_names_the_keys() {
    let trusted = format!("trusted are signatures by key {KEY_ID} (release.pub)");
    let wrong = format!("by key {KEY_ID} does not match: one of the files was changed");
    let cases: [(&[u8], String); 6] = [
        (BY_OTHER, format!("is by key {OTHER_ID}; {trusted}")),
        (OF_FIRST, wrong.clone()),
        (&OF_SECOND.to_ascii_lowercase(), "is not a signature of minisign".into()),
        (b"", "is not a signature of minisign".into()),
        (b"\xff", ": invalid data".into()),
        (&b"x".repeat(70_000), ": it has more than 65536 bytes".into()),
    ];
    let place = signed();
    let verdict = |reason: &str| {
        let reason = format!("second.livepatch: it is not trusted: second.livepatch.minisig{reason}");
        assert_eq!(place.verdicts(), (vec!["first".into()], vec![reason]));
    };
    for (signature, reason) in &cases {
        place.put("second.livepatch.minisig", signature);
        verdict(&if reason.starts_with(':') { reason.clone() } else { format!(" {reason}") });
    }
    fs::remove_file(place.path("second.livepatch.minisig")).unwrap();
    verdict(&format!(" is missing; {trusted}"));
    place.put("trusted.d/older.pub", OTHER_KEY);
    verdict(&format!(" is missing; trusted are signatures by key {OTHER_ID} (older.pub), {KEY_ID} (release.pub)"));
    place.put("second.livepatch.minisig", BY_OTHER);
    assert_eq!(place.verdicts().0.len(), 2);
}

#[test]
fn one_signature_is_enough_for_files_with_the_same_contents() {
    let place = signed();
    place.put("again.livepatch", SECOND);
    assert_eq!(place.verdicts(), (vec!["again".into(), "first".into()], Vec::new()));
    place.put("again.livepatch.minisig", BY_OTHER);
    assert_eq!(place.verdicts().1.len(), 0);
    place.put("second.livepatch.minisig", BY_OTHER);
    assert_eq!(place.verdicts().1.len(), 1);
}

/// Two keys may have the same number by chance, or because someone made one so.
#[test]
fn the_number_of_a_key_proves_nothing() {
    let place = signed();
    let forged = String::from_utf8(KEY.to_vec()).unwrap().replace("OkBHrA", "OkBHrB");
    place.put("trusted.d/a.pub", forged.as_bytes());
    assert_eq!(place.verdicts().0.len(), 2);
    fs::remove_file(place.path("trusted.d/release.pub")).unwrap();
    assert_eq!(place.verdicts().0.len(), 0);
}

#[test]
fn keys_that_can_not_be_used_are_an_error() {
    let place = signed();
    let keys = |place: &Place| place.trust().map(|trust| trust.keys.len()).map_err(|failure| failure.message);
    place.put("trusted.d/README", b"no key");
    place.put("trusted.d/release.pub.bak", b"no key");
    assert_eq!(keys(&place), Ok(1));
    let bad = place.path("trusted.d/bad.pub");
    let shown = bad.display().to_string();
    for contents in [b"".as_slice(), OF_FIRST, b"untrusted comment: x\nRWTrZRNZDziG\n", b"\xff\xfe"] {
        fs::write(&bad, contents).unwrap();
        let error = keys(&place).unwrap_err();
        assert!(error.starts_with(&shown) && error.ends_with("; nothing is trusted"), "{error}");
    }
    fs::remove_file(&bad).unwrap();
    for (target, is_key) in [("release.pub", true), ("nowhere", false), ("..", false)] {
        symlink(target, &bad).unwrap();
        assert_eq!(keys(&place).is_ok(), is_key, "{target}");
        fs::remove_file(&bad).unwrap();
    }
    fs::remove_dir_all(place.path("trusted.d")).unwrap();
    assert_eq!(keys(&place), Ok(0));
    assert!(Trust::of_directory(&place.path("trusted.d"), true, false).is_err());
    fs::create_dir(place.path("empty")).unwrap();
    symlink("empty", place.path("trusted.d")).unwrap();
    assert_eq!(keys(&place), Ok(0));
    assert!(Trust::of_directory(&place.path("trusted.d"), true, false).is_err());
    fs::remove_dir(place.path("empty")).unwrap();
    assert!(keys(&place).is_err());
    fs::remove_file(place.path("trusted.d")).unwrap();
    place.put("trusted.d", b"");
    assert!(keys(&place).is_err());
    // A link on the way that leads nowhere, and one to a directory without that of keys.
    for (target, keys) in [("nowhere", None), (".", Some(0))] {
        symlink(target, place.path("etc")).unwrap();
        let trust = Trust::of_directory(&place.path("etc/xen-livepatch/trusted.d"), false, true);
        assert_eq!(trust.ok().map(|trust| trust.keys.len()), keys, "{target}");
        fs::remove_file(place.path("etc")).unwrap();
    }
}

proptest! {
    /// Random bytes flipped, and files cut short or exchanged: a payload that is left has signed bytes, and a comment that is shown was
    /// signed as well.
    #[test]
    fn no_payload_is_used_whose_bytes_were_not_signed(
        changes in prop::collection::vec((0..5_usize, any::<Index>(), any::<Index>(), 1..=u8::MAX, 0..8_usize), 1..4),
    ) {
        let names =
            ["first.livepatch", "second.livepatch", "first.livepatch.minisig", "second.livepatch.minisig", "trusted.d/release.pub"];
        let place = signed();
        for (file, at, from, flip, kind) in changes {
            let path = place.path(names[file]);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len().max(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes = fs::read(place.path(names[from.index(names.len())])).unwrap(),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip),
            }
            fs::write(path, bytes).unwrap();
        }
        let Ok(trust) = place.trust() else { return Ok(()) };
        prop_assert_eq!(trust.keys.len(), 1);
        let store = trust.read_directory(place.0.path()).unwrap();
        prop_assert!(!store.payloads().is_empty() || !store.problems().is_empty());
        for stored in store.payloads() {
            let contents = stored.payload().bytes();
            prop_assert!([FIRST, SECOND].contains(&contents));
            let signers = stored.paths().filter_map(|path| trust.signer(path, contents).ok()?);
            for signer in signers {
                let comment = if contents == FIRST { "the first fix" } else { "the second fix" };
                prop_assert_eq!((&*signer.comment, &*signer.key_id), (comment, KEY_ID));
            }
        }
    }
}
