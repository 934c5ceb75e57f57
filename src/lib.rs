//! Live patching of a running Xen hypervisor: upload, apply, revert, replace and unload payloads, on Xen 4.7 to 4.22.
//!
//! [`LivepatchClient`] makes hypercalls through `/dev/xen/privcmd`, without libxc. Calls block until Xen has finished. An
//! [`Error`] is one line with the failure, its cause and its remedy; programs match on its [`ErrorKind`].
//! [`LivepatchClient::ensure`] brings a host to a patch level, as a transaction. The [`guide`] explains the concepts.
//!
//! ```
//! use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
//! use xen_livepatch::{Flags, LivepatchClient, PayloadName, Release, State};
//!
//! // `LivepatchClient::open()?` on a real host.
//! let client = LivepatchClient::connect(SimulatedXen::new(Release::V4_20))?;
//! // Real payloads come from files: `client.upload_file(&name, path)`.
//! let payload = PayloadBuilder::named("hello", &client.build_id()?)
//!     .function(FunctionPatch::returning("xen_extra_version", "-hello"));
//!
//! let name = PayloadName::new("hello")?;
//! client.upload(&name, &payload.build())?;
//! client.apply(&name, Flags::empty())?;
//! assert_eq!(client.status(&name)?.state, State::Applied);
//! assert_eq!(client.xen_version()?.extra, "-hello");
//! # Ok::<(), xen_livepatch::Error>(())
//! ```
//!
//! # Features
//!
//! * `sim`: `sim::SimulatedXen`, a model of Xen in memory that stands in for the device, and `sim::PayloadBuilder`, which
//!   makes payloads that a real Xen loads. For tests.
//! * `serde`: `Serialize` for all reports (payloads, findings, lists, inventories, plans, outcomes, errors), and
//!   `Deserialize` for values with one natural form (names, build-ids, states, flags, releases, lists).
//! * `bindgen`: regenerates the bindings. Only for maintainers.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::too_many_lines, reason = "tests convert known values, and list cases")
)]

mod client;
mod diagnosis;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod doctest;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
pub mod hypercall;
mod inventory;
mod loader;
pub mod payload;
pub mod plan;
#[cfg(feature = "sim")]
pub mod sim;
mod sys;
mod types;
mod xen;

pub use client::{
    ActionOptions, ActionRequest, Capabilities, ClientBuilder, EnsureError, Ensured, Interrupted, LivepatchClient,
    LoadOptions, Outcome, QuiesceTimeout, StepEvent, UploadOptions,
};
pub use error::{Cleanup, Duplicate, Error, ErrorKind, Operation, Result};
#[doc(inline)]
pub use hypercall::{Hypercall, HypercallEvent};
pub use inventory::{
    Conflict, InvalidIdentities, Inventory, InventoryEntry, KnownIdentities, ReplacedFunction, Unidentified,
};
#[doc(inline)]
pub use payload::{Finding, Payload, Problem, ProblemKind, Severity, Target, UnknownProblemKind};
#[doc(inline)]
pub use plan::{Gap, PayloadStore, Plan, PlanError, Step, StoreProblem, StoredPayload, Wanted};
pub use types::{
    Action, BuildId, Errno, Flags, InvalidBuildId, InvalidName, InvalidText, KnownFlag, LoadedPayload, Metadata,
    PayloadName, State, Status, XenVersion, escaped,
};
pub use xen::{Release, UnknownRelease};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
