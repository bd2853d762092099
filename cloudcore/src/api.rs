//! The public API: REST over HTTPS, `/api/v1/...`.
//!
//! Reads the store and writes intent; never talks to a session, with one exception: hard examples lie on nodes
//! only, so `hard_examples` asks a live session for them, through the bounded table of [`crate::hub::asks`]. A request is parsed into types
//! ([`request`]), checked by the rules of its kind ([`kinds`]) inside one write transaction together
//! with its audit row, committed, and the planner is woken. Every refusal is a problem detail with a
//! stable type ([`failure`]). The table of [`routes`] makes both the router and the OpenAPI document.

mod ahead;
mod blobs;
mod description;
mod enrollment;
pub(crate) mod failure;
mod hard_examples;
mod kinds;
pub(crate) mod names;
mod nodes;
mod objects;
mod request;
mod routes;
mod selector;
mod telemetry;
pub(crate) mod watch;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use bytes::Bytes;

use crate::app::App;
use failure::{Failure, ProblemType};

/// Largest body of a document: a model version with 256 files and its bundle has about 300 KiB.
const DOCUMENT_BYTES_MAX: usize = millwright_document::DOCUMENT_BYTES_MAX;

/// The router of the whole API.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    let unlimited = DefaultBodyLimit::disable();
    for route in routes::all() {
        let handler: MethodRouter<Arc<App>> = match route.description.takes_stream() {
            true => route.handler.layer(unlimited),
            false => route.handler,
        };
        router = router.route(&route.path, handler);
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES_MAX))
        .with_state(app)
}

/// `GET /api/v1/openapi.json`
async fn document() -> impl IntoResponse {
    // The same as long as the process runs.
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let document = description::document(routes::all());
        let text = document.to_json();
        text.expect("an OpenAPI document has text keys only, so it is always JSON")
            .into()
    });
    ([(header::CONTENT_TYPE, "application/json")], text.clone())
}

async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let detail = format!(
        "{method} is not answered at {}",
        names::shortened(uri.path())
    );
    Failure::new(ProblemType::MethodNotAllowed, detail)
        .hint("/api/v1/openapi.json lists every route")
}

async fn unknown_route(uri: Uri) -> Failure {
    let detail = format!("nothing answers at {}", names::shortened(uri.path()));
    Failure::new(ProblemType::UnknownRoute, detail).hint("/api/v1/openapi.json lists every route")
}

/// Counts every answer.
async fn count(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = path.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await.into_response();
    app.metrics.answered(&method, &path, response.status());
    response
}

#[cfg(test)]
pub(crate) mod tests;
