//! How this node is doing, for a plant engineer standing at the box: `edge-agent status`.
//!
//! ```text
//! link, outbox, control, models, hold ... ─▶ Sources ─▶ Status ─▶ GET /status ─▶ ask ─▶ text or JSON
//!                          data directory ──────────────▶ Status (no agent runs) ──┘
//! ```
//!
//! Owns what is told ([`Status`]), how it is gathered from the running agent ([`gather`]), what a person
//! should do about it ([`advice`]), how it reads ([`text`]), and the command that asks ([`ask`]). It
//! changes nothing. A field whose source does not exist is left out, never guessed.

pub mod advice;
pub mod ask;
pub mod gather;
pub mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::pipeline::PipelineFacts;
pub use gather::{FleetSources, NodeFacts, Since, Sources};

/// Everything told. Times are Unix milliseconds by the node's own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Whether an agent runs on the data directory.
    pub running: bool,
    /// Who the node is.
    pub node: NodeStatus,
    /// When this was told.
    pub now_ms: u64,
    /// The connection to the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkFacts>,
    /// What waits to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<BacklogFacts>,
    /// The disk of the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskFacts>,
    /// The certificate this node proves itself with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// Which desired state is in force.
    pub desired: DesiredFacts,
    /// One per model that is desired or active.
    pub models: Vec<ModelFacts>,
    /// One per pipeline that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<PipelineFacts>,
    /// The hold somebody put on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldFacts>,
    /// The library that runs models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<RuntimeFacts>,
    /// What the kernel does not keep a model's process from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What cannot be stored, and why.
    pub storage: Vec<String>,
    /// What is wrong and what to do, most urgent first; empty when all is well.
    pub advice: Vec<String>,
}

/// Who the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Whose it is.
    pub tenant: String,
    /// The device.
    pub uid: String,
    /// Version of the agent that told this.
    pub agent_version: String,
    /// Where everything lies.
    pub data_dir: String,
}

/// The connection to the cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinkFacts {
    /// `connected`, `connecting`, `refused`, `disabled`.
    pub state: String,
    /// `quic` or `websocket`, while connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Since when, in this run of the agent.
    pub since_ms: u64,
    /// Why the last attempt or session ended; kept while connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What waits to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BacklogFacts {
    /// Records that the cloud has not confirmed.
    pub records: u64,
    /// What they cost on disk.
    pub bytes: u64,
    /// When the oldest of them was measured or happened, by the node's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Records declared lost since this outbox was started, by reason; what is absent was never lost.
    pub losses: BTreeMap<String, u64>,
    /// Windows that were merged into coarser ones; nothing of them is lost but their resolution.
    pub merged_windows: u64,
    /// What the outbox takes on disk.
    pub used_bytes: u64,
    /// What it may take.
    pub quota_bytes: u64,
    /// Written to the disk today (UTC), overhead included.
    pub written_today_bytes: u64,
    /// What may be written in a day before windows become longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_per_day_max_bytes: Option<u64>,
}

/// The disk of the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskFacts {
    /// Its size.
    pub total_bytes: u64,
    /// What is left for the agent.
    pub free_bytes: u64,
    /// Below this nothing is stored.
    pub free_bytes_min: u64,
}

/// The certificate this node proves itself with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateFacts {
    /// When it began to be valid.
    pub not_before_ms: u64,
    /// When it ends.
    pub not_after_ms: u64,
    /// When it will be renewed, failures aside; only a running agent knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_renewal_ms: Option<u64>,
    /// When the running agent renewed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed_ms: Option<u64>,
    /// Why the last attempt to renew it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Which desired state is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DesiredFacts {
    /// The generation in force; 0: none.
    pub generation: u64,
    /// A newer one that was received and is not in force: the node is held, or the disk refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_generation: Option<u64>,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelFacts {
    /// Its name.
    pub model: String,
    /// The version wanted; empty: none.
    pub wanted: String,
    /// How far the wanted version has come: `pending`, `staged`, `verified`, `warmed`, `active`, `failed`.
    pub state: String,
    /// The version that answers requests; empty: none.
    pub active: String,
    /// What stands in the way; empty when nothing does.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Requests since the agent started, of every version.
    pub requests: u64,
    /// Failed ones of those.
    pub errors: u64,
    /// Memory of the worker that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What that worker computes with, for example `cpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What it is given and gives beside its package's baseline profile: `inconclusive`, `steady`, `watch`, `drift`; absent
    /// when the package has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
    /// What is behind that, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub drift_message: String,
}

/// The hold somebody put on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HoldFacts {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since_ms: u64,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// The library that runs models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeFacts {
    /// Whether it was found.
    pub found: bool,
    /// Where it is, or why there is none.
    pub message: String,
}

/// Where the running agent shows its status. A cheap handle; empty until [`Board::show`].
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<OnceLock<Sources>>);

impl Board {
    /// Shows what `sources` tell from now on. Only the first call counts.
    pub fn show(&self, sources: Sources) {
        // An agent has one set of sources.
        let _ = self.0.set(sources);
    }
}

/// `GET /status`.
pub fn router(board: Board) -> Router {
    let answer = async move || match board.0.get() {
        Some(sources) => {
            let sources = sources.clone();
            // The kernel walks page tables for a worker's memory: milliseconds for a large model.
            let stats = sources.stats().await;
            let gather = move || sources.status(stats.as_ref());
            let status = tokio::task::spawn_blocking(gather).await;
            axum::Json(status.unwrap_or_default()).into_response()
        }
        None => {
            let told = serde_json::json!({
                "error": "this agent has no status: it starts, or it serves one package without a data directory (--data-dir DIR)"
            });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(told)).into_response()
        }
    };
    Router::new().route("/status", get(answer))
}
