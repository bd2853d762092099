//! `POST /pipelines/<name>/push`: inputs that come to the agent by themselves.
//!
//! 202 an input was taken, 404 no such pipeline takes any, 413 it is too large, 429 the pipeline does not keep up: come
//! again. Who may send requests to the model may send inputs to its pipeline: both are on the same port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use millwright_proto::ids::PipelineName;

use super::intake::{Intake, Reader};
use super::message::Echo;
use crate::status::ask::wall_ms;

/// Largest input, as from a camera.
const INPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest wait for room in a pipeline before a request is told to come again.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// When it should come again.
const RETRY_AFTER: (HeaderName, &str) = (header::RETRY_AFTER, "1");

/// The pipelines that take requests. A cheap handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors {
    /// Bounded by the pipelines of the node. Held for one look or change.
    open: Arc<Mutex<BTreeMap<PipelineName, Door>>>,
}

#[derive(Clone, Debug)]
struct Door {
    reader: Reader,
    /// Owned by whoever brings an input, for as long as that takes.
    intake: Arc<tokio::sync::Mutex<Intake>>,
}

impl Doors {
    pub(super) fn open(&self, pipeline: &PipelineName, reader: Reader, intake: Intake) {
        let intake = Arc::new(tokio::sync::Mutex::new(intake));
        self.lock()
            .insert(pipeline.clone(), Door { reader, intake });
    }

    pub(super) fn close(&self, pipeline: &PipelineName) {
        self.lock().remove(pipeline);
    }

    fn find(&self, pipeline: &str) -> Option<Door> {
        let pipeline = pipeline.parse().ok()?;
        self.lock().get(&pipeline).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PipelineName, Door>> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The route.
pub(super) fn router(doors: Doors) -> Router {
    Router::new()
        .route("/pipelines/{name}/push", post(push))
        .layer(DefaultBodyLimit::max(INPUT_BYTES_MAX))
        .with_state(doors)
}

async fn push(
    State(doors): State<Doors>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(door) = doors.find(&name) else {
        let message = format!("no pipeline `{name}` with `source: {{push: ..}}` runs here");
        return answer(StatusCode::NOT_FOUND, &message);
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return answer(rejection.status(), &rejection.body_text()),
    };
    let taken = async {
        let mut intake = door.intake.lock().await;
        intake
            .take(&door.reader, body, Echo::at_ms(wall_ms()), None)
            .await;
    };
    match tokio::time::timeout(ROOM_WAIT, taken).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(_) => {
            let refused = answer(
                StatusCode::TOO_MANY_REQUESTS,
                "the pipeline does not keep up: try again",
            );
            ([RETRY_AFTER], refused).into_response()
        }
    }
}

fn answer(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": message }))).into_response()
}
