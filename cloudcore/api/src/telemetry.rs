//! What the fleet measured: summaries, events, the audit trail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `GET /api/v1/summaries`: all windows asked for, merged, per node and model version.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SummaryReport {
    /// One per node.
    pub nodes: Vec<NodeSummary>,
}

/// What one node measured.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// The node.
    pub node: String,
    /// Windows merged.
    pub windows: u64,
    /// Milliseconds that were really measured.
    #[serde(default)]
    pub coverage_ms: u64,
    /// Sequence numbers that were declared lost.
    pub lost: u64,
    /// Bytes of summary payload received.
    pub payload_bytes: u64,
    /// Start of the first window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// End of the last window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// One per model version.
    pub models: Vec<ModelSummary>,
    /// Gauges of the node by name, for example `cpu_percent`, `memory_used_bytes`.
    pub gauges: BTreeMap<String, GaugeSummary>,
}

/// What one model version did on one node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSummary {
    /// The model.
    pub model: String,
    /// The version.
    pub version: String,
    /// Inference requests, failed ones included.
    pub requests: u64,
    /// Failed requests by error class.
    pub errors: BTreeMap<String, u64>,
    /// Latency of a request in the agent, in milliseconds.
    pub latency_ms: Quantiles,
    /// Where that time went: `queue`, `preprocess`, `infer`, `postprocess`; those that requests had.
    #[serde(default)]
    pub phases_ms: BTreeMap<String, Quantiles>,
    /// The model's own confidence, as its manifest defines it.
    pub confidence: Quantiles,
    /// Answers by number of the class; `other` are the less frequent ones together.
    #[serde(default)]
    pub classes: BTreeMap<String, u64>,
    /// Quality of the pictures it was given: `brightness`, `contrast`, `sharpness`.
    #[serde(default)]
    pub image: BTreeMap<String, GaugeSummary>,
    /// Milliseconds with a ready worker.
    #[serde(default)]
    pub ready_ms: u64,
    /// Inputs and outputs beside the package's baseline profile; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// Inputs and outputs of a model beside the baseline profile of its package.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The worst of all distributions: `inconclusive`, `steady`, `watch`, `drift`.
    pub verdict: String,
    /// Features, `image.*`, `output.confidence` and `output.classes`.
    pub distributions: Vec<DistributionDrift>,
}

/// One distribution beside its baseline.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributionDrift {
    /// The feature or output.
    pub name: String,
    /// `inconclusive` below 400 samples weighed against the rows of the baseline, `steady`, `watch` from a PSI of 0.1 on,
    /// `drift` from 0.25 on.
    pub verdict: String,
    /// Values counted.
    pub samples: u64,
    /// Population stability index.
    pub psi: Option<f64>,
    /// Kolmogorov-Smirnov distance at the edges of the bins.
    pub ks: Option<f64>,
    /// Share of values that the baseline never had.
    pub outside: f64,
}

/// Points of a quantile sketch (1 % relative error); absent where nothing was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// Values measured.
    pub count: u64,
    /// Exact.
    pub min: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Exact.
    pub max: Option<f64>,
}

/// A gauge over time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GaugeSummary {
    /// Lowest value.
    pub min: f64,
    /// Mean value.
    pub mean: f64,
    /// Highest value.
    pub max: f64,
}

/// One stored window, as `GET /api/v1/nodes/<name>/windows` lists them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowRow {
    /// The outbox store it came from.
    pub lineage: String,
    /// First sequence number covered.
    pub first: u64,
    /// Last sequence number covered.
    pub last: u64,
    /// When it began, by the node's clock.
    pub start: Timestamp,
    /// How long it was, in milliseconds.
    pub length_ms: u64,
    /// How much of it was really measured, in milliseconds.
    pub coverage_ms: u64,
    /// Whether the agent ended before the window did.
    pub interrupted: bool,
    /// Requests by `model@version`.
    pub requests: BTreeMap<String, u64>,
}

/// Answer of `GET /api/v1/nodes/<name>/windows`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowList {
    /// Ordered by lineage and sequence number.
    pub items: Vec<WindowRow>,
    /// Pass as `continue` to get the next page.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// Something that happened, on a node or in the cloud.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Ever growing; pass the last one as `after` to see what came since.
    pub id: u64,
    /// When, by the clock of who reported it.
    pub time: Timestamp,
    /// `Normal` or `Warning`.
    pub severity: Severity,
    /// Machine-readable, `CamelCase`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Kind and name of what it is about, for example `Node/press-1`.
    pub regarding: String,
}

/// How much attention an event wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Severity {
    /// Nothing to do.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Answer of `GET /api/v1/events`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Ordered by id.
    pub items: Vec<Event>,
}

/// One mutation of intent: who did what.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Ever growing.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// Who: a token's name, `enrollment`, or `bootstrap`.
    pub actor: String,
    /// `create`, `update`, `delete`, `enroll`, `revoke`, `decommission`.
    pub action: String,
    /// Kind and name.
    pub object: String,
    /// `allowed` or `refused`.
    pub outcome: String,
    /// Why it was refused, or what changed.
    pub detail: String,
}

/// Answer of `GET /api/v1/audit`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub items: Vec<AuditRecord>,
}
