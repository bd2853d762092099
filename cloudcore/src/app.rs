//! Wiring: what the parts of cloudcore share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use millwright_identity::{IdentityError, TrustDomain};
use millwright_proto::ids::Incarnation;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use crate::api::watch::WATCHES_MAX;
use crate::auth::{self, BootstrapError, Refusals};
use crate::config::Config;
use crate::health::Metrics;
use crate::hub::asks::Asks;
use crate::pki::{self, Lifetime, Pki, PkiError};
use crate::registry::{Registry, RegistryError};
use crate::renew::Renewals;
use crate::revocations::{self, RevocationsError};
use crate::signals::Signals;
use crate::store::{Store, StoreError, StoreIdentity};

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
    /// Signs certificates of nodes, and holds the one of this server.
    pub(crate) pki: Arc<Pki>,
    /// How long certificates of nodes are good.
    pub(crate) node_lifetime: Lifetime,
    /// Challenges and bounds of renewals.
    pub(crate) renewals: Renewals,
    /// Wakes the planner and the hub.
    pub(crate) signals: Arc<Signals>,
    /// What operators ask of nodes that are connected.
    pub(crate) asks: Arc<Asks>,
    /// Counts for Prometheus.
    pub(crate) metrics: Metrics,
    /// Bounds how many refusals are audited.
    pub(crate) refusals: Refusals,
    /// Changes when the store is restored.
    pub(crate) incarnation: Incarnation,
    /// Where everything lies.
    pub(crate) data_dir: PathBuf,
    /// Where agents connect.
    pub(crate) addresses: Addresses,
    /// Host that agents are told to dial, if not the one they enrolled at.
    pub(crate) advertise_host: Option<String>,
    /// One permit per open watch.
    pub(crate) watches: Arc<Semaphore>,
    /// Becomes true when the server drains.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// Why what lies in the data directory cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Blobs.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The first admin token.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Which nodes were revoked.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    /// The stored fleet id.
    #[error("the store holds a damaged fleet id: restore a backup")]
    Fleet(#[from] IdentityError),
}

impl App {
    /// Opens what lies in the data directory, making what is missing.
    ///
    /// # Errors
    /// When something there is damaged or cannot be written.
    pub(crate) async fn open(
        config: &Config,
        addresses: Addresses,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self, OpenError> {
        let now = Timestamp::now();
        let data_dir = &config.data_dir;
        let store = Store::open(data_dir).await?;
        let identity = store.identity(fresh_identity()?).await?;
        revocations::apply(&store, data_dir, now).await?;
        let fleet: TrustDomain = identity.fleet.parse()?;
        let pki = Pki::open(&data_dir.join("pki"), &fleet, &config.public_names, now)?;
        let registry = Registry::open(data_dir).await?;
        if let Some(file) = auth::bootstrap(&store, data_dir, now).await? {
            tracing::info!(file = %file.display(), "the first admin token is in this file");
        }
        tracing::info!(
            fleet = %fleet, incarnation = %identity.incarnation, ca_pin = %pki.authority().pin(),
            data_dir = %data_dir.display(), "the data directory is open"
        );
        Ok(Self {
            store,
            registry,
            pki: Arc::new(pki),
            node_lifetime: config.node_certificate_lifetime,
            renewals: Renewals::new()?,
            signals: Arc::new(Signals::default()),
            asks: Arc::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            incarnation: identity.incarnation,
            data_dir: data_dir.clone(),
            addresses,
            advertise_host: config.advertise_host.clone(),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            shutdown,
        })
    }
}

/// What a store becomes that is nobody yet.
pub(crate) fn fresh_identity() -> Result<StoreIdentity, PkiError> {
    Ok(StoreIdentity {
        fleet: format!("{}.millwright.internal", hex::encode(pki::random::<8>()?)),
        incarnation: Incarnation::from_bytes(pki::random()?),
    })
}
