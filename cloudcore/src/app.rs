//! Wiring: what the parts of cloudcore share.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::Refusals;
use crate::health::Metrics;
use crate::pki::{Authority, ServerIdentity};
use crate::registry::Registry;
use crate::signals::Signals;
use crate::store::Store;

/// Where this server listens, once it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// HTTPS.
    pub(crate) api: SocketAddr,
    /// Agents over WebSocket.
    pub(crate) websocket: SocketAddr,
    /// Agents over QUIC.
    pub(crate) quic: SocketAddr,
    /// Metrics and health.
    pub(crate) metrics: SocketAddr,
}

/// What every request handler can reach. Shared as `Arc<App>`.
#[derive(Debug)]
pub(crate) struct App {
    /// Everything known.
    pub(crate) store: Store,
    /// Blobs.
    pub(crate) registry: Registry,
    /// Signs certificates of nodes.
    pub(crate) authority: Authority,
    /// The certificate of this server.
    pub(crate) server: Arc<ServerIdentity>,
    /// Wakes the planner and the hub.
    pub(crate) signals: Arc<Signals>,
    /// Counts for Prometheus.
    pub(crate) metrics: Metrics,
    /// Bounds how many refusals are audited.
    pub(crate) refusals: Refusals,
    /// Where agents connect.
    pub(crate) addresses: Addresses,
    /// Host that agents are told to dial, if not the one they enrolled at.
    pub(crate) advertise_host: Option<String>,
    /// One permit per open watch.
    pub(crate) watches: Arc<tokio::sync::Semaphore>,
    /// Becomes true when the server drains.
    pub(crate) shutdown: tokio::sync::watch::Receiver<bool>,
}
