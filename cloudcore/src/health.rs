//! Cloudcore's own health and metrics: `/health/live`, `/health/ready`, `/metrics` (Prometheus text).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;
use crate::store::StoreError;

/// How long the store may take to answer before this server counts as not ready.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// Counts for Prometheus.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answers by method, route and status. Bounded: routes and methods are those of the router.
    /// Owned by this type; never held over an await.
    answers: Mutex<BTreeMap<(String, String, u16), u64>>,
    refused: AtomicU64,
}

impl Metrics {
    /// One HTTP answer.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode) {
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE => {
                method.as_str()
            }
            // Anybody may invent methods; they must not make new series.
            _ => "other",
        };
        let key = (method.to_owned(), route.to_owned(), status.as_u16());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(key).or_default() += 1;
    }

    /// One request that was refused for who asked.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The router of the metrics port.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(async || "live\n"))
        .route("/health/ready", get(ready))
        .with_state(app)
}

/// Ready: the store answers, and the server does not drain.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if *app.shutdown.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match tokio::time::timeout(READY_WITHIN, app.store.node_counts()).await {
        Ok(Ok(_)) => "ready\n".into_response(),
        Ok(Err(_)) | Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer\n",
        )
            .into_response(),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    match text(&app).await {
        Ok(text) => (kind, text).into_response(),
        Err(fault) => {
            tracing::error!(
                error = &fault as &dyn std::error::Error,
                "metrics cannot be read"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn text(app: &App) -> Result<String, StoreError> {
    let mut text = String::new();
    let nodes = app.store.node_counts().await?;
    head(&mut text, "cloudcore_nodes", "gauge", "Nodes by phase");
    for (phase, count) in nodes.by_phase {
        let labels = format!("{{phase=\"{phase}\"}}");
        line(&mut text, "cloudcore_nodes", &labels, count);
    }
    let one = |text: &mut String, name, kind, help, value: i64| {
        head(text, name, kind, help);
        line(text, name, "", value);
    };
    let name = "cloudcore_nodes_connected";
    one(
        &mut text,
        name,
        "gauge",
        "Nodes with a live session",
        nodes.connected,
    );
    let windows = app.store.window_count().await?;
    let name = "cloudcore_windows";
    one(&mut text, name, "gauge", "Summary windows stored", windows);
    let version = *app.store.versions().borrow();
    let name = "cloudcore_resource_version";
    one(&mut text, name, "counter", "Writes of resources", version);
    let expires = app.pki.server_expires().as_second();
    let name = "cloudcore_certificate_expiry_timestamp_seconds";
    one(
        &mut text,
        name,
        "gauge",
        "When the server certificate ends",
        expires,
    );
    let resumed = i64::try_from(app.pki.credentials().resumed()).unwrap_or(i64::MAX);
    let name = "cloudcore_tls_resumed_total";
    one(
        &mut text,
        name,
        "counter",
        "TLS sessions that nodes resumed by a ticket",
        resumed,
    );
    let refused = i64::try_from(app.metrics.refused.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    let name = "cloudcore_refused_total";
    one(
        &mut text,
        name,
        "counter",
        "Requests refused for who asked",
        refused,
    );
    let name = "cloudcore_http_requests_total";
    head(&mut text, name, "counter", "Answers of the API");
    let answers = app
        .metrics
        .answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for ((method, route, status), count) in answers.iter() {
        let labels = format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}");
        line(
            &mut text,
            name,
            &labels,
            i64::try_from(*count).unwrap_or(i64::MAX),
        );
    }
    Ok(text)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: i64) {
    let _ = writeln!(text, "{name}{labels} {value}");
}
