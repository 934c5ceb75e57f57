//! Live-patch a running Xen hypervisor: upload, apply, revert, replace and unload payloads, on every Xen from 4.7 to 4.22.
//!
//! [`LivepatchClient`] speaks to Xen through `/dev/xen/privcmd`, without libxc. Calls block until Xen has finished.
//! Programs match on errors ([`ErrorKind`]), and people read them: one line with the failure, its cause and its remedy.
//! [`LivepatchClient::ensure`] brings a host to a patch level, as a transaction. Begin with the [`guide`].
//!
//! ```
//! use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, Release, SimulatedXen};
//! use xen_livepatch::{Flags, LivepatchClient, PayloadName, State};
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

mod architecture;
mod build_id;
mod client;
mod diagnosis;
mod elf;
mod errno;
mod error;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod examples;
#[cfg(feature = "serde")]
mod fields;
mod flags;
mod format;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
pub mod hypercall;
mod identity;
mod inventory;
mod loader;
mod log;
mod name;
pub mod payload;
pub mod plan;
mod release;
mod rules;
#[cfg(feature = "serde")]
mod serialize;
mod shared;
#[cfg(feature = "sim")]
pub mod sim;
mod status;
mod symbol_name;
mod sys;
mod target;
mod version;

pub use build_id::{BuildId, InvalidBuildId};
pub use client::{
    ActionOptions, ActionRequest, Capabilities, ClientBuilder, EnsureError, Interrupted, LivepatchClient, LoadOptions,
    Outcome, QuiesceTimeout, StepEvent, UploadOptions,
};
pub use errno::Errno;
pub use error::{Action, Cleanup, Duplicate, Error, ErrorKind, Operation, Result};
pub use flags::Flags;
pub use hypercall::{Hypercall, HypercallEvent};
pub use inventory::{
    Conflict, InvalidIdentities, Inventory, InventoryEntry, KnownIdentities, ReplacedFunction, Unidentified,
};
pub use name::{InvalidName, PayloadName, escaped};
pub use payload::{Finding, Payload, Problem, ProblemKind, Severity, Target, UnknownProblemKind};
pub use plan::{Gap, PayloadStore, Plan, PlanError, Step, StoreProblem, StoredPayload, Wanted};
pub use release::{Release, UnknownRelease};
pub use status::{LoadedPayload, Metadata, State, Status};
pub use version::XenVersion;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
