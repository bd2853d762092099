//! Ending a node's trust, and ending a join token early.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet_api::{JoinToken, Node, NodePhase, Resource, Severity};
use jiff::Timestamp;

use super::failure::{Failure, ProblemType};
use super::request::{Caller, Finished, Name, Params, WriteParams};
use crate::app::App;
use crate::revocations;
use crate::store::{Actor, AuditEntry, NewEvent, Outcome, Write};

/// `POST /api/v1/nodes/<name>/revoke`: its certificate and keys are refused from now on.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<Node>>, Failure> {
    let end = Ending {
        phase: NodePhase::Revoked,
        action: "revoke",
        reason: "NodeRevoked",
        severity: Severity::Warning,
    };
    end.run(&app, &actor, &name, params).await
}

/// `POST /api/v1/nodes/<name>/decommission`: out of service; its name is free again.
pub(super) async fn decommission(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<Node>>, Failure> {
    let end = Ending {
        phase: NodePhase::Decommissioned,
        action: "decommission",
        reason: "NodeDecommissioned",
        severity: Severity::Normal,
    };
    end.run(&app, &actor, &name, params).await
}

/// How a node ends.
struct Ending {
    phase: NodePhase,
    action: &'static str,
    reason: &'static str,
    severity: Severity,
}

impl Ending {
    async fn run(
        self,
        app: &App,
        actor: &Actor,
        name: &str,
        params: WriteParams,
    ) -> Result<Json<Resource<Node>>, Failure> {
        let now = Timestamp::now();
        let mut write = app.store.write().await?;
        let node = find(&mut write, actor, name).await?;
        if node.status.phase == self.phase {
            return Ok(Json(node));
        }
        if node.status.phase == NodePhase::Decommissioned {
            let detail = format!("node `{name}` was decommissioned");
            return Err(Failure::new(ProblemType::Immutable, detail)
                .hint("its certificate is refused already"));
        }
        let uid = write
            .set_node_phase(&actor.tenant, name, self.phase)
            .await?;
        let phase = self.phase;
        write
            .change_status::<Node>(&actor.tenant, name, |status| status.phase = phase)
            .await?;
        write.count_nodes(&actor.tenant, &node.spec.site).await?;
        self.record(&mut write, actor, name, now).await?;
        let node = find(&mut write, actor, name).await?;
        let real = params.finish(app, write).await?;
        if let (Finished::Kept, Some(uid)) = (real, uid) {
            app.signals.node_revoked(uid);
            // The decision holds, in the store; only a restore before the next start would forget it.
            if let Err(fault) = revocations::append(&app.data_dir, uid, self.phase, now) {
                tracing::warn!(error = %fault, "a restore of an older backup would forget that {name} was revoked");
            }
        }
        Ok(Json(node))
    }

    async fn record(
        &self,
        write: &mut Write,
        actor: &Actor,
        name: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let regarding = format!("Node/{name}");
        let entry = AuditEntry {
            actor,
            action: self.action,
            object: &regarding,
            outcome: Outcome::Allowed,
            detail: "",
        };
        write.audit(&entry, now).await?;
        let event = NewEvent {
            tenant: &actor.tenant,
            time: now,
            severity: self.severity,
            reason: self.reason,
            message: &format!("by {}", actor.name),
            regarding: &regarding,
        };
        Ok(write.event(&event).await?)
    }
}

async fn find(write: &mut Write, actor: &Actor, name: &str) -> Result<Resource<Node>, Failure> {
    let node = write.find::<Node>(&actor.tenant, name).await?;
    node.ok_or_else(|| Failure::not_found("Node", name))
}

/// `POST /api/v1/jointokens/<name>/revoke`: nobody may use it any more.
pub(super) async fn revoke_token(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WriteParams>,
) -> Result<Json<Resource<JoinToken>>, Failure> {
    let mut write = app.store.write().await?;
    let found = write.find::<JoinToken>(&actor.tenant, &name).await?;
    let token = found.ok_or_else(|| Failure::not_found("JoinToken", &name))?;
    if token.status.revoked {
        return Ok(Json(token));
    }
    write.revoke_join_token(&actor.tenant, &name).await?;
    write
        .change_status::<JoinToken>(&actor.tenant, &name, |status| status.revoked = true)
        .await?;
    let entry = AuditEntry {
        actor: &actor,
        action: "revoke",
        object: &format!("JoinToken/{name}"),
        outcome: Outcome::Allowed,
        detail: "",
    };
    write.audit(&entry, Timestamp::now()).await?;
    let found = write.find::<JoinToken>(&actor.tenant, &name).await?;
    params.finish(&app, write).await?;
    Ok(Json(found.unwrap_or(token)))
}
