//! Reports on payloads for programs, with feature `serde`.
//!
//! Build-ids are hexadecimal. Names and metadata are text, escaped as `Display` does if they are not valid text; addresses are
//! as `Display` writes them.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::{Address, Architecture, Expectation, Finding, Function, HookKind, Payload, PayloadVersion};
use super::{ProblemKind, Reapply, Severity, SymbolName};
use crate::types::text::serde_as_text;
use crate::types::{BuildId, Metadata, to_u64};
use crate::xen::Release;

serde_as_text!(SymbolName, Address, Architecture, HookKind, ProblemKind, Release);

/// The contents of a payload, as [`Payload`] is serialised.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PayloadReport {
    /// The size of the file in bytes.
    pub size: u64,
    /// See [`Payload::size_without_debug`].
    pub size_without_debug: Option<u64>,
    /// See [`Payload::architecture`].
    pub architecture: Architecture,
    /// See [`Payload::build_id`].
    pub build_id: Option<BuildId>,
    /// See [`Payload::depends`].
    pub depends: Option<BuildId>,
    /// See [`Payload::xen_depends`].
    pub xen_depends: Option<BuildId>,
    /// See [`Payload::version`].
    pub version: Option<PayloadVersion>,
    /// The series of the [`point_releases`](Self::point_releases), such as `4.17`.
    pub releases: Vec<String>,
    /// See [`Payload::releases`].
    pub point_releases: Vec<Release>,
    /// See [`Payload::functions`].
    pub functions: Vec<FunctionReport>,
    /// The addresses of the [hooks](Payload::hooks) by kind.
    pub hooks: BTreeMap<HookKind, Vec<Option<Address>>>,
    /// See [`Payload::metadata`].
    pub metadata: Metadata,
    /// See [`Payload::writable_sections`].
    pub writable_sections: Vec<SymbolName>,
    /// True if Xen 4.10 and newer apply it again after a revert.
    pub reapply: bool,
    /// See [`Payload::is_replaceable`].
    pub replaceable: bool,
}

/// A function that a payload replaces, as [`Function`] is serialised.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are those of `Function`")]
pub struct FunctionReport {
    pub name: Option<SymbolName>,
    pub old_address: Option<Address>,
    pub old_size: u32,
    pub new_address: Option<Address>,
    pub new_size: u32,
    /// See [`Function::is_nop`].
    pub nop: bool,
    /// The expected bytes in hexadecimal.
    pub expectation: Option<String>,
}

/// A fault of a payload, as [`Finding`] is serialised.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct FindingReport {
    /// The kind of the problem.
    pub problem: ProblemKind,
    /// See [`Finding::severity`].
    pub severity: Severity,
    /// See [`Finding::releases`].
    pub releases: Vec<Release>,
    /// The problem and its remedy.
    pub text: String,
}

impl From<&Payload> for PayloadReport {
    fn from(payload: &Payload) -> Self {
        let fit = payload.releases();
        let mut series: Vec<String> = fit.iter().map(|release| format!("4.{}", release.minor())).collect();
        series.dedup();
        let mut hooks: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for hook in &payload.hooks {
            hooks.entry(hook.kind).or_default().push(hook.address.clone());
        }
        Self {
            size: to_u64(payload.bytes.len()),
            size_without_debug: payload.size_without_debug(),
            architecture: payload.architecture(),
            build_id: payload.build_id.clone(),
            depends: payload.depends.clone(),
            xen_depends: payload.xen_depends.clone(),
            version: payload.version,
            releases: series,
            point_releases: fit,
            functions: payload.functions.iter().map(FunctionReport::from).collect(),
            hooks,
            metadata: payload.metadata.clone(),
            writable_sections: payload.writable.clone(),
            reapply: payload.reapply((4, 10)) == Reapply::Allowed,
            replaceable: payload.is_replaceable(),
        }
    }
}

impl From<&Function> for FunctionReport {
    fn from(function: &Function) -> Self {
        Self {
            name: function.name.clone(),
            old_address: function.old_address.clone(),
            old_size: function.old_size,
            new_address: function.new_address.clone(),
            new_size: function.new_size,
            nop: function.is_nop(),
            expectation: function.expectation.as_ref().map(|Expectation { bytes, .. }| BuildId::new(bytes).to_string()),
        }
    }
}

impl From<&Finding> for FindingReport {
    fn from(finding: &Finding) -> Self {
        Self {
            problem: finding.kind(),
            severity: finding.severity,
            releases: finding.releases.clone(),
            text: finding.to_string(),
        }
    }
}

macro_rules! as_report {
    ($($name:ty => $report:ty),+) => {$(
        #[doc = concat!("As its [`", stringify!($report), "`].")]
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$report>::from(self).serialize(serializer)
            }
        }
    )+};
}

as_report!(Payload => PayloadReport, Function => FunctionReport, Finding => FindingReport);

/// As its number.
impl Serialize for PayloadVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for PayloadVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(Self::from_raw)
    }
}
