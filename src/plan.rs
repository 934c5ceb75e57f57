//! Patch levels: the payloads that a host should have, and the steps to them.
//!
//! A plan is data. It follows from an [`Inventory`](crate::Inventory) and a [`Wanted`], without a hypercall.
//! [`LivepatchClient::carry_out`](crate::LivepatchClient::carry_out) executes it.

mod files;
mod gap;
mod goal;
mod learned;
mod planner;
mod preflight;
mod problem;
#[cfg(feature = "serde")]
mod serialize;
mod situation;
mod step;
mod steps;
mod store;
#[cfg(all(test, feature = "sim"))]
mod tests;
mod wanted;

pub use gap::Gap;
pub(crate) use goal::Goal;
pub(crate) use learned::Learned;
pub use problem::PlanError;
pub(crate) use problem::joined;
pub(crate) use situation::Situation;
pub use step::Step;
pub use steps::Plan;
pub(crate) use steps::way_back;
pub use store::{Ambiguity, PayloadStore, StoreFault, StoreProblem, StoredPayload};
pub use wanted::Wanted;
