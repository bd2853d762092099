//! Wires the parts of the agent together, and takes them apart in order.
//!
//! ```text
//! begin: data directory ─> HTTP bound ─> control ─> telemetry, pipelines      beside: outbox ─> link
//! end:   HTTP and pipelines stop ─> last window cut ─> workers end ─> events stored ─> link ends
//! ```
//!
//! What is desired is served before, and without, any session and any outbox: nothing here waits for
//! the link, and a disk that is full or read-only only keeps things from being stored.

pub(crate) mod addresses;
mod alone;
mod fleet;
mod running;
mod sink;
mod stop;
mod uplink;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use millwright_proto::ids::{BootId, ModelName};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::camera_page;
use crate::camera_page::token::{self, PageToken, Reach};
use crate::config::{Mode, RunConfig};
use crate::data_dir::{DataDirError, Layout};
use crate::identity::StoredIdentityError;
use crate::identity::trust::TrustError;
use crate::local::LocalError;
use crate::pipeline::PipelineTable;
use crate::serving::models::ActiveModels;
use crate::serving::rest;
use crate::status;
use crate::status::Board;
use crate::telemetry::Recorder;
use crate::telemetry::clock::{Clock, boot_id};
use stop::Stop;

/// Longest time requests in flight get when the agent ends.
const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// Why the agent does not run.
#[derive(Debug, Error)]
pub enum AppError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] StoredIdentityError),
    /// Trust keys cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The package of `--model` cannot be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The HTTP endpoint cannot listen.
    #[error(
        "cannot listen on {address}: choose another address with --http ADDRESS:PORT or `http` in edge-agent.yaml"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be received, or random bytes had.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the agent until it is told to end.
///
/// # Errors
/// When a part of it cannot start.
pub async fn run(config: RunConfig) -> Result<(), AppError> {
    let stop = Stop::on_signals().map_err(|source| AppError::System {
        operation: "receive signals",
        source,
    })?;
    match &config.mode {
        Mode::Fleet { data_dir } => fleet::run(&config, data_dir, stop).await,
        Mode::Local {
            package,
            trust_keys,
            data_dir,
        } => alone::run(&config, package, trust_keys, data_dir.as_deref(), stop).await,
    }
}

/// What both ways of running need.
struct Base {
    boot: BootId,
    clock: Clock,
    recorder: Recorder,
    models: ActiveModels,
    board: Board,
    camera_board: camera_page::board::Board,
    pipelines: PipelineTable,
    http: Http,
}

/// The HTTP endpoint, serving.
struct Http {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Base {
    /// `expected` are the models that have to answer before this node is ready.
    async fn start(
        config: &RunConfig,
        clock_floor_ms: u64,
        expected: BTreeSet<ModelName>,
        layout: Option<&Layout>,
        stop: &Stop,
    ) -> Result<Self, AppError> {
        let boot = boot_id();
        let clock = Clock::start(clock_floor_ms);
        let recorder = Recorder::new(boot, clock.now());
        let models = ActiveModels::new(recorder.clone());
        models.expect(expected);
        let board = Board::default();
        let beside = status::router(board.clone());
        let camera_board = camera_page::board::Board::default();
        let pipelines = PipelineTable::default();
        let page = camera_page::router(camera_board.clone(), page_token(config, layout));
        let router = rest::router(models.clone(), recorder.clone())
            .merge(beside)
            .merge(page)
            .merge(pipelines.router());
        let http = Http::start(config.http, router, stop).await?;
        Ok(Self {
            boot,
            clock,
            recorder,
            models,
            board,
            camera_board,
            pipelines,
            http,
        })
    }
}

/// What lets people from other machines see the camera page.
fn page_token(config: &RunConfig, layout: Option<&Layout>) -> Option<PageToken> {
    let file = layout.map(Layout::page_token);
    let reach = if config.http.ip().to_canonical().is_loopback() {
        Reach::ThisMachine
    } else {
        Reach::Network
    };
    token::find(config.page.token.as_ref(), file.as_deref(), reach)
}

impl Http {
    async fn start(
        address: SocketAddr,
        router: axum::Router,
        stop: &Stop,
    ) -> Result<Self, AppError> {
        let refused = |source| AppError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let serving = crate::serving::serve(listener, router, stop.wait());
        let task = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!("the HTTP endpoint ended: {error}");
            }
        });
        tracing::info!(%address, "serving HTTP");
        Ok(Self { address, task })
    }

    /// Waits for the requests in flight.
    async fn end(self) {
        if tokio::time::timeout(HTTP_LIMIT, self.task).await.is_err() {
            tracing::warn!("requests are in flight after {HTTP_LIMIT:?}; they are cut off");
        }
    }
}
