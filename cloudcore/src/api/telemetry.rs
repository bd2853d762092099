//! What the fleet measured and what happened: summaries, windows, events, audit. Read-only.

mod models;
pub(super) mod profiles;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet_api::{AuditList, EventList, NodeSummary, SummaryReport, WindowList, WindowRow};
use jiff::{SignedDuration, Timestamp};
use millwright_package::Profile;
use millwright_proto::ids::Lineage;
use millwright_summary::{Merged, ModelLabel, Window};
use serde::Deserialize;

use super::failure::{Failure, ProblemType};
use super::request::{Caller, Name, Params};
use crate::app::App;
use crate::store::{StoredWindow, WindowQuery};

/// Windows merged for one answer: a week of minutes of 20 nodes. More is a question for a
/// time-series database.
const WINDOWS_MERGED_MAX: u64 = 200_000;

/// Rows in one answer.
const ROWS_MAX: u32 = 1000;

/// Query of the summaries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryParams {
    node: Option<String>,
    model: Option<String>,
    since: Option<String>,
}

/// What one node's windows add up to.
#[derive(Default)]
struct NodeTotal {
    merged: Merged,
    payload_bytes: u64,
}

/// `GET /api/v1/summaries`
pub(super) async fn summaries(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Params(params): Params<SummaryParams>,
) -> Result<Json<SummaryReport>, Failure> {
    let query = WindowQuery {
        tenant: &actor.tenant,
        node: params.node.as_deref(),
        since: params.since.as_deref().map(moment).transpose()?,
    };
    let mut totals: BTreeMap<String, NodeTotal> = BTreeMap::new();
    let mut seen = 0;
    let add = |stored: StoredWindow| {
        seen += 1;
        if seen > WINDOWS_MERGED_MAX {
            return ControlFlow::Break(());
        }
        let total = totals.entry(stored.node).or_default();
        total.payload_bytes += stored.payload.len() as u64;
        // Ingest has already told of a window that does not decode, by an event.
        if let Ok(window) = Window::decode(&stored.payload) {
            total.merged.add(&window);
        }
        ControlFlow::Continue(())
    };
    app.store.visit_windows(&query, add).await?;
    if seen > WINDOWS_MERGED_MAX {
        let detail = format!("more than {WINDOWS_MERGED_MAX} windows are asked for");
        return Err(Failure::new(ProblemType::TooLarge, detail)
            .hint("ask for one node, or for a shorter time: ?node=NAME&since=1h"));
    }
    let lost = app.store.lost_summaries(&actor.tenant).await?;
    let model = params.model.as_deref();
    let compared: BTreeSet<ModelLabel> = totals
        .values()
        .flat_map(|total| &total.merged.models)
        .filter(|(_, stats)| stats.baseline.profile != 0 || !stats.classes.is_empty())
        .map(|(label, _)| label.clone())
        .collect();
    let profiles = profiles::of_versions(&app, &actor.tenant, compared).await;
    let nodes = totals.into_iter().map(|(node, total)| {
        let lost = lost.get(&node).copied().unwrap_or_default();
        node_summary(node, &total, lost, model, &profiles)
    });
    Ok(Json(SummaryReport {
        nodes: nodes.collect(),
    }))
}

fn node_summary(
    node: String,
    total: &NodeTotal,
    lost: u64,
    model: Option<&str>,
    profiles: &BTreeMap<ModelLabel, Profile>,
) -> NodeSummary {
    let merged = &total.merged;
    let wanted = merged.models.iter();
    let wanted = wanted.filter(|(label, _)| model.is_none_or(|model| model == label.model));
    let models = wanted.map(|(label, stats)| models::summary(label, stats, profiles.get(label)));
    let gauges = merged.node.iter();
    let gauges = gauges.filter_map(|(name, gauge)| Some((name.clone(), models::gauge(gauge)?)));
    NodeSummary {
        node,
        windows: merged.windows,
        coverage_ms: merged.coverage_ms,
        lost,
        payload_bytes: total.payload_bytes,
        first: merged.first_ms.and_then(time),
        last: merged.last_ms.and_then(time),
        models: models.collect(),
        gauges: gauges.collect(),
    }
}

