//! Damaged, swapped and copied files: never a smaller stack without a problem.

use std::path::PathBuf;

use super::directory::{Directory, Outcome, id, old_payload, old_xen, payload, payload_for, xen};
use crate::prelude::*;

/// The files of a stack, lowest first.
struct Stack {
    files: Vec<(&'static str, Vec<u8>)>,
    target: Target,
}

fn stacks() -> [Stack; 3] {
    let gcc = |name: &str| std::fs::read(format!("tests/gcc-payloads/{name}.livepatch")).unwrap();
    let of_gcc: BuildId = "101112131415161718191a1b1c1d1e1f20212223".parse().unwrap();
    [
        Stack { files: vec![("b", payload(1, 0xa0)), ("a", payload(2, 1)), ("c", payload(3, 2))], target: xen(0xa0) },
        Stack { files: vec![("b", old_payload(1, 0xa0)), ("a", old_payload(2, 1))], target: old_xen(0xa0) },
        Stack {
            files: vec![("b", gcc("extra-version")), ("a", gcc("stacked"))],
            target: Target::new((4, 20)).build_id(of_gcc),
        },
    ]
}

impl Stack {
    fn directory(&self) -> Directory {
        let directory = Directory::new();
        for (name, bytes) in &self.files {
            directory.put(format!("{name}.livepatch"), bytes);
        }
        directory
    }

    fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// Returns true if nothing is lost in silence: the stack is the whole one, or there is a problem and it is a part of it.
fn is_safe(outcome: &Outcome, whole: &[String]) -> bool {
    outcome.names == whole || (!outcome.problems.is_empty() && whole.starts_with(&outcome.names))
}

/// Every prefix of every file, so that no part of a copy is taken for nothing; and one flipped bit, or a byte turned over, at
/// every position, its notes included. A file that is cut in the zeros at its end is still whole.
#[test]
fn a_file_that_is_cut_short_or_flipped_is_never_absent() {
    for stack in stacks() {
        let directory = stack.directory();
        assert_eq!(directory.outcome(&stack.target).names, stack.names());
        for (name, bytes) in &stack.files {
            let file = format!("{name}.livepatch");
            let outcome_of = |damaged: &[u8], what: &str| {
                directory.put(&file, damaged);
                let outcome = directory.outcome(&stack.target);
                assert!(is_safe(&outcome, &stack.names()), "{file} {what}: {outcome:?}");
                outcome
            };
            for at in 0..bytes.len() {
                let outcome = outcome_of(&bytes[..at], &format!("cut at {at}"));
                let named = outcome.problems.iter().any(|(_, paths)| *paths[0] == file);
                assert!(named || outcome.problems.is_empty(), "{file} cut at {at}: {outcome:?}");
                for mask in [1 << (at % 8), 0xff] {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= mask;
                    outcome_of(&flipped, &format!("byte {at} ^ {mask:#x}"));
                }
            }
            directory.put(&file, bytes);
        }
    }
}

/// A file of a random layout: its directory, its name, and its contents.
#[derive(Clone, Debug)]
struct Placed {
    path: PathBuf,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Mishap {
    Cut(prop::sample::Index, prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index, u8),
    Swap(prop::sample::Index, prop::sample::Index),
    Copy(prop::sample::Index),
    Empty(prop::sample::Index),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), index()).prop_map(|(file, at)| Mishap::Cut(file, at)),
        (index(), index(), 1..=u8::MAX).prop_map(|(file, at, mask)| Mishap::Flip(file, at, mask)),
        (index(), index()).prop_map(|(one, other)| Mishap::Swap(one, other)),
        index().prop_map(Mishap::Copy),
        index().prop_map(Mishap::Empty),
    ]
}

