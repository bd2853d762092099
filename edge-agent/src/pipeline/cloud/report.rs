//! What the cloud is told of its pipelines.

use millwright_proto::link::{PipelineState, PipelineStatus};

use super::Admitted;
use crate::pipeline::PipelineFacts;

/// Longest message, in characters: those of all pipelines must fit one frame.
const MESSAGE_CHARS_MAX: usize = 512;

/// One per pipeline of the cloud, ordered by name; `running` is what is known of those that run.
pub(super) fn of(admitted: &Admitted, running: &[PipelineFacts]) -> Vec<PipelineStatus> {
    let mut told = Vec::with_capacity(admitted.cloud.len());
    for (name, (digest, refused)) in &admitted.cloud {
        let facts = running.iter().find(|facts| facts.name == name.as_str());
        let (state, reason, message) = match (refused, facts) {
            (Some(refused), _) => (
                PipelineState::Refused,
                refused.reason,
                refused.message.as_str(),
            ),
            (None, Some(facts)) => (state(&facts.state), "", facts.reason.as_str()),
            (None, None) => (PipelineState::Starting, "", ""),
        };
        told.push(PipelineStatus {
            pipeline: name.to_string(),
            state: state.into(),
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            digest: Some((*digest).into()),
        });
    }
    told
}

/// As the gauge names them.
fn state(word: &str) -> PipelineState {
    match word {
        "running" => PipelineState::Running,
        "sourceUnreachable" => PipelineState::SourceUnreachable,
        "waitingForModel" => PipelineState::WaitingForModel,
        "unfit" => PipelineState::Unfit,
        "sinkFailing" => PipelineState::SinkFailing,
        _ => PipelineState::Starting,
    }
}