/// Query of the windows of a node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowParams {
    limit: Option<u32>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

/// `GET /api/v1/nodes/<name>/windows`
pub(super) async fn windows(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Name(name): Name,
    Params(params): Params<WindowParams>,
) -> Result<Json<WindowList>, Failure> {
    let uid = app.store.node_uid(&actor.tenant, &name).await?;
    let uid = uid.ok_or_else(|| Failure::not_found("Node", &name))?;
    let after = params.continue_token.as_deref().map(position).transpose()?;
    let limit = bounded(params.limit);
    let rows = app.store.windows_after(uid, after, limit).await?;
    let full = u32::try_from(rows.len()).is_ok_and(|rows| rows == limit);
    let last = rows.last().filter(|_| full);
    let continue_token = last.map(|row| format!("{}-{}", row.lineage, row.first));
    Ok(Json(WindowList {
        items: rows.iter().filter_map(window_row).collect(),
        continue_token,
    }))
}

fn window_row(stored: &StoredWindow) -> Option<WindowRow> {
    let window = Window::decode(&stored.payload).ok()?;
    let requests = window.models.iter();
    let requests = requests
        .map(|(label, stats)| (format!("{}@{}", label.model, label.version), stats.requests));
    Some(WindowRow {
        lineage: stored.lineage.to_string(),
        first: stored.first,
        last: stored.last,
        start: time(window.time.wall_start_ms)?,
        length_ms: window.time.length_ms,
        coverage_ms: window.time.coverage_ms,
        interrupted: window.time.interrupted > 0,
        requests: requests.collect(),
    })
}

fn position(token: &str) -> Result<(Lineage, u64), Failure> {
    let parts = token.split_once('-');
    let parts =
        parts.and_then(|(lineage, first)| Some((lineage.parse().ok()?, first.parse().ok()?)));
    parts.ok_or_else(|| Failure::invalid("continue", "take it from the page before"))
}

/// Query of the events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventParams {
    after: Option<u64>,
    limit: Option<u32>,
    regarding: Option<String>,
}

/// `GET /api/v1/events`: after an id, oldest first; without one the newest.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Params(params): Params<EventParams>,
) -> Result<Json<EventList>, Failure> {
    let regarding = params.regarding.as_deref();
    let limit = bounded(params.limit);
    let items = match params.after {
        Some(after) => {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            app.store
                .events(&actor.tenant, after, regarding, limit)
                .await?
        }
        None => {
            app.store
                .newest_events(&actor.tenant, regarding, limit)
                .await?
        }
    };
    Ok(Json(EventList { items }))
}

/// Query of the audit trail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /api/v1/audit`: newest first, before an id.
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Params(params): Params<AuditParams>,
) -> Result<Json<AuditList>, Failure> {
    let before = params
        .before
        .map(|id| i64::try_from(id).unwrap_or(i64::MAX));
    let limit = bounded(params.limit);
    let items = app.store.audit(&actor.tenant, before, limit).await?;
    Ok(Json(AuditList { items }))
}

fn bounded(limit: Option<u32>) -> u32 {
    limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)
}

/// A time, or a duration before now.
fn moment(text: &str) -> Result<Timestamp, Failure> {
    let ago = |duration: SignedDuration| Timestamp::now().checked_sub(duration).ok();
    let read = text.parse().ok();
    let read = read.or_else(|| text.parse::<SignedDuration>().ok().and_then(ago));
    read.ok_or_else(|| {
        Failure::invalid(
            "since",
            "a time (2026-07-01T12:00:00Z) or how long ago (90m, 2h, 1d)",
        )
    })
}

fn time(unix_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()
}
