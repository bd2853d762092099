//! What the node has made of its desired state, as the session tells it.

use edge_core::desired::Desired;
use edge_core::models::Observed;
use edge_core::reconcile::report::{Progress, SlotReport, report};
use millwright_proto::Digest;
use millwright_proto::link::{Applied, NodeCondition, SlotState, SlotStatus};

use crate::executor::runtime::Runtime;

/// Longest message of a slot or condition, in characters: all of a node must fit one frame.
const MESSAGE_CHARS_MAX: usize = 1024;

pub(super) fn applied(
    desired: &Desired,
    observed: &Observed,
    digest: Option<Digest>,
    runtime: &Runtime,
) -> Applied {
    Applied {
        generation: desired.generation.get(),
        digest: digest.map(Into::into),
        slots: report(desired, observed).iter().map(slot_status).collect(),
        conditions: vec![runtime_missing(runtime)],
    }
}

fn slot_status(report: &SlotReport) -> SlotStatus {
    let state = match report.progress {
        Progress::Pending => SlotState::Pending,
        Progress::Staged => SlotState::Staged,
        Progress::Verified => SlotState::Verified,
        Progress::Warmed => SlotState::Warmed,
        Progress::Active => SlotState::Active,
        Progress::Failed => SlotState::Failed,
    };
    let failure = report.failure.as_ref();
    SlotStatus {
        model: report.wanted.model.to_string(),
        version: report.wanted.version.to_string(),
        state: state.into(),
        active_version: report
            .active
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        reason: failure
            .map(|failure| failure.class.reason().to_owned())
            .unwrap_or_default(),
        message: failure
            .map(|failure| shortened(&failure.message))
            .unwrap_or_default(),
    }
}

fn runtime_missing(runtime: &Runtime) -> NodeCondition {
    let problem = runtime.problem();
    NodeCondition {
        r#type: "RuntimeMissing".to_owned(),
        holds: problem.is_some(),
        reason: if problem.is_some() {
            "NotFound"
        } else {
            "Found"
        }
        .to_owned(),
        message: match (problem, runtime.library()) {
            (Some(problem), _) => shortened(problem),
            (None, Some(library)) => library.display().to_string(),
            (None, None) => String::new(),
        },
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}
