//! `cloudcore serve`: open everything, bind everything, run, drain.

mod listeners;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use millwright_identity::{IdentityError, TlsError, TrustDomain};
use millwright_proto::ids::Incarnation;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use crate::app::{Addresses, App};
use crate::auth::{self, BootstrapError};
use crate::config::Config;
use crate::https::{self, Security};
use crate::pki::{self, Authority, PkiError};
use crate::registry::{Registry, RegistryError};
use crate::signals::Signals;
use crate::store::{Store, StoreError, StoreIdentity};
use crate::{api, health};
use listeners::{BindError, Listeners};

/// Written once every listener is bound, for scripts and tests.
const ADDRESSES_FILE: &str = "addresses.json";

/// Locked as long as a server runs on the directory.
const LOCK_FILE: &str = "lock";

/// Why the server could not start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: choose another with --data-dir")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another server runs on it.
    #[error("another cloudcore runs on the data directory {0}: stop it, or choose another with --data-dir")]
    Locked(PathBuf),
    /// A port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
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
    /// TLS settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stored fleet id.
    #[error("the store holds a damaged fleet id: restore a backup")]
    Fleet(#[from] IdentityError),
}

/// `addresses.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressesDocument {
    api: String,
    websocket: String,
    quic: String,
    metrics: String,
    ca_pin: String,
}

/// Runs the server until `ending` resolves, then drains it.
pub(crate) async fn serve(
    config: Config,
    ending: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let _lock = lock(&config.data_dir)?;
    let listeners = Listeners::bind(&config).await?;
    let (stop, shutdown) = watch::channel(false);
    let app = open(&config, listeners.addresses(), shutdown.clone()).await?;
    let tls = Security::tls(app.server.certified_key())?;
    let api = https::serve(listeners.api, tls, api::router(Arc::clone(&app)), shutdown.clone());
    let health = health::router(Arc::clone(&app));
    let metrics = https::serve(listeners.metrics, Security::Plain, health, shutdown);
    write_addresses(&config.data_dir, &app)?;
    let servers = tokio::spawn(async move { tokio::join!(api, metrics) });
    ending.await;
    tracing::info!("ending: requests in flight are finished first");
    stop.send_replace(true);
    // A panic inside has been logged; everything else is still to be closed.
    let _ = servers.await;
    app.store.close().await;
    Ok(())
}

/// Opens what lies in the data directory.
async fn open(
    config: &Config,
    addresses: Addresses,
    shutdown: watch::Receiver<bool>,
) -> Result<Arc<App>, StartError> {
    let now = Timestamp::now();
    let data_dir = &config.data_dir;
    let store = Store::open(data_dir).await?;
    let identity = store.identity(fresh_identity()?).await?;
    let fleet: TrustDomain = identity.fleet.parse()?;
    let authority = Authority::open(&data_dir.join("pki"), &fleet, now)?;
    let server = authority.server(&fleet, &config.public_names, now)?;
    let registry = Registry::open(data_dir).await?;
    if let Some(file) = auth::bootstrap(&store, data_dir, now).await? {
        tracing::info!(file = %file.display(), "the first admin token is in this file");
    }
    tracing::info!(
        fleet = %fleet, incarnation = %identity.incarnation, ca_pin = %authority.pin(),
        data_dir = %data_dir.display(), "cloudcore is up"
    );
    Ok(Arc::new(App {
        store,
        registry,
        authority,
        server: Arc::new(server),
        signals: Arc::new(Signals::default()),
        metrics: health::Metrics::default(),
        refusals: auth::Refusals::default(),
        addresses,
        advertise_host: config.advertise_host.clone(),
        watches: Arc::new(Semaphore::new(api::watch::WATCHES_MAX)),
        shutdown,
    }))
}

/// What a store becomes that is nobody yet.
fn fresh_identity() -> Result<StoreIdentity, PkiError> {
    Ok(StoreIdentity {
        fleet: format!("{}.millwright.internal", hex::encode(pki::random::<8>()?)),
        incarnation: Incarnation::from_bytes(pki::random()?),
    })
}

/// Makes the data directory, and keeps other servers off it as long as the answer lives.
fn lock(data_dir: &Path) -> Result<std::fs::File, StartError> {
    let failed = |source| StartError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    // It holds private keys and what sessions keep secret.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(data_dir).map_err(failed)?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(data_dir.join(LOCK_FILE))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked(data_dir.to_owned())),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn write_addresses(data_dir: &Path, app: &App) -> Result<(), StartError> {
    let Addresses { api, websocket, quic, metrics } = app.addresses;
    let document = AddressesDocument {
        api: api.to_string(),
        websocket: websocket.to_string(),
        quic: quic.to_string(),
        metrics: metrics.to_string(),
        ca_pin: app.authority.pin().to_string(),
    };
    let text = serde_json::to_vec_pretty(&document).expect("five texts are always JSON");
    let path = data_dir.join(ADDRESSES_FILE);
    pki::write_private(&path, &text)?;
    tracing::info!(%api, %websocket, %quic, %metrics, "listening");
    Ok(())
}
