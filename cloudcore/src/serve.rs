//! `cloudcore serve`: open everything, bind everything, run, drain.

mod listeners;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{Addresses, App, OpenError};
use crate::auth::Refusals;
use crate::config::Config;
use crate::https::{self, Security};
use crate::hub::{self, HubError, HubListeners, HubParts};
use crate::pki::{self, PkiError};
use crate::tasks::expire::{self, Absent};
use crate::tasks::ingest::Ingest;
use crate::tasks::plan::Planner;
use crate::{api, health};
use listeners::{BindError, Listeners};

/// Written once every listener is bound, for scripts and tests.
const ADDRESSES_FILE: &str = "addresses.json";

/// Locked as long as a server runs on the directory.
const LOCK_FILE: &str = "lock";

/// Makes QUIC's stateless resets; kept, so that agents notice a restart at once.
const RESET_KEY_FILE: &str = "quic-reset.key";

/// Why the server could not start, or ended by itself.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: choose another with --data-dir")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another server runs on it.
    #[error(
        "another cloudcore runs on the data directory {0}: stop it, or choose another with --data-dir"
    )]
    Locked(PathBuf),
    /// A port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What lies in the data directory.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file in the data directory.
    #[error(transparent)]
    File(#[from] PkiError),
    /// A part of the server ended while it should run.
    #[error("a part of the server has ended by itself; the panic is in the log before this")]
    Task,
    /// Sessions with agents.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
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
) -> Result<(), ServeError> {
    let _lock = lock(&config.data_dir)?;
    let listeners = Listeners::bind(&config).await?;
    let bound = listeners.bound();
    let (stop, shutdown) = watch::channel(false);
    let app = App::open(&config, listeners.addresses(), shutdown.clone()).await?;
    let app = Arc::new(app);
    let tls = Security::tls(app.pki.credentials());
    let api = https::serve(
        listeners.api,
        tls,
        api::router(Arc::clone(&app)),
        shutdown.clone(),
    );
    let health = health::router(Arc::clone(&app));
    let metrics = https::serve(listeners.metrics, Security::Plain, health, shutdown.clone());
    let summary_window_ms = config.summary_window_seconds.saturating_mul(1000);
    let signals = Arc::clone(&app.signals);
    let planner = Planner::new(app.store.clone(), signals, summary_window_ms);
    let sockets = HubListeners {
        websocket: listeners.websocket,
        quic: listeners.quic,
    };
    let (ingest, writer) = Ingest::open(app.store.clone(), Arc::clone(&app.signals));
    let absent = Absent::since_start(&app.store, ingest.clone()).await?;
    let parts = hub_parts(&config.data_dir, &app, ingest).await?;
    let hub = hub::start(parts, sockets, shutdown.clone())?;
    write_addresses(&config.data_dir, &app)?;
    let Addresses {
        api: api_at,
        websocket,
        quic,
        metrics: metrics_at,
    } = bound;
    tracing::info!(api = %api_at, %websocket, %quic, metrics = %metrics_at, "listening");
    let mut tasks = JoinSet::new();
    tasks.spawn(hub);
    tasks.spawn(writer);
    tasks.spawn(absent.run(shutdown.clone()));
    tasks.spawn(api);
    tasks.spawn(metrics);
    tasks.spawn(planner.run(shutdown.clone()));
    tasks.spawn(Arc::clone(&app.pki).keep(shutdown.clone()));
    tasks.spawn(expire::run(app.store.clone(), shutdown));
    let ended = tokio::select! {
        () = ending => Ok(()),
        // Tasks end only when told to, so this one has panicked. What it did is not done any more:
        // whoever restarts this process makes it whole again.
        _ = tasks.join_next() => Err(ServeError::Task),
    };
    tracing::info!("ending: requests in flight are finished first");
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    app.store.close().await;
    ended
}

/// What the hub stands on.
async fn hub_parts(data_dir: &Path, app: &App, ingest: Ingest) -> Result<HubParts, ServeError> {
    Ok(HubParts {
        store: app.store.clone(),
        registry: app.registry.clone(),
        ingest,
        recall: app.store.quic_peers().await?,
        signals: Arc::clone(&app.signals),
        asks: Arc::clone(&app.asks),
        refusals: Refusals::default(),
        credentials: Arc::clone(app.pki.credentials()),
        incarnation: app.incarnation,
        reset_key: pki::read_or_make_secret(&data_dir.join("pki").join(RESET_KEY_FILE))?,
    })
}

/// Makes the data directory, and keeps other servers off it as long as the answer lives.
fn lock(data_dir: &Path) -> Result<std::fs::File, ServeError> {
    let failed = |source| ServeError::DataDir {
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
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServeError::Locked(data_dir.to_owned())),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn write_addresses(data_dir: &Path, app: &App) -> Result<(), ServeError> {
    let Addresses {
        api,
        websocket,
        quic,
        metrics,
    } = app.addresses;
    let document = AddressesDocument {
        api: api.to_string(),
        websocket: websocket.to_string(),
        quic: quic.to_string(),
        metrics: metrics.to_string(),
        ca_pin: app.pki.authority().pin().to_string(),
    };
    let text = serde_json::to_vec_pretty(&document).expect("five texts are always JSON");
    let path = data_dir.join(ADDRESSES_FILE);
    Ok(pki::write_private(&path, &text)?)
}
