//! The kinds: `Site`, `Node`, `JoinToken`, `Model`, `ModelVersion`, `ModelDeployment`, `Rollout`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Condition, Kind};

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $plural:literal, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
        pub struct $name;

        impl Kind for $name {
            const KIND: &'static str = stringify!($name);
            const PLURAL: &'static str = $plural;
            type Spec = $spec;
            type Status = $status;
        }
    };
}

kind!(/// A factory.
    Site, "sites", SiteSpec, SiteStatus);
kind!(/// One edge device; created by enrollment.
    Node, "nodes", NodeSpec, NodeStatus);
kind!(/// Lets devices enroll at one site for a short time.
    JoinToken, "jointokens", JoinTokenSpec, JoinTokenStatus);
kind!(/// A model, whatever its version.
    Model, "models", ModelSpec, ModelStatus);
kind!(/// One immutable signed version; `metadata.name` is `<model>@<version>`.
    ModelVersion, "modelversions", ModelVersionSpec, ModelVersionStatus);
kind!(/// The intent that one model version runs on the selected nodes.
    ModelDeployment, "modeldeployments", ModelDeploymentSpec, ModelDeploymentStatus);
kind!(/// The execution record of one change of a deployment; written by cloudcore.
    Rollout, "rollouts", RolloutSpec, RolloutStatus);

/// What a site is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteSpec {
    /// For people, for example `Plant Leipzig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// IANA time zone, for example `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Power-grid zone, for example `DE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_zone: Option<String>,
}

/// How a site is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// Nodes enrolled at this site.
    #[serde(default)]
    pub nodes: u32,
    /// Of those, with a live session.
    #[serde(default)]
    pub connected: u32,
}

/// What people say of a node. Labels are in `metadata.labels`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// The site it was enrolled at. Immutable: a change of site is a new enrollment.
    pub site: String,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Immutable identity made on the device, 32 hex digits.
    #[serde(default)]
    pub uid: String,
    /// Enrolled, revoked or decommissioned.
    #[serde(default)]
    pub phase: NodePhase,
    /// `Connected`, `AheadOfCloud`, and what the node reports of itself, for example `RuntimeMissing`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// How it is connected; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// When anything was last heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// `aarch64`, `x86_64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Version of ONNX Runtime on the node; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<String>,
    /// Generation of the desired state the cloud last planned.
    #[serde(default)]
    pub desired_generation: u64,
    /// Generation the node last said it works on.
    #[serde(default)]
    pub applied_generation: u64,
    /// One per model that the node was told to run.
    #[serde(default)]
    pub models: Vec<NodeModelStatus>,
    /// When the certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<Timestamp>,
}

/// How far one model has come on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeModelStatus {
    /// The model.
    pub model: String,
    /// The version wanted.
    pub version: String,
    /// How far the wanted version has come.
    pub state: SlotState,
    /// The version that answers requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_version: Option<String>,
    /// Why it is not further; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How far a wanted version has come on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum SlotState {
    /// Wanted; nothing on the node yet.
    #[default]
    Pending,
    /// All files are on the node.
    Staged,
    /// The signature and every digest were checked on the node.
    Verified,
    /// A worker has it loaded and its golden outputs agree.
    Warmed,
    /// It answers requests.
    Active,
    /// It was refused; the version before keeps answering.
    Failed,
}

/// Whether a node may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum NodePhase {
    /// It may.
    #[default]
    Enrolled,
    /// Its certificate and keys are refused, for example after theft.
    Revoked,
    /// It was taken out of service; its name is free again.
    Decommissioned,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// WebSocket over TCP.
    Websocket,
}

/// Whom a join token lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenSpec {
    /// Devices are enrolled at this site.
    pub site: String,
    /// How many devices may use it; 1 when left out.
    #[serde(default = "one_use")]
    pub uses: u32,
    /// Seconds it is good for; 600 when left out, at most 604800 (a week).
    #[serde(default = "ten_minutes")]
    pub ttl_seconds: u32,
}

fn one_use() -> u32 {
    1
}

