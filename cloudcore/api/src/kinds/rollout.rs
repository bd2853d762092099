//! The execution of one change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind;

kind!(/// The execution record of one change of a deployment; written by cloudcore.
    Rollout, "rollouts", RolloutSpec, RolloutStatus);

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
