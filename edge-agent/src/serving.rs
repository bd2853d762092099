//! Answering requests on this node: which worker answers, and the local HTTP endpoint.
//!
//! Owns the set of active models ([`models`]), the Open Inference Protocol over HTTP ([`rest`], its tensors
//! in [`tensors`]) and the Prometheus text ([`metrics`]). It does not decide which version is active.
//!
//! Every request, from whatever source, goes through [`models::ActiveModels::infer`], which is where it is
//! counted and timed. Invariant: while versions are swapped, no request fails for lack of a worker
//! (asserted under load in `tests/data_plane`).

mod connections;
pub mod metrics;
pub mod models;
pub mod rest;
pub mod tensors;

use std::future::Future;

use axum::Router;
use tokio::net::TcpListener;

use connections::Connections;
pub use connections::Peer;

/// Serves the local HTTP endpoint, `router`, until `shutdown` resolves and the requests in flight are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // Some routes are for people at this machine only.
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(Connections::new(listener), service)
        .with_graceful_shutdown(shutdown)
        .await
}
