//! The intent: which version, on which nodes, moved how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kind;
use crate::Condition;

kind!(/// The intent that one model version runs on the selected nodes.
    ModelDeployment, "modeldeployments", ModelDeploymentSpec, ModelDeploymentStatus);

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
