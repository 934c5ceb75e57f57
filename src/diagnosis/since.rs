//! Since which release Xen behaves in which way, as far as requests and actions are concerned.
//!
//! What payloads may contain is another matter, and so is the layout of requests, which goes by interface version.

/// Something that came with a release and has stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A payload that was reverted and has writable data is not applied again.
    ReapplyGuard,
    /// Release builds, too, log why they refuse something.
    ReasonsLogged,
    /// Actions carry flags, `NODEPS` among them.
    ActionFlags,
    /// Hooks before, after and in place of actions.
    ActionHooks,
    /// Payloads say what the code that they replace must look like.
    Expectations,
    /// LIST returns each payload's `.modinfo`.
    Metadata,
    /// The second word of a request holds flags, FORCE among them.
    RequestFlags,
}

struct Row {
    fact: Fact,
    /// In Xen's repository.
    #[cfg_attr(not(test), allow(dead_code, reason = "where to look it up"))]
    commit: &'static str,
    first: (u16, u16),
}

const fn row(fact: Fact, commit: &'static str, first: (u16, u16)) -> Row {
    Row { fact, commit, first }
}

/// None of these was backported to a release that had been made before.
const TABLE: [Row; 7] = [
    row(Fact::ReapplyGuard, "98b728a7b2", (4, 8)),
    row(Fact::ReasonsLogged, "4470efeae4", (4, 13)),
    row(Fact::ActionFlags, "b274989b61", (4, 14)),
    row(Fact::ActionHooks, "8313c864fa", (4, 14)),
    row(Fact::Expectations, "8e24c88788", (4, 14)),
    row(Fact::Metadata, "5083e0ff93", (4, 14)),
    row(Fact::RequestFlags, "62a72092a5", (4, 19)),
];

impl Fact {
    pub(crate) fn first_release(self) -> (u16, u16) {
        // One that the table lacked would hold nowhere.
        TABLE.iter().find(|row| row.fact == self).map_or((u16::MAX, u16::MAX), |row| row.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_row_and_the_table_is_in_order() {
        use Fact as F;
        let all = [
            F::ReapplyGuard,
            F::ReasonsLogged,
            F::ActionFlags,
            F::ActionHooks,
            F::Expectations,
            F::Metadata,
            F::RequestFlags,
        ];
        assert!(TABLE.iter().map(|row| row.fact).eq(all));
        assert!(TABLE.is_sorted_by_key(|row| row.first));
        assert!(TABLE.iter().all(|row| row.commit.len() == 10));
        assert_eq!(F::ReasonsLogged.first_release(), (4, 13));
    }
}
