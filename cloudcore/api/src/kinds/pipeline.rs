//! Pipelines on selected nodes.

use millwright_proto::ids::PipelineName;
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::kind;
use crate::Condition;

kind!(/// Source, preprocess, model, decode and sinks, running on the selected nodes.
    Pipeline, "pipelines", PipelineSpec, PipelineStatus);

/// What runs on which nodes: word for word what a pipeline file of a node says, with `selector`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PipelineSpec(pub millwright_pipeline::Spec);

impl PipelineSpec {
    /// The pipeline `name` as its nodes get it: which nodes those are is none of their business.
    #[must_use]
    pub fn on_node(&self, name: PipelineName) -> millwright_pipeline::Pipeline {
        millwright_pipeline::Pipeline {
            api_version: millwright_pipeline::ApiVersion::V1,
            kind: millwright_pipeline::Kind::Pipeline,
            metadata: millwright_pipeline::Metadata::named(name),
            spec: millwright_pipeline::Spec {
                selector: None,
                ..self.0.clone()
            },
        }
    }
}

impl PartialSchema for PipelineSpec {
    fn schema() -> RefOr<Schema> {
        let meaning = "As `spec` of a pipeline file (docs/pipelines.md): selector {matchLabels, sites}, source, \
                       preprocess, model, decode, sinks, backPressure, mask. Unknown keys are refused.";
        ObjectBuilder::new().description(Some(meaning)).into()
    }
}

impl ToSchema for PipelineSpec {}

/// How a pipeline is doing on its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// The `metadata.generation` this status speaks of.
    #[serde(default)]
    pub observed_generation: u64,
    /// `Running`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Nodes selected.
    #[serde(default)]
    pub selected: u32,
    /// Of those, nodes that run it as it is now.
    #[serde(default)]
    pub running: u32,
    /// Of those, nodes that do not take it; the condition tells the first reason.
    #[serde(default)]
    pub refused: u32,
}

/// How one pipeline is doing on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePipelineStatus {
    /// The pipeline.
    pub pipeline: String,
    /// How it is doing.
    pub state: PipelineState,
    /// Why it is not taken; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a pipeline is doing on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum PipelineState {
    /// Wanted as it is now; the node has not spoken of it yet.
    #[default]
    Pending,
    /// Its source has not been reached yet.
    Starting,
    /// Inputs come and are answered.
    Running,
    /// Its source is away.
    SourceUnreachable,
    /// No version of its model is active on the node.
    WaitingForModel,
    /// It does not fit its model.
    Unfit,
    /// Results are lost.
    SinkFailing,
    /// It does not run there; the reason says why.
    Refused,
}
