//! The Open Inference Protocol v2 over HTTP, with health and metrics beside it.
//!
//! Errors are `{"error": "..."}` with the status that says whose fault it is, see [`super::fault`].

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::budget::Parts;
use super::connections::Peer;
use super::describe;
use super::endpoint::{Endpoint, Target};
use super::fault::{Fault, Kind};
use super::metrics;
use super::models::Readiness;
use super::repository::{Repository, Wanted};
use super::tensors;

/// Length of the JSON part of a body with binary tensors.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// What Prometheus expects of its text format.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

type Named = Path<Vec<(String, String)>>;

/// Every route but those of gRPC.
pub(super) fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(prometheus))
        .route("/metrics/summary", get(summary))
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(async || StatusCode::OK))
        .route("/v2/health/ready", get(health))
        .route("/v2/models/stats", get(statistics))
        .nest("/v2/models/{model}", of_model())
        .nest("/v2/models/{model}/versions/{version}", of_model())
        .route("/v2/repository/index", post(repository_index))
        .route("/v2/repository/models/{model}/load", post(repository_load))
        .route(
            "/v2/repository/models/{model}/unload",
            post(repository_unload),
        )
        .fallback(async || Fault::new(Kind::Unknown, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Fault::new(Kind::Method, "this path takes another method")
        })
        .with_state(endpoint)
}

/// What a model answers, with and without a version in the path.
fn of_model() -> Router<Endpoint> {
    Router::new()
        .route("/", get(model_metadata))
        .route("/ready", get(model_ready))
        .route("/config", get(model_config))
        .route("/stats", get(statistics))
        .route("/infer", post(infer))
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = json_response(self.kind.status(), &json!({ "error": self.message }));
        if let Some(seconds) = self.kind.retry_after_s() {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn target(path: &[(String, String)]) -> Result<Target, Fault> {
    let named = |wanted: &str| {
        let found = path.iter().find(|(key, _)| key == wanted);
        found.map_or("", |(_, value)| value.as_str())
    };
    Target::parse(named("model"), named("version"))
}

async fn health(State(endpoint): State<Endpoint>) -> Response {
    match endpoint.models.readiness() {
        Readiness::Ready => json_response(StatusCode::OK, &json!({ "status": "ready" })),
        Readiness::Waiting(models) => json_response(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "waiting", "models": models }),
        ),
    }
}

async fn server_metadata() -> Response {
    json_response(StatusCode::OK, &describe::server())
}

async fn model_metadata(
    State(endpoint): State<Endpoint>,
    Path(path): Named,
) -> Result<Response, Fault> {
    let worker = endpoint.find(&target(&path)?)?;
    Ok(json_response(StatusCode::OK, &describe::metadata(&worker)))
}

async fn model_config(
    State(endpoint): State<Endpoint>,
    Path(path): Named,
) -> Result<Response, Fault> {
    let worker = endpoint.find(&target(&path)?)?;
    Ok(json_response(StatusCode::OK, &describe::config(&worker)))
}

async fn model_ready(
    State(endpoint): State<Endpoint>,
    Path(path): Named,
) -> Result<StatusCode, Fault> {
    endpoint.find(&target(&path)?)?;
    Ok(StatusCode::OK)
}

async fn statistics(
    State(endpoint): State<Endpoint>,
    Path(path): Named,
) -> Result<Response, Fault> {
    let target = match path.as_slice() {
        [] => None,
        path => Some(target(path)?),
    };
    let statistics = describe::statistics(&endpoint, target.as_ref())?;
    Ok(json_response(StatusCode::OK, &statistics))
}

async fn infer(
    State(endpoint): State<Endpoint>,
    Path(path): Named,
    request: Request,
) -> Result<Response, Fault> {
    let target = target(&path)?;
    // A worker that is held here would outlive its replacement by this request.
    drop(endpoint.find(&target)?);
    let header_length = header_length(request.headers())?;
    let received = endpoint.budget.read(request).await?;
    let parsed = tensors::request(received.bytes(), header_length)
        .map_err(|error| endpoint.refuse(&target, error))?;
    let output = endpoint.answer(&target, &parsed.question).await?;
    let answer = tensors::answer(output, parsed.question.id.as_deref(), &parsed.form)?;
    let mut response = Response::new(axum::body::Body::new(Parts::from(answer.parts)));
    let headers = response.headers_mut();
    let kind = match answer.header_length {
        Some(length) => {
            headers.insert(HEADER_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
        None => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Body of a question for the index, or of a load; each part may be left out.
#[derive(Default, Deserialize)]
struct RepositoryBody {
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

impl RepositoryBody {
    fn read(body: &Bytes) -> Result<Self, Fault> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| {
            Fault::new(Kind::Invalid, format!("the request is not valid: {error}"))
        })
    }
}

async fn repository_index(
    State(endpoint): State<Endpoint>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Fault> {
    let repository = endpoint.repository_for(Some(peer), &headers)?;
    let mut models = repository.index(&endpoint.models);
    if RepositoryBody::read(&body)?.ready {
        models.retain(|model| model.state == "READY");
    }
    Ok(json_response(StatusCode::OK, &models))
}

async fn repository_load(
    State(endpoint): State<Endpoint>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Fault> {
    let repository = endpoint.repository_for(Some(peer), &headers)?;
    let parameters = RepositoryBody::read(&body)?.parameters;
    Repository::check_parameters(parameters.keys().map(String::as_str))?;
    repository.order(&model, Wanted::Load).await?;
    Ok(StatusCode::OK)
}

async fn repository_unload(
    State(endpoint): State<Endpoint>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(model): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    let repository = endpoint.repository_for(Some(peer), &headers)?;
    repository.order(&model, Wanted::Unload).await?;
    Ok(StatusCode::OK)
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Fault::new(
            Kind::Invalid,
            "Inference-Header-Content-Length is not a number of bytes",
        )
    })
}

async fn prometheus(State(endpoint): State<Endpoint>) -> Response {
    let text = metrics::counters(&endpoint.recorder, &endpoint.models);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn summary(State(endpoint): State<Endpoint>) -> Response {
    let window = endpoint.recorder.last_window();
    let text = metrics::summary(window.as_deref(), &endpoint.recorder.drift());
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("descriptions always have a JSON form");
    let kind = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (status, kind, body).into_response()
}
