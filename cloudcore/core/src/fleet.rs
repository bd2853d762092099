//! Who is there: nodes as observed, deployments as intended, and the conditions told of both.
//!
//! Owns the fleet's own types. The store converts its rows into them and never the other way round
//! without a [`crate::Plan`]. Inputs are facts, not conclusions: a node that is not connected is only
//! *silent*, which is neither success nor failure.

pub mod condition;
pub mod pipeline;
pub mod placement;
pub mod selector;

use std::collections::BTreeMap;

use millwright_proto::Digest;
use millwright_proto::ids::{
    Generation, ModelName, ModelVersion, NodeUid, PipelineName, SiteName, Version,
};

use crate::desired::Desired;
use crate::fleet::condition::{Condition, State};
use crate::fleet::pipeline::{PipelineReport, PipelineSupport};
use crate::fleet::selector::Selector;
use crate::rollout::Strategy;

/// Type of the condition a node reports while somebody at the box holds it.
pub const HELD: &str = "Held";

/// One node: what was enrolled, what it said last, what it was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The device behind the name; another device may get the name later.
    pub uid: NodeUid,
    /// Where it stands.
    pub site: SiteName,
    /// For selectors.
    pub labels: BTreeMap<String, String>,
    /// Whether it may take part.
    pub phase: Phase,
    /// Whether it can be heard.
    pub liveness: Liveness,
    /// What it runs on; `None` before its first session.
    pub platform: Option<Platform>,
    /// Whether its agent runs pipelines of the cloud.
    pub pipelines: PipelineSupport,
    /// When its certificate ends, in Unix milliseconds.
    pub certificate_expires_ms: Option<i64>,
    /// What it said last of its desired state.
    pub report: Report,
    /// What it was told last.
    pub desired: Option<Desired>,
    /// Whether this store knows how far the node has come.
    pub memory: Memory,
    /// The reported generation an operator decided to overrule; see [`crate::desired::Standing`].
    pub reassert: Option<Generation>,
    /// The reported generation an operator decided to take over.
    pub adopt: Option<Generation>,
    /// The status as stored.
    pub status: NodeStatus,
}

/// Whether a node may take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// From enrollment on. Only these nodes are selected and planned for.
    #[default]
    Enrolled,
    /// An operator ended its rights; only a new enrollment brings it back.
    Revoked,
    /// It was taken out of service; its name is free again.
    Decommissioned,
}

/// Whether the store knows every generation that was ever written for a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// It does.
    #[default]
    Whole,
    /// An older backup was restored and the node has not said Hello since: it may work on generations that
    /// this store never saw.
    Restored,
}

/// Whether a node can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It has a live session; entered by Hello, left when the hub sees the transport end.
    Connected {
        /// What carries it.
        transport: Transport,
        /// When anything was last heard, in Unix milliseconds.
        last_seen_ms: i64,
    },
    /// It has none; left by the next Hello. No deadline: offline is normal.
    Silent {
        /// When anything was last heard, in Unix milliseconds; `None` when it never connected.
        since_ms: Option<i64>,
    },
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// WebSocket over TCP.
    WebSocket,
}

/// What a node runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Version of the agent.
    pub agent_version: String,
    /// `aarch64`, `x86_64`.
    pub arch: String,
    /// Version of ONNX Runtime; `None` when the node has none.
    pub onnxruntime: Option<String>,
}

/// What a node said last of its desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Generation and digest it works on; `None` when it has none.
    pub applied: Option<(Generation, Digest)>,
    /// Whether it said more than that.
    pub extent: Extent,
    /// How far each model has come.
    pub slots: BTreeMap<ModelName, SlotReport>,
    /// How each pipeline is doing.
    pub pipelines: BTreeMap<PipelineName, PipelineReport>,
    /// What it says of itself: condition type to what is told.
    pub conditions: BTreeMap<String, ReportedCondition>,
}

/// How much a node said of what it works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Its generation, which comes with Hello.
    #[default]
    Generation,
    /// Its models too: a node without any has none.
    Models,
}

/// How far one model has come on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The version the node was told to run.
    pub version: Version,
    /// How far that version has come.
    pub state: SlotState,
    /// The version that answers requests.
    pub active: Option<Version>,
    /// Machine-readable; empty when all is well.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How far a wanted version has come on a node. Each state is entered when the one before it is done;
/// `Failed` from any of them. None has a deadline here: a silent node is inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing on the node yet.
    Pending,
    /// All files are on the node.
    Staged,
    /// Signature and digests were checked.
    Verified,
    /// A worker has it loaded and its golden outputs agree.
    Warmed,
    /// It answers requests.
    Active,
    /// It was refused; the version before keeps answering.
    Failed,
}

/// One aspect of itself that a node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedCondition {
    /// Whether it holds.
    pub state: State,
    /// Machine-readable, `CamelCase`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The intent that one model version runs on the selected nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Counts changes of the intent.
    pub generation: u64,
    /// When it was made, in Unix milliseconds: the older of two deployments wins a conflict.
    pub created_ms: i64,
    /// What every selected node shall run.
    pub target: ModelVersion,
    /// Which nodes.
    pub selector: Selector,
    /// How a change moves through them.
    pub strategy: Strategy,
    /// The status as stored.
    pub status: DeploymentStatus,
}

/// What is told of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentStatus {
    /// The generation of the intent this speaks of.
    pub observed_generation: u64,
    /// `Available`, `Progressing`, and `Conflict` while there is one.
    pub conditions: Vec<Condition>,
    /// Nodes it has: selected and not taken by an older deployment of the same model.
    pub selected: u32,
    /// Of those, nodes that answer requests with the target.
    pub active: u32,
    /// Number of the newest rollout.
    pub rollout: Option<u64>,
}

/// What is told of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The device behind the name.
    pub uid: Option<NodeUid>,
    /// Whether it may take part.
    pub phase: Phase,
    /// `Connected`, `AheadOfCloud` while it is, and what the node reports of itself.
    pub conditions: Vec<Condition>,
    /// What carries its session; `None` while it has none.
    pub transport: Option<Transport>,
    /// When anything was last heard, in Unix milliseconds.
    pub last_seen_ms: Option<i64>,
    /// What it runs on.
    pub platform: Option<Platform>,
    /// Generation last planned for it.
    pub desired_generation: Generation,
    /// Generation it last said it works on.
    pub applied_generation: Generation,
    /// One per model it was told to run.
    pub models: BTreeMap<ModelName, SlotReport>,
    /// One per pipeline that selects it.
    pub pipelines: BTreeMap<PipelineName, PipelineReport>,
    /// When its certificate ends, in Unix milliseconds.
    pub certificate_expires_ms: Option<i64>,
}

/// What is told of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteStatus {
    /// Nodes enrolled at it and not decommissioned.
    pub nodes: u32,
    /// Of those, connected ones.
    pub connected: u32,
}

impl Report {
    /// Whether the node said what it runs.
    #[must_use]
    pub fn tells_models(&self) -> bool {
        self.extent == Extent::Models || !self.slots.is_empty()
    }
}

impl Node {
    /// Whether it has a live session.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.liveness, Liveness::Connected { .. })
    }

    /// Why somebody at the box holds it, as far as it said; `None` when nobody does.
    #[must_use]
    pub fn held_at_node(&self) -> Option<&str> {
        let told = self.report.conditions.get(HELD)?;
        (told.state == State::True).then_some(told.message.as_str())
    }

    /// The version of `model` that answers requests on it, as far as it said.
    #[must_use]
    pub fn active_version(&self, model: &ModelName) -> Option<&Version> {
        self.report.slots.get(model)?.active.as_ref()
    }
}
