//! A device and what is known of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NodePipelineStatus, kind};
use crate::Condition;

kind!(/// One edge device; created by enrollment.
    Node, "nodes", NodeSpec, NodeStatus);

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
    /// One per pipeline that selects the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<NodePipelineStatus>,
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
