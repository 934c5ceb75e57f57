//! A plan: steps, as data.

use core::fmt;
use std::sync::Arc;

use crate::build_id::BuildId;
use crate::inventory::Inventory;
use crate::loader::ProblemKinds;
use crate::name::PayloadName;
use crate::payload::Payload;
use crate::status::State;

/// One step of a plan: an operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Upload a payload.
    #[non_exhaustive]
    Upload {
        /// The name to upload it under.
        name: PayloadName,
        /// Its build-id.
        build_id: BuildId,
    },
    /// Apply a payload on top of what is applied.
    #[non_exhaustive]
    Apply {
        /// The payload.
        name: PayloadName,
    },
    /// Revert the payload on top.
    #[non_exhaustive]
    Revert {
        /// The payload.
        name: PayloadName,
    },
    /// Revert everything and apply a payload, while all CPUs stand still.
    #[non_exhaustive]
    Replace {
        /// The payload.
        name: PayloadName,
        /// What is reverted, in the order of upload.
        reverts: Vec<PayloadName>,
    },
    /// Unload a payload that is not applied.
    #[non_exhaustive]
    Unload {
        /// The payload.
        name: PayloadName,
    },
}

impl Step {
    /// The payload that it is about.
    #[must_use]
    pub const fn name(&self) -> &PayloadName {
        match self {
            Self::Upload { name, .. }
            | Self::Apply { name }
            | Self::Revert { name }
            | Self::Replace { name, .. }
            | Self::Unload { name } => name,
        }
    }

    /// The operation in one word, which stays as it is from version to version.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "upload",
            Self::Apply { .. } => "apply",
            Self::Revert { .. } => "revert",
            Self::Replace { .. } => "replace",
            Self::Unload { .. } => "unload",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.name())?;
        match self {
            Self::Upload { build_id, .. } => write!(f, " (build-id {build_id})"),
            Self::Replace { reverts, .. } => {
                let names: Vec<String> = reverts.iter().map(ToString::to_string).collect();
                write!(f, " (reverts {})", names.join(", "))
            }
            _ => Ok(()),
        }
    }
}

/// The steps from what is loaded to what is wanted.
///
/// Payloads are uploaded before anything is reverted, as far as their names allow, so that one that Xen refuses changes
/// nothing. What is applied is replaced in one step where Xen can do that, so that the host is never unpatched; where it
/// can't, [`gaps`](Self::gaps) tells for how long the host runs without which payloads.
///
/// ```
/// # use xen_livepatch::*;
/// # let (_, client, fix, bytes) = examples::fix()?;
/// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
/// let plan = Plan::new(&client.inventory()?, &wanted)?;
/// assert_eq!(plan.to_string().lines().count(), 2);
/// client.carry_out(&plan, |_| ())?;
/// assert!(Plan::new(&client.inventory()?, &wanted)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) start: Moment,
    /// What is uploaded.
    pub(super) payloads: Vec<(PayloadName, Arc<Payload>)>,
    /// The possible findings that don't keep these from Xen.
    pub(super) accepted: ProblemKinds,
}

/// What a list shows before or after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// In the order of upload.
    pub(crate) loaded: Vec<(PayloadName, State)>,
    /// Counts uploads and unloads.
    pub(crate) version: u32,
}

impl Moment {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let loaded = inventory.payloads.iter().map(|entry| (entry.name.clone(), entry.status.state)).collect();
        Self { loaded, version: inventory.version }
    }

    /// What a step makes of it.
    pub(crate) fn after(mut self, step: &Step) -> Self {
        let mut set = |name: &PayloadName, state| {
            self.loaded.iter_mut().filter(|(other, _)| other == name).for_each(|(_, old)| *old = state);
        };
        match step {
            Step::Upload { name, .. } => self.loaded.push((name.clone(), State::Checked)),
            Step::Unload { name } => self.loaded.retain(|(other, _)| other != name),
            Step::Apply { name } => set(name, State::Applied),
            Step::Revert { name } => set(name, State::Checked),
            Step::Replace { name, reverts } => {
                for reverted in reverts {
                    set(reverted, State::Checked);
                }
                set(name, State::Applied);
            }
        }
        if matches!(step, Step::Upload { .. } | Step::Unload { .. }) {
            self.version = self.version.wrapping_add(1);
        }
        self
    }
}

impl Plan {
    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) const fn start(&self) -> &Moment {
        &self.start
    }

    pub(crate) const fn accepted(&self) -> ProblemKinds {
        self.accepted
    }

    /// What an upload brings.
    pub(crate) fn payload(&self, name: &PayloadName) -> Option<&Payload> {
        self.payloads.iter().find(|(other, _)| other == name).map(|(_, payload)| &**payload)
    }
}

/// A line a step, and a line a gap.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to do");
        }
        let steps = self.steps.iter().zip(1..).map(|(step, number)| format!("{number}. {step}"));
        let gaps = self.gaps().into_iter().map(|gap| gap.to_string());
        let lines: Vec<String> = steps.chain(gaps).collect();
        f.write_str(&lines.join("\n"))
    }
}
