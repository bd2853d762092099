//! Wires the parts of the agent together, and takes them apart in order.
//!
//! ```text
//! begin: data directory ─> stores ─> HTTP bound ─> link ─> control ─> telemetry, MQTT
//! end:   HTTP and MQTT stop ─> last window cut ─> events stored ─> link ends ─> workers end
//! ```
//!
//! What is desired is served before, and without, any session: nothing here waits for the link.

mod addresses;
mod sink;
mod stop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use millwright_proto::ids::{BootId, InstanceId};
use millwright_proto::link::{Applied, Platform};
use millwright_summary::LinkStats;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{Mode, RunConfig, SUMMARY_WINDOW};
use crate::control::{Control, Outlets, Wish};
use crate::data_dir::{DataDir, DataDirError, Layout};
use crate::desired::DesiredStore;
use crate::executor::runtime::Runtime;
use crate::executor::{Executor, OUTCOMES_WAITING_MAX};
use crate::fetch::{BlobSource, NoCloud, Shelf, TrustPolicy};
use crate::identity::trust::{self, TrustError};
use crate::identity::{StoredIdentity, StoredIdentityError};
use crate::journal::{Journal, Severity};
use crate::link::{Link, LinkChannels, LinkConfig};
use crate::local::{self, LocalError};
use crate::pipeline::mqtt;
use crate::serving::models::ActiveModels;
use crate::store::{Outbox, OutboxLimits, RecoveryNote, StateStore, StoreError};
use crate::telemetry::clock::{Clock, boot_id};
use crate::telemetry::{Recorder, Telemetry};
use sink::{NoSink, OutboxSink};
use stop::Stop;

/// Longest time the link gets to send what is left and say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(3);

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
    /// A store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    match config.mode.clone() {
        Mode::Fleet { data_dir } => run_in_fleet(&config, &data_dir, stop).await,
        Mode::Local {
            package,
            trust_keys,
            data_dir,
        } => {
            let data_dir = data_dir.map(|path| DataDir::open(&path)).transpose()?;
            let (plan, trust) = local::plan(&package, &trust_keys)?;
            let layout = data_dir.as_ref().map(|data_dir| data_dir.layout().clone());
            run_alone(&config, Wish::Local(plan), trust, layout, stop).await
        }
    }
}

/// What both ways of running need.
struct Base {
    boot: BootId,
    clock: Clock,
    recorder: Recorder,
    models: ActiveModels,
    http: Http,
}

