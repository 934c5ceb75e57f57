//! The changes in Xen's behaviour: a table, each row with Xen's commit, the first release that has it, and the point
//! releases of older series that have it too.

use crate::xen::format::SectionName;
use crate::xen::{Release, Target};

/// A behaviour that Xen has from a release on.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Xen's commit.
    #[cfg_attr(not(test), expect(dead_code, reason = "the source of the fact"))]
    pub(crate) commit: &'static str,
    /// The minor number of the first release 4.X.0 that has it; all later ones do.
    pub(crate) first: u16,
    /// Minor number and point of the releases of older series from which on they have it as well.
    pub(crate) backports: &'static [(u16, u16)],
}

/// The answer of a rule for a Xen with only bounds on the point release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    No,
    /// Some of the point releases do.
    Perhaps,
    Yes,
}

impl Certainty {
    pub(crate) fn surely(self) -> bool {
        self == Self::Yes
    }
}

const fn rule(first: u16, backports: &'static [(u16, u16)], commit: &'static str) -> Rule {
    Rule { commit, first, backports }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident = $first:literal $backports:expr, $commit:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "only the simulated Xen has some of them"))]
            pub(crate) const $name: Rule = rule($first, &$backports, $commit);
        )+
        pub(crate) const ALL: &[(&str, Rule)] = &[$((stringify!($name), $name)),+];
    };
}

rules! {
    /// No new address means that the old code becomes no-operations; an old size of 0 is refused.
    NOP_PATCHES = 8 [], "67af3e52f4";
    /// Code must be within reach of a jump from what it replaces.
    DISTANCE_CHECKED = 8 [], "84eabb2754";
    /// Debug key `x` gives the lock of the payloads back, also after a payload with more than 64 functions.
    DUMP_GIVES_LOCK_BACK = 9 [(7, 3), (8, 2)], "75dfe7c566";
    /// Hooks at load and unload.
    LOAD_HOOKS = 8 [], "e602d66660";
    /// Sections without bytes in the file are limited as well.
    NOBITS_LIMITED = 8 [], "c1d255584c";
    /// Empty sections get no address, until `EMPTY_SECTIONS_PLACED`.
    EMPTY_SECTIONS_IGNORED = 8 [], "98b728a7b2";
    /// The size of a relocation section is checked before its type, and an empty one is skipped.
    RELOCATION_SIZE_FIRST = 8 [], "aa1ae74cb5";
    /// The number of a relocation's symbol is checked for 0, and for the one after the last.
    SYMBOL_NUMBER_CHECKED = 10 [(7, 4), (8, 2), (9, 1)], "2ff229643b";
    /// Alignments are powers of two, and addresses are aligned.
    ALIGNMENT_CHECKED = 10 [], "c3f951417f";
    /// `.ex_table` may be empty.
    EMPTY_EX_TABLE = 10 [], "7597fabca7";
    /// A reverted payload with writable data can't be applied again.
    REAPPLY_GUARDED = 8 [], "98b728a7b2";
    /// A payload without any writable section can be applied again, as one with `.livepatch.funcs` alone.
    READ_ONLY_REAPPLIES = 10 [], "66d3f83db6";
    /// An alternative has padding, and 14 bytes instead of 12.
    PADDED_ALTERNATIVES = 11 [], "4008c71d7a";
    /// A branch among the alternatives may stand for an indirect call, whose pointer Xen reads.
    INDIRECT_ALTERNATIVES = 13 [], "67d01cdb55";
    /// Release builds log the reason of a refusal.
    REASONS_ON_CONSOLE = 13 [], "4470efeae4";
    /// x86 applies nothing while a virtual CPU waits inside Xen. REPLACE looks after it has reverted the others.
    WAITQUEUES_CHECKED = 13 [(11, 3), (12, 2)], "ca4cd36682";
    /// LIST packs names, and has room for metadata.
    PACKED_LAYOUT = 14 [], "b145b4a39c";
    /// `.livepatch.xen_depends` is required, and compared at upload.
    XEN_DEPENDS = 14 [], "879615f5db";
    /// Actions carry flags, `NODEPS` among them.
    ACTION_FLAGS = 14 [], "b274989b61";
    /// LIST returns the `.modinfo` of each payload.
    METADATA_LISTED = 14 [], "5083e0ff93";
    /// Hooks around and instead of actions; a payload may consist of hooks alone, and none of these sections is empty.
    ACTION_HOOKS = 14 [], "8313c864fa";
    /// Payload version 2. Xen keeps whether a function is patched in its entry, until `STATE_ELSEWHERE`.
    PAYLOAD_VERSION_2 = 14 [], "6047104c3c";
    /// Functions may have expectations of the old code.
    EXPECTATIONS = 14 [], "8e24c88788";
    /// `.modinfo` is read.
    METADATA = 14 [], "4848297ad4";
    /// `endbr64` stays in place: patched code begins after it. The old address is found before sizes are checked.
    ENDBR_AWARE = 17 [(14, 5), (15, 3), (16, 1)], "6974c75180";
    /// An `endbr64` that Xen has overwritten counts as well.
    ENDBR_POISON = 17 [], "6974c75180";
    /// Empty sections get an address again.
    EMPTY_SECTIONS_PLACED = 17 [(14, 5), (15, 3), (16, 1)], "0dc1f929e8";
    /// Relocations against symbols of sections that are not loaded are refused.
    UNLOADED_SYMBOLS_REFUSED = 17 [(14, 5), (15, 3), (16, 1)], "9120b5737f";
    /// Xen makes only code writable to patch it, no longer all of its memory.
    CODE_ALONE_WRITABLE = 18 [(16, 4), (17, 1)], "8676092a0f";
    /// Alternatives have to be inside the payload's code and `.altinstr_replacement`.
    ALTERNATIVES_CHECKED = 18 [(17, 4)], "e74360e4ba";
    /// Arm runs functions through bug frames as well, which makes a fourth table of them.
    FOURTH_BUG_FRAMES_ON_ARM = 15 [], "c8d4b6304a";
    /// An alternative on Arm may have a function to call, in place of a replacement.
    ALTERNATIVE_CALLBACKS_ON_ARM = 12 [], "3e9db39ea0";
    /// Xen keeps its state of a function outside `.livepatch.funcs`.
    STATE_ELSEWHERE = 19 [(17, 3), (18, 1)], "82182ad7b4";
    /// The code of a payload is registered from its upload on, not only while it is applied; and UNLOAD waits for all CPUs.
    UNLOAD_WAITS = 19 [(17, 4), (18, 1)], "a57b4074ab";
    /// The second word of a request holds flags.
    REQUEST_FLAGS = 19 [], "62a72092a5";
    /// The build-id is copied as other strings of variable length are.
    BUILD_ID_AS_VARBUF = 20 [], "8eed14bf9d";
    /// Xen's build-id is compared before anything is linked, and a section has one address: where it was loaded, or
    /// where the upload has it.
    XEN_DEPENDS_FIRST = 20 [(18, 4), (19, 1)], "fa49f4be41";
    /// Wrong alternatives, which crashed Xen before, are refused.
    ALTERNATIVES_REFUSED = 20 [(18, 4), (19, 1)], "aa5a06d5d6";
    /// The highest bit of an alternative's feature inverts the condition.
    NEGATED_ALTERNATIVES = 21 [(17, 6), (18, 5), (19, 3), (20, 1)], "328ed39c59";
    /// LIST requests contain the size of the buffers.
    LIST_BUFFER_SIZES = 21 [], "4c3ce492ed";
    /// `.alt_call_sites` takes the place of indirect calls among the alternatives.
    ALT_CALL_SITES = 21 [], "d2fd5f0fcd";
}

