//! Pipelines as intended, and what is told of them.

use millwright_proto::Digest;

use super::condition::Condition;
use super::selector::Selector;

/// The intent that a pipeline runs on the selected nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Counts changes of the intent.
    pub generation: u64,
    /// When it was made, in Unix milliseconds: where not all fit on a node, the older ones stay.
    pub created_ms: i64,
    /// Which nodes.
    pub selector: Selector,
    /// Stands for what runs there.
    pub document: Digest,
    /// How long what runs there is.
    pub document_bytes: usize,
    /// The status as stored.
    pub status: PipelineStatus,
}

/// What is told of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineStatus {
    /// The generation of the intent this speaks of.
    pub observed_generation: u64,
    /// `Running`.
    pub conditions: Vec<Condition>,
    /// Nodes selected.
    pub selected: u32,
    /// Of those, nodes that run it as it is now.
    pub running: u32,
    /// Of those, nodes that do not take it.
    pub refused: u32,
}

/// Whether an agent runs pipelines of the cloud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PipelineSupport {
    /// It never connected.
    #[default]
    Unknown,
    /// It said that it does.
    Runs,
    /// It did not say so: it is older than them.
    TooOld,
}

/// What a node said, or the cloud knows, of one pipeline on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineReport {
    /// The document it speaks of; `None` when the cloud speaks for the node.
    pub document: Option<Digest>,
    /// How it is doing.
    pub state: PipelineState,
    /// Machine-readable; empty when it is taken.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How a pipeline is doing on a node. The node says it, and may go from any of these to any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineState {
    /// The node has not spoken of it as it is now.
    Pending,
    /// Its source has not been reached yet.
    Starting,
    /// Inputs come and are answered.
    Running,
    /// Its source is away.
    SourceUnreachable,
    /// No version of its model is active.
    WaitingForModel,
    /// It does not fit its model.
    Unfit,
    /// Results are lost.
    SinkFailing,
    /// It does not run there.
    Refused,
}
