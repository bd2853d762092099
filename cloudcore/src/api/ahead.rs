//! What an operator decides about a node that is ahead of this cloud, after an older backup was restored.
//!
//! Both decisions are an annotation with the generation the node reports, so that a later report is not
//! overruled by accident, and both change nothing by themselves: the planner (`fleet_core::desired`)
//! makes the next generation of them, above the node's.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet_api::{ConditionStatus, ModelVersion, Node, Resource, Severity};
use fleet_core::desired::{ADOPT_ANNOTATION, REASSERT_ANNOTATION};
use jiff::Timestamp;
use millwright_proto::link::Applied;
use prost::Message as _;

use super::failure::{Failure, ProblemType};
use super::request::{Caller, Name, Params, WriteParams};
use crate::app::App;
use crate::store::{Actor, AuditEntry, NewEvent, Outcome, Write};

/// Type of the condition of such a node.
const AHEAD_OF_CLOUD: &str = "AheadOfCloud";

/// Reason in it when the node is too far ahead to be followed.
const OUT_OF_REACH: &str = "GenerationOutOfReach";

/// `POST /api/v1/nodes/<name>/adopt`: what the node runs becomes its desired state.
pub(super) async fn adopt(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<Node>>, Failure> {
    decide(&app, &actor, &name, params, Decision::Adopt).await
}

/// `POST /api/v1/nodes/<name>/reassert`: the node shall run what the deployments say.
pub(super) async fn reassert(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<Node>>, Failure> {
    decide(&app, &actor, &name, params, Decision::Reassert).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Adopt,
    Reassert,
}

impl Decision {
    const fn action(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Reassert => "reassert",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Adopt => "NodeAdopted",
            Self::Reassert => "NodeReasserted",
        }
    }

    /// The annotation to set, and the other one, which no longer counts.
    const fn annotations(self) -> (&'static str, &'static str) {
        match self {
            Self::Adopt => (ADOPT_ANNOTATION, REASSERT_ANNOTATION),
            Self::Reassert => (REASSERT_ANNOTATION, ADOPT_ANNOTATION),
        }
    }
}

async fn decide(
    app: &App,
    actor: &Actor,
    name: &str,
    params: WriteParams,
    decision: Decision,
) -> Result<Json<Resource<Node>>, Failure> {
    let mut write = app.store.write().await?;
    let found = write.find::<Node>(&actor.tenant, name).await?;
    let mut node = found.ok_or_else(|| Failure::not_found("Node", name))?;
    require_ahead(&node)?;
    if decision == Decision::Adopt {
        require_versions(&mut write, actor, name).await?;
    }
    let generation = node.status.applied_generation.to_string();
    let (set, other) = decision.annotations();
    let annotations = &mut node.metadata.annotations;
    annotations.remove(other);
    let before = annotations.insert(set.to_owned(), generation.clone());
    if before.as_ref() == Some(&generation) {
        // Asked twice: the planner has it already, or waits for a version to be pushed.
        return Ok(Json(node));
    }
    let node = write.replace(&actor.tenant, node).await?;
    let regarding = format!("Node/{name}");
    let detail = format!("generation {generation}");
    let now = Timestamp::now();
    let entry = AuditEntry {
        actor,
        action: decision.action(),
        object: &regarding,
        outcome: Outcome::Allowed,
        detail: &detail,
    };
    write.audit(&entry, now).await?;
    let event = NewEvent {
        tenant: &actor.tenant,
        time: now,
        severity: Severity::Normal,
        reason: decision.reason(),
        message: &format!("{detail}, by {}", actor.name),
        regarding: &regarding,
    };
    write.event(&event).await?;
    params.finish(app, write).await?;
    Ok(Json(node))
}

fn require_ahead(node: &Resource<Node>) -> Result<(), Failure> {
    let name = &node.metadata.name;
    let mut conditions = node.status.conditions.iter();
    let ahead = conditions
        .find(|told| told.kind == AHEAD_OF_CLOUD && matches!(told.status, ConditionStatus::True));
    match ahead {
        None => {
            let detail =
                format!("node `{name}` is not ahead of this cloud: there is nothing to decide");
            Err(Failure::new(ProblemType::Conflict, detail).hint(
                "`fleetctl describe node` shows the condition AheadOfCloud of a node that is",
            ))
        }
        Some(told) if told.reason == OUT_OF_REACH => {
            Err(Failure::new(ProblemType::Conflict, told.message.clone())
                .hint("decommission it and enroll it again"))
        }
        Some(_) => Ok(()),
    }
}

/// Every version the node reports has to be here, or its next desired state could not be written.
async fn require_versions(write: &mut Write, actor: &Actor, name: &str) -> Result<(), Failure> {
    let message = write.applied_message(&actor.tenant, name).await?;
    let applied = Applied::decode(&message.unwrap_or_default()[..]).unwrap_or_default();
    let mut unknown = Vec::new();
    for slot in &applied.slots {
        let version = format!("{}@{}", slot.model, slot.version);
        let known = write.find::<ModelVersion>(&actor.tenant, &version).await?;
        if known.is_none() {
            unknown.push(version);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "node `{name}` runs what this cloud does not have: {}",
        unknown.join(", ")
    );
    Err(Failure::new(ProblemType::Conflict, detail)
        .hint("push these versions again with `fleetctl model push`, then adopt the node"))
}
