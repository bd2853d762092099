//! Answering requests on this node: which worker answers, and the local endpoints.
//!
//! Owns the set of active models ([`models`]), the Open Inference Protocol over HTTP ([`rest`], its tensors
//! in [`tensors`]) and over gRPC ([`grpc`]), what both have in common ([`endpoint`], and [`fault`] for what goes wrong), what
//! Triton has beyond that ([`absent`]), the door for engineers at the box ([`repository`]) and the Prometheus text
//! ([`metrics`]). It does not decide which version is active.
//!
//! ```text
//! TCP 8080 ─┐                                   ┌─ rest ─┐
//! TCP 8081 ─┼─▶ connections ─▶ hyper (1 or 2) ──┤        ├─▶ endpoint ─▶ ActiveModels ─▶ worker
//! infer.sock┘                                   └─ grpc ─┘
//! ```
//!
//! One router answers on every socket: hyper tells HTTP/1 from HTTP/2, so gRPC works on each of them too.
//!
//! Every request, from whatever source, goes through [`models::ActiveModels::infer`], which is where it is
//! counted and timed. Invariant: while versions are swapped, no request fails for lack of a worker
//! (asserted under load in `tests/data_plane`).

mod absent;
mod budget;
mod classes;
mod connections;
mod describe;
mod endpoint;
mod fault;
mod grpc;
pub mod metrics;
pub mod models;
pub mod repository;
pub mod rest;
mod statistics;
pub mod tensors;

use std::future::Future;

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, UnixListener};

use connections::Connections;
pub use connections::Peer;
use endpoint::Endpoint;
use models::ActiveModels;
use repository::Repository;

use crate::telemetry::Recorder;

/// Every route of the local endpoint: both protocols, health and metrics.
pub fn router(models: ActiveModels, recorder: Recorder, repository: Repository) -> Router {
    let endpoint = Endpoint::new(models, recorder, repository);
    let absent = absent::router();
    grpc::router(&endpoint)
        .merge(absent)
        .merge(rest::router(endpoint))
}

/// Serves `router` on a TCP port until `shutdown` resolves and the requests in flight are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // An answer of several parts must not wait for the client to acknowledge the first. A socket that refuses the option
    // is about to fail anyway.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    serve_on(listener, router, shutdown).await
}

/// As [`serve`], on a Unix socket.
///
/// # Errors
/// When the listener fails.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve_on(listener, router, shutdown).await
}

async fn serve_on<L: Listener<Addr: Into<Peer>>>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(Connections::new(listener), service)
        .with_graceful_shutdown(shutdown)
        .await
}
