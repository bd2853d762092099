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
mod listeners;
mod running;
mod sink;
mod stop;
mod uplink;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use millwright_proto::ids::{BootId, ModelName};
use millwright_proto::link::Applied;
use thiserror::Error;
use tokio::sync::watch;

use crate::camera_page;
use crate::camera_page::token::{self, PageToken, Reach};
use crate::config::{Mode, RunConfig};
use crate::data_dir::DataDirError;
use crate::identity::StoredIdentityError;
use crate::identity::trust::TrustError;
use crate::local::LocalError;
use crate::pipeline::PipelineTable;
use crate::serving::models::ActiveModels;
use crate::serving::repository::Repository;
use crate::status::{self, Board, FleetSources, NodeFacts, Sources};
use crate::storage::StorageHealth;
use crate::telemetry::Recorder;
use crate::telemetry::clock::{Clock, boot_id};
use listeners::Listeners;
use stop::Stop;

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
    /// A TCP endpoint cannot listen.
    #[error(
        "cannot listen on {address}: choose another address with --{key} ADDRESS:PORT or `{key}` in edge-agent.yaml"
    )]
    Listen {
        /// Its key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The Unix socket that was asked for cannot listen.
    #[error(
        "cannot listen on {path}: choose a path of at most 107 bytes in a directory of the agent's user, with --socket FILE"
    )]
    Socket {
        /// The path.
        path: PathBuf,
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
    listeners: Listeners,
}

/// Who decides what is served, and what has to be before this node is ready.
struct Serving {
    clock_floor_ms: u64,
    expected: BTreeSet<ModelName>,
    repository: Repository,
    /// Where the Unix socket usually is.
    socket: Option<PathBuf>,
    /// Where the token of the camera page is kept.
    page_token: Option<PathBuf>,
}

impl Base {
    async fn start(config: &RunConfig, serving: Serving, stop: &Stop) -> Result<Self, AppError> {
        let boot = boot_id();
        let clock = Clock::start(serving.clock_floor_ms);
        let recorder = Recorder::new(boot, clock.now());
        let models = ActiveModels::new(recorder.clone());
        models.expect(serving.expected);
        let board = Board::default();
        let beside = status::router(board.clone());
        let own = crate::serving::router(models.clone(), recorder.clone(), serving.repository);
        let camera_board = camera_page::board::Board::default();
        let pipelines = PipelineTable::default();
        let token = page_token(config, serving.page_token.as_deref());
        let router = own
            .merge(beside)
            .merge(camera_page::router(camera_board.clone(), token))
            .merge(pipelines.router());
        let listeners = Listeners::start(config, serving.socket, router, stop).await?;
        Ok(Self {
            boot,
            clock,
            recorder,
            models,
            board,
            camera_board,
            pipelines,
            listeners,
        })
    }

    /// Lets `edge-agent status` see what the parts know.
    fn show(
        &self,
        node: NodeFacts,
        fleet: Option<FleetSources>,
        applied: watch::Receiver<Applied>,
        storage: &StorageHealth,
    ) {
        self.board.show(Sources {
            node,
            fleet,
            clock: self.clock.clone(),
            applied,
            storage: storage.watch(),
            models: self.models.clone(),
            pipelines: self.pipelines.clone(),
            recorder: self.recorder.clone(),
        });
    }
}

/// What lets people from other machines see the camera page, which is on every port.
fn page_token(config: &RunConfig, file: Option<&Path>) -> Option<PageToken> {
    let mut ports = [Some(config.http), config.endpoints.grpc]
        .into_iter()
        .flatten();
    let reach = if ports.all(|port| port.ip().to_canonical().is_loopback()) {
        Reach::ThisMachine
    } else {
        Reach::Network
    };
    token::find(config.page.token.as_ref(), file, reach)
}
