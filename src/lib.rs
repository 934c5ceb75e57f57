//! Live-patch a running Xen hypervisor: upload, apply, revert, replace and unload payloads, on every Xen from 4.7 to 4.22.
//!
//! [`LivepatchClient`] speaks to Xen through `/dev/xen/privcmd`, without libxc. Calls block until Xen has finished.
//! Programs match on errors ([`ErrorKind`]), and people read them: one line with the failure, its cause and its remedy.
//! [`LivepatchClient::ensure`] brings a host to a patch level, as a transaction. Begin with the [`guide`].
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
//! * `sim`: `sim::SimulatedXen`, a whole Xen in memory behind the same door as the device, and `sim::PayloadBuilder`,
//!   which makes payloads that a real Xen loads. For tests.
//! * `serde`: `Serialize` for everything that is read and reported: payloads, findings, build-ids, metadata, the rows of a
//!   list, inventories, plans, outcomes and errors.
//! * `bindgen`: for maintainers, regenerates the bindings.

#![cfg_attr(
    test,
    allow(clippy::as_conversions, clippy::too_many_lines, reason = "tests convert what they know, and list cases")
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
    ActionOptions, ActionRequest, Capabilities, ClientBuilder, EnsureError, Interrupted, LivepatchClient, LoadOptions,
    Outcome, QuiesceTimeout, StepEvent, UploadOptions,
};
pub use error::{Cleanup, Duplicate, Error, ErrorKind, Operation, Result};
pub use hypercall::{Hypercall, HypercallEvent};
pub use inventory::{
    Conflict, InvalidIdentities, Inventory, InventoryEntry, KnownIdentities, ReplacedFunction, Unidentified,
};
pub use payload::{Finding, Payload, Problem, ProblemKind, Severity, Target, UnknownProblemKind};
pub use plan::{Gap, PayloadStore, Plan, PlanError, Step, StoreProblem, StoredPayload, Wanted};
pub use types::action::Action;
pub use types::build_id::{BuildId, InvalidBuildId};
pub use types::errno::Errno;
pub use types::flags::{Flags, KnownFlag};
pub use types::name::{InvalidName, PayloadName, escaped};
pub use types::status::{LoadedPayload, Metadata, State, Status};
pub use types::text::InvalidText;
pub use types::version::XenVersion;
pub use xen::release::{Release, UnknownRelease};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