/// Returns true if Xen applies a payload with these writable sections again after a revert; of one without any, the release
/// decides.
pub(crate) fn allows_reapply<'n>(mut writable: impl Iterator<Item = &'n [u8]>, without_any: bool) -> bool {
    match (writable.next(), writable.next()) {
        (None, _) => without_any,
        (Some(only), None) => only == SectionName::Funcs.text().as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

impl Rule {
    /// Returns true if a release has the behaviour.
    pub(crate) fn holds_in(&self, release: Release) -> bool {
        let (minor, point) = (release.minor(), release.point());
        minor >= self.first || self.backports.iter().any(|(series, first)| *series == minor && point >= *first)
    }

    /// The answer for a Xen, as far as its release is known.
    pub(crate) fn holds(&self, target: &Target) -> Certainty {
        // Later point releases of a series have every behaviour of earlier ones.
        let (oldest, newest) = target.range();
        match (self.holds_in(oldest), self.holds_in(newest)) {
            (true, _) => Certainty::Yes,
            (false, true) => Certainty::Perhaps,
            (false, false) => Certainty::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each rule, on the last release before it, and on the first that has it.
    #[test]
    fn rules_hold_from_their_first_release_on() {
        for (name, rule) in ALL {
            assert!(rule.commit.len() == 10, "{name}");
            let at = |minor, point| {
                let holds = rule.holds_in(Release::of(minor, point));
                let target = Target::new((4, minor)).point(point);
                assert_eq!(rule.holds(&target), if holds { Certainty::Yes } else { Certainty::No }, "{name}");
                holds
            };
            assert!(at(rule.first, 0), "{name}");
            assert!(at(22, 0), "{name}");
            assert_eq!(rule.holds(&Target::new((5, 0))), Certainty::Yes, "{name}");
            let series: Vec<u16> = rule.backports.iter().map(|(minor, _)| *minor).collect();
            for minor in 7..rule.first {
                let unknown = rule.holds(&Target::new((4, minor)));
                let expected = if series.contains(&minor) { Certainty::Perhaps } else { Certainty::No };
                assert_eq!(unknown, expected, "{name} 4.{minor}");
            }
            for (minor, point) in rule.backports {
                assert!(!at(*minor, point - 1), "{name} 4.{minor}");
                assert!(at(*minor, *point), "{name} 4.{minor}");
            }
        }
    }
}
