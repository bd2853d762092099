//! What the node has made of its desired state, as the session tells it.

use edge_core::desired::Desired;
use edge_core::models::Observed;
use edge_core::reconcile::report::{Progress, SlotReport, report};
use millwright_proto::Digest;
use millwright_proto::link::{Applied, NodeCondition, PipelineStatus, SlotState, SlotStatus};

use edge_core::hold::Hold;

use crate::executor::runtime::Runtime;
use crate::storage::{self, Problems};
use crate::worker::sandbox::{self, Gap};

/// Type of the condition that a hold makes; cloudcore knows it.
const HELD: &str = "Held";

/// Type of the condition of a disk that refuses.
const STORAGE_FAILING: &str = "StorageFailing";

/// Type of the condition of a kernel that cannot confine workers completely.
pub(crate) const SANDBOX_DEGRADED: &str = "SandboxDegraded";

/// Longest message of a slot or condition, in characters: all of a node must fit one frame.
const MESSAGE_CHARS_MAX: usize = 1024;

/// All that is told.
pub(super) struct Situation<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) digest: Option<Digest>,
    pub(super) runtime: &'a Runtime,
    pub(super) gaps: &'a [Gap],
    pub(super) hold: Option<&'a Hold>,
    pub(super) problems: &'a Problems,
    pub(super) pipelines: Vec<PipelineStatus>,
}

pub(super) fn applied(situation: Situation<'_>) -> Applied {
    let reports = report(situation.desired, situation.observed);
    Applied {
        generation: situation.desired.generation.get(),
        digest: situation.digest.map(Into::into),
        slots: reports.iter().map(slot_status).collect(),
        conditions: vec![
            runtime_missing(situation.runtime),
            held(situation.hold),
            storage_failing(situation.problems),
            sandbox_degraded(situation.gaps),
        ],
        pipelines: situation.pipelines,
    }
}

fn held(hold: Option<&Hold>) -> NodeCondition {
    let message = hold.map(|hold| {
        let reason = if hold.reason.is_empty() {
            "no reason was given"
        } else {
            &hold.reason
        };
        shortened(&format!(
            "{reason}; the node keeps the versions it runs until `edge-agent hold --release` at the box"
        ))
    });
    NodeCondition {
        r#type: HELD.to_owned(),
        holds: hold.is_some(),
        reason: if hold.is_some() {
            "HeldAtNode"
        } else {
            "NotHeld"
        }
        .to_owned(),
        message: message.unwrap_or_default(),
    }
}

fn storage_failing(problems: &Problems) -> NodeCondition {
    let told = storage::told(problems);
    NodeCondition {
        r#type: STORAGE_FAILING.to_owned(),
        holds: told.is_some(),
        reason: if told.is_some() {
            "CannotStore"
        } else {
            "Stored"
        }
        .to_owned(),
        message: told.as_deref().map(shortened).unwrap_or_default(),
    }
}

/// The condition of workers that are not confined completely.
pub(super) fn sandbox_degraded(gaps: &[Gap]) -> NodeCondition {
    let message = match gaps {
        [] => String::new(),
        gaps => shortened(&format!(
            "{}; a kernel of 5.13 or later with Landlock can, and `worker.sandbox: required` in edge-agent.yaml refuses to open models without",
            sandbox::listed(gaps)
        )),
    };
    NodeCondition {
        r#type: SANDBOX_DEGRADED.to_owned(),
        holds: !gaps.is_empty(),
        reason: if gaps.is_empty() {
            "Confined"
        } else {
            "KernelCannot"
        }
        .to_owned(),
        message,
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