/// The chain of a Xen, of so many payloads with build-ids from `first` on.
fn chain(xen: u8, first: u8, len: u8) -> Vec<Vec<u8>> {
    (0..len).map(|at| payload_for(first + at, if at == 0 { xen } else { first + at - 1 }, xen)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two Xens with a chain each, in a flat directory, in one for each Xen, or spread at random; with links to the tops, and
    /// with an older payload that a link leaves out.
    #[test]
    fn no_mishap_in_any_layout_shortens_a_stack_in_silence(
        lens in (1..4_u8, 0..4_u8),
        layout in 0..3_u8,
        spread in prop::collection::vec(0..3_u8, 8),
        linked in any::<(bool, bool)>(),
        mishap in mishap(),
    ) {
        let mut chains = [(0xa0, chain(0xa0, 0x11, lens.0)), (0xb0, chain(0xb0, 0x21, lens.1))];
        let lens = chains.each_ref().map(|(_, chain)| chain.len());
        if linked.0 {
            chains[0].1.push(payload(0x31, 0xa0));
        }
        let directory = Directory::new();
        let mut files: Vec<Placed> = Vec::new();
        let mut links = Vec::new();
        for ((of_xen, chain), (len, linked)) in chains.iter().zip(lens.into_iter().zip([linked.0, linked.1])) {
            let own = format!("{}/", id(*of_xen));
            for (at, bytes) in chain.iter().enumerate() {
                let below = match layout {
                    0 => String::new(),
                    1 => own.clone(),
                    _ => format!("{}/", spread[files.len() % spread.len()]),
                };
                let path = PathBuf::from(format!("{below}{of_xen:x}-{at}.livepatch"));
                // Without directories of their own, a link is one Xen's alone.
                if linked && at + 1 == len && (layout == 1 || *of_xen == 0xa0) {
                    let link = format!("{}livepatch.livepatch", if layout == 1 { &own } else { "" });
                    directory.link(&link, directory.path(&path));
                    links.push((*of_xen, path.clone()));
                }
                directory.put(&path, bytes);
                files.push(Placed { path, bytes: bytes.clone() });
            }
        }
        let targets = [xen(0xa0), xen(0xb0)];
        let before = targets.each_ref().map(|target| directory.outcome(target));
        for ((outcome, of_xen), len) in before.iter().zip([0xa0, 0xb0]).zip(lens) {
            prop_assert_eq!(outcome.names.len(), len);
            // In a flat directory the other Xen's link may have been meant for this one.
            let is_unsure = of_xen == 0xb0 && layout == 0 && linked.0 && len > 0;
            prop_assert_eq!(outcome.problems.is_empty(), !is_unsure, "{:?}", outcome);
        }
        // The contents of the file that each link leads to.
        let mut chosen = links.clone();
        match &mishap {
            Mishap::Cut(file, at) => {
                let Placed { path, bytes } = file.get(&files);
                directory.put(path, &bytes[..at.index(bytes.len())]);
            }
            Mishap::Flip(file, at, mask) => {
                let Placed { path, bytes } = file.get(&files);
                let mut bytes = bytes.clone();
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
                directory.put(path, &bytes);
            }
            Mishap::Swap(one, other) => {
                let (one, other) = (one.get(&files), other.get(&files));
                directory.put(&one.path, &other.bytes);
                directory.put(&other.path, &one.bytes);
                for (_, path) in &mut chosen {
                    if *path == one.path {
                        path.clone_from(&other.path);
                    } else if *path == other.path {
                        path.clone_from(&one.path);
                    }
                }
            }
            Mishap::Copy(file) => {
                let Placed { path, bytes } = file.get(&files);
                let copy = format!("copy-of-{}", path.file_name().unwrap().to_str().unwrap());
                directory.put(path.with_file_name(copy), bytes);
            }
            Mishap::Empty(file) => directory.put(&file.get(&files).path, b""),
        }
        for ((target, before), of_xen) in targets.iter().zip(&before).zip([0xa0, 0xb0]) {
            let after = directory.outcome(target);
            if !before.problems.is_empty() {
                // It was no whole stack.
                continue;
            }
            // The older payload may be all that is whole.
            let is_part = |after: &Outcome| before.ids.starts_with(&after.ids) || before.names.starts_with(&after.names) || (of_xen == 0xa0 && linked.0);
            match &mishap {
                Mishap::Copy(_) => {
                    prop_assert_eq!(&after.ids, &before.ids);
                    prop_assert!(after.problems.is_empty(), "{:?}", after);
                }
                // A link that leads to another payload is another choice, which nothing reveals: for the same Xen, or for the
                // other one where both are below the link's directory.
                Mishap::Swap(..) if after.problems.is_empty() && after.ids != before.ids => {
                    let moved = chosen.iter().zip(&links).filter(|(now, then)| now != then);
                    let near = moved.filter(|((of, _), _)| layout != 1 || *of == of_xen).map(|((_, path), _)| path);
                    let contents = near.filter_map(|path| files.iter().find(|file| file.path == *path));
                    let mut tops = contents.map(|file| Payload::parse(&file.bytes).unwrap().build_id().cloned());
                    prop_assert!(tops.any(|top| after.ids.last() == Some(&top)), "{:?} became {:?}", before, after);
                }
                Mishap::Cut(..) | Mishap::Flip(..) | Mishap::Empty(_) if after.problems.is_empty() => {
                    prop_assert_eq!(&after.names, &before.names);
                }
                _ => prop_assert!(is_part(&after), "{:?} became {:?}", before, after),
            }
        }
    }
}
