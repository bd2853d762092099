//! What Triton has and this agent has not: said plainly, so that nobody takes it for a wrong address.

use axum::Router;
use axum::response::Response;
use axum::routing::{any, post};
use tonic::Status;

use super::fault::{Fault, Kind};

const SHARED_MEMORY: &str = "shared memory is not supported by this agent: send tensors in the request; infer.sock takes \
     them without the network between";
const TRACES: &str =
    "traces are not supported by this agent: statistics and /metrics say where time goes";
const LOGGING: &str = "what is logged is decided when this agent starts: use its flag --log";

/// Paths over HTTP.
const PATHS: [(&str, &str); 7] = [
    ("/v2/systemsharedmemory/{*rest}", SHARED_MEMORY),
    ("/v2/cudasharedmemory/{*rest}", SHARED_MEMORY),
    ("/v2/trace/setting", TRACES),
    ("/v2/models/{model}/trace/setting", TRACES),
    (
        "/v2/models/{model}/generate",
        "models that generate text are not supported by this agent: use infer",
    ),
    (
        "/v2/models/{model}/generate_stream",
        "models that generate text are not supported by this agent: use infer",
    ),
    ("/v2/logging", LOGGING),
];

/// Calls of gRPC.
const CALLS: [(&str, &str); 8] = [
    ("SystemSharedMemoryStatus", SHARED_MEMORY),
    ("SystemSharedMemoryRegister", SHARED_MEMORY),
    ("SystemSharedMemoryUnregister", SHARED_MEMORY),
    ("CudaSharedMemoryStatus", SHARED_MEMORY),
    ("CudaSharedMemoryRegister", SHARED_MEMORY),
    ("CudaSharedMemoryUnregister", SHARED_MEMORY),
    ("TraceSetting", TRACES),
    ("LogSettings", LOGGING),
];

/// The routes of all of it.
pub(super) fn router() -> Router {
    let paths = PATHS
        .into_iter()
        .fold(Router::new(), |router, (path, why)| {
            let refuse = async move || Fault::new(Kind::Absent, why);
            router.route(path, any(refuse))
        });
    CALLS.into_iter().fold(paths, |router, (call, why)| {
        let refuse = async move || -> Response { Status::unimplemented(why).into_http() };
        let path = format!("/inference.GRPCInferenceService/{call}");
        router.route(&path, post(refuse))
    })
}
