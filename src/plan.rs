//! The payloads that a host should have, and the steps from those that it has.
//!
//! Nothing here asks Xen for anything: a plan follows from an [`Inventory`](crate::Inventory) and from what is
//! [`Wanted`], and is data. A client carries it out.

mod gap;
mod making;
mod problem;
#[cfg(feature = "serde")]
mod serialize;
mod steps;
mod store;
#[cfg(all(test, feature = "sim"))]
mod tests;
mod wanted;

pub use gap::Gap;
pub use problem::PlanError;
pub(crate) use steps::Moment;
pub use steps::{Plan, Step};
pub use store::{Ambiguity, PayloadStore, StoreFault, StoreProblem, StoredPayload};
pub use wanted::Wanted;
