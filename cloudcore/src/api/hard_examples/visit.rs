//! One audited visit to a node.

use std::sync::Arc;

use jiff::Timestamp;
use millwright_proto::ids::NodeUid;
use millwright_proto::link::HardExampleRefusal;

use super::super::failure::{Failure, ProblemType};
use crate::app::App;
use crate::hub::asks::AskError;
use crate::store::{Actor, AuditEntry, Outcome};

/// Longest text of a node that is passed on.
const MESSAGE_CHARS_MAX: usize = 512;

/// Somebody's visit, whose first row is in the audit trail.
pub(super) struct Visit {
    pub(super) node: NodeUid,
    app: Arc<App>,
    actor: Actor,
    name: String,
    action: &'static str,
}

impl Visit {
    /// Records what is asked, before it is.
    pub(super) async fn begin(
        app: &Arc<App>,
        actor: Actor,
        name: String,
        action: &'static str,
        asked: &str,
    ) -> Result<Self, Failure> {
        let node = app.store.node_uid(&actor.tenant, &name).await?;
        let visit = Self {
            node: node.ok_or_else(|| Failure::not_found("Node", &name))?,
            app: Arc::clone(app),
            actor,
            name,
            action,
        };
        visit.record(Outcome::Allowed, asked).await?;
        Ok(visit)
    }

    /// Records what came, or why it did not.
    pub(super) async fn end(&self, outcome: Result<String, &AskError>) -> Result<(), Failure> {
        match outcome {
            Ok(came) => self.record(Outcome::Allowed, &came).await,
            Err(error) => self.refused(error, "").await,
        }
    }

    /// Records why it ended; `so_far` says what had come.
    pub(super) async fn refused(&self, error: &AskError, so_far: &str) -> Result<(), Failure> {
        let why = plain(&error.to_string());
        self.record(Outcome::Refused, &format!("{so_far}{why}"))
            .await
    }

    async fn record(&self, outcome: Outcome, detail: &str) -> Result<(), Failure> {
        let entry = AuditEntry {
            actor: &self.actor,
            action: self.action,
            object: &format!("Node/{}", self.name),
            outcome,
            detail,
        };
        let now = Timestamp::now();
        let mut write = self.app.store.write().await?;
        write.audit(&entry, now).await?;
        Ok(write.commit().await?)
    }

    /// What whoever asked is told.
    pub(super) fn failure(&self, error: AskError) -> Failure {
        let name = &self.name;
        let new = |kind, what: &str| Failure::new(kind, format!("node `{name}`: {what}"));
        let what = error.to_string();
        match error {
            AskError::Offline => new(ProblemType::NodeOffline, &what).hint(format!(
                "hard examples lie on the node only; `fleetctl get node {name}` says since when it is away"
            )),
            AskError::Left => new(ProblemType::NodeOffline, &what)
                .hint("run the same command again: what has been fetched is not fetched twice"),
            AskError::Silent => new(ProblemType::NodeSilent, &what).hint(
                "what the node has measured goes first: run the same command again when it has caught up",
            ),
            AskError::TooOld => new(ProblemType::AgentTooOld, &what).hint(
                "update edge-agent on the node, or copy them at the box with `edge-agent hard-examples export`",
            ),
            AskError::Busy | AskError::Full => {
                new(ProblemType::Overloaded, &what).hint("try again in a minute")
            }
            AskError::Broken(_) => new(ProblemType::NodeRefuses, &what)
                .hint("is its edge-agent of the same version as cloudcore?"),
            AskError::Refused { reason, message } => {
                let kind = match reason {
                    HardExampleRefusal::Gone => ProblemType::NotFound,
                    HardExampleRefusal::Busy => ProblemType::Overloaded,
                    HardExampleRefusal::Denied
                    | HardExampleRefusal::Unreadable
                    | HardExampleRefusal::Malformed
                    | HardExampleRefusal::Unspecified => ProblemType::NodeRefuses,
                };
                new(kind, &plain(&message))
            }
        }
    }
}

/// What a node says, fit to be shown.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect()
}
