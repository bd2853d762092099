//! The page an installer aims a camera with: the last annotated frame, how sharp it is, and how the pipeline runs.
//!
//! ```text
//! pipeline ─▶ Board ─▶ GET /pipelines/{name}/frame.jpg   (waits for the next frame; ETag)
//!                  └─▶ GET /pipelines/{name}/state.json  ─▶ page.js in a browser
//! ```
//!
//! Owns what is shown ([`board`]), who may see it ([`access`]), and one static page without any framework. It knows
//! nothing of sources and models, and keeps one frame per pipeline. Bounded: a browser has one request for a frame
//! under way, and at most [`FRAMES_WAITING_MAX`] wait at once; a viewer beyond that is told so.
//!
//! Pictures of people are nobody's business outside: whoever is not on this machine needs the token, and every answer
//! carries a policy under which a browser runs nothing but our own script (asserted in `camera_page/tests.rs`).

pub mod access;
pub mod board;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;

use access::Access;
use board::Board;
use token::PageToken;

/// Requests that wait for a frame at once: some people with one window each. Others are told to come again.
pub const FRAMES_WAITING_MAX: usize = 12;

/// Longest time a request waits for the next frame; then it is told that nothing changed.
const FRAME_WAIT_MAX: Duration = Duration::from_secs(5);

/// Nothing runs or loads but what this page brings; no other site may show or read it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Sent with every answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    // What is shown now may be asked for again, with its tag; it is never a copy of yesterday.
    (
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    ),
];

#[derive(Clone)]
struct Page {
    board: Board,
    waiting: Arc<Semaphore>,
}

/// The routes below `/pipelines`, and `/`, which leads there. `token` lets people from other machines in; without
/// one, only this machine sees anything.
pub fn router(board: Board, token: Option<PageToken>) -> Router {
    let access = Arc::new(Access::new(token));
    let page = Page {
        board,
        waiting: Arc::new(Semaphore::new(FRAMES_WAITING_MAX)),
    };
    let guarded = Router::new()
        .route("/pipelines", get(html))
        .route("/pipelines/list.json", get(list))
        .route("/pipelines/{name}/frame.jpg", get(frame))
        .route("/pipelines/{name}/state.json", get(state))
        .with_state(page)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&access),
            access::guard,
        ));
    let open = Router::new()
        .route("/", get(async || Redirect::to("/pipelines")))
        .route("/pipelines/page.css", get(async || asset(CSS, "text/css")))
        .route(
            "/pipelines/page.js",
            get(async || asset(SCRIPT, "text/javascript")),
        )
        .route(
            "/pipelines/icon.svg",
            get(async || asset(ICON, "image/svg+xml")),
        )
        .route("/pipelines/sign-in", post(access::sign_in))
        .with_state(access);
    guarded.merge(open).layer(middleware::from_fn(with_headers))
}

const HTML: &str = include_str!("camera_page/page.html");
const CSS: &str = include_str!("camera_page/page.css");
const ICON: &str = include_str!("camera_page/icon.svg");
const SCRIPT: &str = include_str!("camera_page/page.js");

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

fn asset(content: &'static str, kind: &'static str) -> Response {
    let kind = format!("{kind}; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], content).into_response()
}

async fn html() -> Response {
    asset(HTML, "text/html")
}

async fn list(State(page): State<Page>) -> Response {
    Json(page.board.list()).into_response()
}

async fn state(State(page): State<Page>, Path(name): Path<String>) -> Response {
    match page.board.state(&name) {
        Some(state) => Json(state).into_response(),
        None => not_here(),
    }
}

#[derive(Deserialize)]
struct FrameQuery {
    /// Milliseconds to wait for a frame other than that of `If-None-Match`.
    #[serde(default)]
    wait: u64,
}

/// The last frame; one that the browser has already (its `If-None-Match`) is not sent again.
async fn frame(
    State(page): State<Page>,
    Path(name): Path<String>,
    Query(query): Query<FrameQuery>,
    headers: HeaderMap,
) -> Response {
    let Ok(_place) = page.waiting.try_acquire() else {
        let told = "too many windows watch cameras of this node: close one";
        let again = [(header::RETRY_AFTER, "2")];
        return (StatusCode::SERVICE_UNAVAILABLE, again, told).into_response();
    };
    let Some(mut frames) = page.board.watch(&name) else {
        return not_here();
    };
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok());
    let wait = Duration::from_millis(query.wait).min(FRAME_WAIT_MAX);
    let is_new = |frame: &Option<Arc<board::Picture>>| {
        frame
            .as_ref()
            .is_some_and(|frame| Some(&*frame.tag) != known)
    };
    let newer = tokio::time::timeout(wait, frames.wait_for(is_new)).await;
    let frame = match newer {
        Ok(Ok(frame)) => frame.clone(),
        // The pipeline has gone.
        Ok(Err(_)) => return not_here(),
        Err(_) => None,
    };
    match frame {
        Some(frame) => {
            let headers = [
                (header::CONTENT_TYPE, "image/jpeg".to_owned()),
                (header::ETAG, frame.tag.clone()),
            ];
            (headers, frame.jpeg.clone()).into_response()
        }
        None if known.is_some() => StatusCode::NOT_MODIFIED.into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn not_here() -> Response {
    (StatusCode::NOT_FOUND, "no such pipeline on this node").into_response()
}

#[cfg(test)]
mod tests;