fn ten_minutes() -> u32 {
    600
}

/// What is left of a join token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// The token itself, only in the answer to its creation; kept hashed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Devices that may still use it.
    #[serde(default)]
    pub uses_left: u32,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether somebody ended it early.
    #[serde(default)]
    pub revoked: bool,
}

/// What a model is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// What it does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// How many versions were pushed.
    #[serde(default)]
    pub versions: u32,
}

/// A signed package: every file was uploaded as a blob before this is created. Immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelVersionSpec {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The package's files, ordered by path; `model.yaml` is one of them.
    pub files: Vec<PackageFile>,
    /// The signature bundle (Sigstore JSON) as text, exactly as signed.
    pub bundle: String,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageFile {
    /// Relative, with `/` between parts.
    pub path: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What cloudcore read out of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelVersionStatus {
    /// From the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX licence of the model, from the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// All files together, in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// Hint of the key that signed it.
    #[serde(default)]
    pub signed_by: String,
}

/// This model, this version, on those nodes, by this strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelDeploymentSpec {
    /// The model.
    pub model: String,
    /// The version every selected node shall run.
    pub version: String,
    /// Which nodes.
    #[serde(default)]
    pub selector: Selector,
    /// How a change moves through them.
    #[serde(default)]
    pub strategy: Strategy,
}

/// Which nodes. Everything given must hold; nothing given selects every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Nodes with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Nodes at one of these sites; empty means every site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
}

/// How a change moves through the selected nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// Waves in order; the nodes no wave takes move in a last one. None: all nodes in one wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveSpec>,
    /// How many nodes may be changing at once, at least 1; every node of the wave when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,
    /// Seconds the replaced version stays loaded on a node; 30 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prove_for_seconds: Option<u32>,
    /// What happens on a node whose memory does not hold both versions at once; `refused` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// What happens on a node whose memory does not hold both versions of a model at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gap {
    /// The change waits with reason `Memory`, and the version before it serves on.
    Refused,
    /// The version before it ends first; nobody answers until the new one is loaded.
    Allowed,
}

/// One wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaveSpec {
    /// For people, for example `canary`.
    pub name: String,
    /// Percent of all selected nodes, rounded up, at least one node; 1 to 100.
    pub percent: u8,
}

/// How a deployment is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelDeploymentStatus {
    /// The `metadata.generation` this status speaks of.
    #[serde(default)]
    pub observed_generation: u64,
    /// `Available`, `Progressing`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Nodes selected.
    #[serde(default)]
    pub selected: u32,
    /// Of those, nodes that answer requests with the wanted version.
    #[serde(default)]
    pub active: u32,
    /// Name of the newest rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// Which change a rollout executes. `metadata.name` is `<deployment>-<number>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutSpec {
    /// The deployment.
    pub deployment: String,
    /// Its generation.
    pub deployment_generation: u64,
    /// The model.
    pub model: String,
    /// The version it rolls out.
    pub version: String,
    /// Nodes of each wave, in order.
    pub waves: Vec<RolloutWave>,
}

/// One group of nodes that moves together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutWave {
    /// For people.
    pub name: String,
    /// The nodes, by name.
    pub nodes: Vec<String>,
}

/// How far a rollout has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: RolloutPhase,
    /// Index of the wave that moves now, from 0.
    #[serde(default)]
    pub wave: u32,
    /// What was measured of every node of the waves begun so far.
    #[serde(default)]
    pub nodes: Vec<RolloutNodeStatus>,
    /// For people: why it stands where it stands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RolloutPhase {
    /// Waves are moving or waited for.
    #[default]
    Progressing,
    /// Every node of every wave has the version active.
    Succeeded,
    /// A node refused the version; later waves did not begin.
    Failed,
    /// A newer rollout of the same deployment took over.
    Superseded,
}

/// What one node made of the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutNodeStatus {
    /// The node.
    pub node: String,
    /// The verdict so far.
    pub verdict: Verdict,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// Not known yet; a silent node is neither success nor failure.
    Inconclusive,
}
