//! The Open Inference Protocol v2 over HTTP, with health and metrics beside it.
//!
//! Errors are `{"error": "..."}` with the status that says whose fault it is: 400 the tensors, 404 no such
//! model here, 413 too large, 429 too many at once, 500 the model, 503 not ready, 504 too slow.

mod body;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use millwright_package::TensorSpec;
use millwright_proto::ids::{ModelName, Version};
use serde_json::{Value, json};

use super::metrics;
use super::models::{ActiveModels, Readiness};
use super::tensors::{self, RequestError};
use crate::telemetry::Recorder;
use crate::worker::InferError;
use body::{BodyBudget, BodyError, Parts};

/// Length of the JSON part of a body with binary tensors.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// What Prometheus expects of its text format.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Clone)]
struct Endpoint {
    models: ActiveModels,
    recorder: Recorder,
    budget: Arc<BodyBudget>,
}

/// Every route of the local endpoint.
pub fn router(models: ActiveModels, recorder: Recorder) -> Router {
    let endpoint = Endpoint {
        models,
        recorder,
        budget: Arc::new(BodyBudget::default()),
    };
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(prometheus))
        .route("/metrics/summary", get(summary))
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(async || StatusCode::OK))
        .route("/v2/health/ready", get(health))
        .route("/v2/models/{model}", get(model_metadata))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(model_metadata))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(model_ready),
        )
        .route("/v2/models/{model}/versions/{version}/infer", post(infer))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path takes another method",
            )
        })
        .with_state(endpoint)
}

/// An error as the protocol has it.
struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json_response(self.status, &json!({ "error": self.message }))
    }
}

impl From<InferError> for Problem {
    fn from(error: InferError) -> Self {
        let status = match error {
            InferError::UnknownModel(_) | InferError::UnknownVersion { .. } => {
                StatusCode::NOT_FOUND
            }
            InferError::NotReady(_) | InferError::WorkerEnded(_) => StatusCode::SERVICE_UNAVAILABLE,
            InferError::Busy { .. } | InferError::SequencesFull { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            InferError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            InferError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            InferError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            InferError::UnknownInput { .. }
            | InferError::MissingInput { .. }
            | InferError::DuplicateInput(_)
            | InferError::UnknownOutput { .. }
            | InferError::Datatype { .. }
            | InferError::Shape { .. }
            | InferError::Size { .. }
            | InferError::Strings { .. }
            | InferError::UnknownSequence { .. }
            | InferError::Refused { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::NoRoom => StatusCode::TOO_MANY_REQUESTS,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
            BodyError::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        Self::new(status, error.to_string())
    }
}

/// The model and version of a path.
struct Target {
    model: ModelName,
    version: Option<Version>,
}

impl Target {
    fn parse(path: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut target = (None, None);
        for (key, value) in path {
            let unknown = |what: &str| {
                Problem::new(
                    StatusCode::NOT_FOUND,
                    format!("no {what} can have this name"),
                )
            };
            match key.as_str() {
                "model" => target.0 = Some(value.parse().map_err(|_| unknown("model"))?),
                _ => target.1 = Some(value.parse().map_err(|_| unknown("version"))?),
            }
        }
        let (model, version) = target;
        let model =
            model.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no model is named"))?;
        Ok(Self { model, version })
    }
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
    let metadata = json!({
        "name": "millwright",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    });
    json_response(StatusCode::OK, &metadata)
}

async fn model_metadata(
    State(endpoint): State<Endpoint>,
    Path(path): Path<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let target = Target::parse(path)?;
    let worker = endpoint
        .models
        .find(&target.model, target.version.as_ref())?;
    let manifest = &worker.spec().manifest;
    let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
        let tensor = |spec: &TensorSpec| json!({ "name": spec.name, "datatype": spec.datatype, "shape": spec.dims() });
        specs.iter().map(tensor).collect()
    };
    let metadata = json!({
        "name": target.model,
        "versions": [worker.model().version],
        "platform": "onnxruntime_onnx",
        "inputs": tensors(&manifest.inputs),
        "outputs": tensors(&manifest.outputs),
    });
    Ok(json_response(StatusCode::OK, &metadata))
}

async fn model_ready(
    State(endpoint): State<Endpoint>,
    Path(path): Path<Vec<(String, String)>>,
) -> Result<StatusCode, Problem> {
    let target = Target::parse(path)?;
    endpoint
        .models
        .find(&target.model, target.version.as_ref())?;
    Ok(StatusCode::OK)
}

async fn infer(
    State(endpoint): State<Endpoint>,
    Path(path): Path<Vec<(String, String)>>,
    request: Request,
) -> Result<Response, Problem> {
    let target = Target::parse(path)?;
    let worker = endpoint
        .models
        .find(&target.model, target.version.as_ref())?;
    let header_length = header_length(request.headers())?;
    let received = endpoint.budget.read(request).await?;
    let parsed = match tensors::request(received.bytes(), header_length) {
        Ok(parsed) => parsed,
        Err(error) => {
            if let Some(class) = error.class() {
                endpoint.models.count_refused(worker.model(), class);
            }
            return Err(error.into());
        }
    };
    // A worker that is only held here would outlive its replacement by this request.
    drop(worker);
    let output = endpoint
        .models
        .infer(&target.model, target.version.as_ref(), &parsed.input)
        .await?;
    let answer = tensors::answer(output, parsed.id.as_deref(), &parsed.form);
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

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "Inference-Header-Content-Length is not a number of bytes",
        )
    })
}

async fn prometheus(State(endpoint): State<Endpoint>) -> Response {
    let text = metrics::counters(&endpoint.recorder.counters(), &endpoint.models);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn summary(State(endpoint): State<Endpoint>) -> Response {
    let window = endpoint.recorder.last_window();
    let text = metrics::summary(window.as_deref());
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (status, kind, body.to_string()).into_response()
}