/// The HTTP endpoint, serving.
struct Http {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Base {
    async fn start(config: &RunConfig, clock_floor_ms: u64, stop: &Stop) -> Result<Self, AppError> {
        let boot = boot_id();
        let clock = Clock::start(clock_floor_ms);
        let recorder = Recorder::new(boot, clock.now());
        let models = ActiveModels::new(recorder.clone());
        let http = Http::start(config.http, &models, &recorder, stop).await?;
        Ok(Self {
            boot,
            clock,
            recorder,
            models,
            http,
        })
    }
}

impl Http {
    async fn start(
        address: SocketAddr,
        models: &ActiveModels,
        recorder: &Recorder,
        stop: &Stop,
    ) -> Result<Self, AppError> {
        let refused = |source| AppError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let serving =
            crate::serving::serve(listener, models.clone(), recorder.clone(), stop.wait());
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

async fn run_alone(
    config: &RunConfig,
    wish: Wish,
    trust: TrustPolicy,
    layout: Option<Layout>,
    stop: Stop,
) -> Result<(), AppError> {
    let base = Base::start(config, 0, &stop).await?;
    if let Some(layout) = &layout {
        addresses::write(layout, base.http.address)?;
    }
    // The package stays where it is, so this shelf stays empty.
    let layout = layout.unwrap_or_else(|| Layout::at(&std::env::temp_dir()));
    let journal = Journal::logging(base.boot, base.clock.clone());
    let (applied, _nobody) = watch::channel(Applied::default());
    let parts = Parts {
        wish,
        trust,
        blobs: NoCloud,
        shelf: Shelf::new(&layout),
        applied,
        journal,
    };
    let running = Running::start(config, &base, parts, &stop).await;
    let telemetry = telemetry(
        &base,
        &running,
        Box::new(LinkStats::default),
        &layout,
        NoSink::default(),
    );
    let telemetry = tokio::spawn(telemetry.run(stop.wait()));
    stop.wait().await;
    base.http.end().await;
    ended("telemetry", telemetry).await;
    running.end().await;
    Ok(())
}

async fn run_in_fleet(config: &RunConfig, data_dir: &PathBuf, stop: Stop) -> Result<(), AppError> {
    let data_dir = DataDir::open(data_dir)?;
    let layout = data_dir.layout();
    let identity = StoredIdentity::load(layout)?;
    let trust = trust::load(layout)?;
    let (desired, damages) = DesiredStore::open(layout)?;
    let (state, state_notes) = StateStore::open(layout.state()).await?;
    let (outbox, outbox_notes) = Outbox::open(layout.outbox(), OutboxLimits::default()).await?;
    let base = Base::start(
        config,
        identity.file.enrolled_at.saturating_mul(1000),
        &stop,
    )
    .await?;
    addresses::write(layout, base.http.address)?;

    let (journal, writer) = Journal::storing(base.boot, base.clock.clone(), outbox.clone());
    let writer = tokio::spawn(writer.run());
    let started = format!("edge-agent {} started", env!("CARGO_PKG_VERSION"));
    journal.record(Severity::Normal, "AgentStarted", None, &started);
    for damage in damages {
        let message = format!("{}: {}", damage.path.display(), damage.problem);
        journal.record(Severity::Warning, "DesiredDamaged", None, &message);
    }
    tell_recovery(&journal, state_notes.iter().chain(&outbox_notes));
    if trust.is_empty() {
        tracing::warn!(
            "no trust key: no package will be accepted; add one with `edge-agent enroll --trust-key FILE` or in {}",
            layout.trust().display()
        );
    }

    let (desired_sender, received) = watch::channel(None);
    let (applied, applied_receiver) = watch::channel(Applied::default());
    let channels = LinkChannels {
        desired: desired_sender,
        applied: applied_receiver,
    };
    let link_config = link_config(config, &identity, base.boot)?;
    let link = Link::spawn(link_config, &identity.tls(), outbox.clone(), channels);
    let parts = Parts {
        wish: Wish::Fleet {
            store: desired,
            received,
            link: link.state(),
            state,
        },
        trust: TrustPolicy::Keys(trust),
        blobs: link.blobs(),
        shelf: Shelf::new(layout),
        applied,
        journal: journal.clone(),
    };
    let running = Running::start(config, &base, parts, &stop).await;
    let totals = link.totals_reader();
    let link_stats = Box::new(move || {
        let totals = totals();
        LinkStats {
            connected_ms: totals.connected_ms,
            quic_ms: totals.quic_ms,
            websocket_ms: totals.websocket_ms,
            reconnects: totals.reconnects,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
        }
    });
    let telemetry = telemetry(
        &base,
        &running,
        link_stats,
        layout,
        OutboxSink(outbox.clone()),
    );
    let telemetry = tokio::spawn(telemetry.run(stop.wait()));
    let mqtt = start_mqtt(config, identity.node.node.as_str(), &base, &stop);

    stop.wait().await;
    base.http.end().await;
    if let Some(mqtt) = mqtt {
        ended("MQTT", mqtt).await;
    }
    ended("telemetry", telemetry).await;
    running.end().await;
    drop(journal);
    ended("journal", writer).await;
    if tokio::time::timeout(GOODBYE_LIMIT, link.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the link did not end within {GOODBYE_LIMIT:?}");
    }
    outbox.close().await;
    Ok(())
}

/// What the control loop is made of, apart from what both ways of running share.
struct Parts<B> {
    wish: Wish,
    trust: TrustPolicy,
    blobs: B,
    shelf: Shelf,
    applied: watch::Sender<Applied>,
    journal: Journal,
}

/// The control loop, running.
struct Running {
    control: JoinHandle<()>,
    window: watch::Receiver<Duration>,
}

impl Running {
    async fn start<B: BlobSource>(
        config: &RunConfig,
        base: &Base,
        parts: Parts<B>,
        stop: &Stop,
    ) -> Self {
        let runtime = Runtime::find(config.onnxruntime.clone());
        match (runtime.problem(), runtime.library()) {
            (Some(problem), _) => {
                parts
                    .journal
                    .record(Severity::Warning, "RuntimeMissing", None, problem)
            }
            (None, library) => tracing::info!(library = ?library, "ONNX Runtime found"),
        }
        let (outcome_sender, outcomes) = mpsc::channel(OUTCOMES_WAITING_MAX);
        let models = base.models.clone();
        let executor = Executor::new(
            parts.shelf.clone(),
            parts.trust,
            parts.blobs,
            runtime,
            models.clone(),
            outcome_sender,
        );
        let (asked_sender, asked) = watch::channel(None);
        let outlets = Outlets {
            applied: parts.applied,
            summary_window: asked_sender,
            journal: parts.journal,
        };
        let control = Control::restore(
            parts.wish,
            executor,
            outcomes,
            models,
            &parts.shelf,
            outlets,
        )
        .await;
        Self {
            window: summary_window(config.summary_window, asked),
            control: tokio::spawn(control.run(stop.wait())),
        }
    }

    async fn end(self) {
        ended("control", self.control).await;
    }
}

/// The length of a window: what the configuration says, else the desired state, else the default.
fn summary_window(
    configured: Option<Duration>,
    mut asked: watch::Receiver<Option<Duration>>,
) -> watch::Receiver<Duration> {
    let choose = move |asked: Option<Duration>| configured.or(asked).unwrap_or(SUMMARY_WINDOW);
    let (sender, window) = watch::channel(choose(*asked.borrow_and_update()));
    tokio::spawn(async move {
        while asked.changed().await.is_ok() {
            sender.send_replace(choose(*asked.borrow_and_update()));
        }
    });
    window
}

fn telemetry<S>(
    base: &Base,
    running: &Running,
    link: Box<dyn Fn() -> LinkStats + Send + Sync>,
    layout: &Layout,
    sink: S,
) -> Telemetry<S> {
    Telemetry {
        recorder: base.recorder.clone(),
        models: base.models.clone(),
        link,
        clock: base.clock.clone(),
        window: running.window.clone(),
        data_dir: layout.root().to_owned(),
        sink,
    }
}

fn start_mqtt(config: &RunConfig, node: &str, base: &Base, stop: &Stop) -> Option<JoinHandle<()>> {
    let mqtt = config.mqtt.as_ref()?.resolve(&format!("edge-agent-{node}"));
    let mqtt = mqtt.expect("the configuration was checked, and a node name is a client id");
    Some(tokio::spawn(mqtt::run(
        mqtt,
        base.models.clone(),
        stop.wait(),
    )))
}

fn link_config(
    config: &RunConfig,
    identity: &StoredIdentity,
    boot: BootId,
) -> Result<LinkConfig, AppError> {
    let mut instance = [0; 16];
    SystemRandom::new()
        .fill(&mut instance)
        .map_err(|_| AppError::System {
            operation: "draw the identity of this process",
            source: std::io::Error::other("the system gives no random bytes"),
        })?;
    let given = |over: &Option<String>, enrolled: &str| {
        over.clone()
            .or_else(|| (!enrolled.is_empty()).then(|| enrolled.to_owned()))
    };
    Ok(LinkConfig {
        quic: given(&config.cloud.quic, &identity.file.quic),
        websocket: given(&config.cloud.websocket, &identity.file.websocket),
        node_uid: identity.node.uid,
        instance: InstanceId::from_bytes(instance),
        boot,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Vec::new(),
        platform: Platform {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            onnxruntime_version: String::new(),
        },
    })
}

fn tell_recovery<'a>(journal: &Journal, notes: impl Iterator<Item = &'a RecoveryNote>) {
    for note in notes {
        journal.record(Severity::Warning, "StoreRecovered", None, &note.to_string());
    }
}

/// Waits for a task that was told to end.
async fn ended(what: &'static str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!("{what} ended badly: {error}");
    }
}
