//! The parts that run in a fleet and alone: the control loop, telemetry, pipelines.

use std::time::Duration;

use millwright_proto::link::{Applied, PipelineStatus};
use millwright_summary::LinkStats;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::Base;
use super::stop::Stop;
use crate::config::{RunConfig, SUMMARY_WINDOW};
use crate::control::{Control, Outlets, Wish};
use crate::data_dir::Layout;
use crate::executor::budget::Budget;
use crate::executor::runtime::Runtime;
use crate::executor::{Executor, OUTCOMES_WAITING_MAX};
use crate::fetch::{BlobSource, Shelf, TrustPolicy};
use crate::identity::StoredIdentity;
use crate::journal::{Journal, Severity};
use crate::pipeline::cloud::{CloudPipelines, Guard, Wanted};
use crate::pipeline::{Parts, Pipelines};
use crate::storage::StorageHealth;
use crate::telemetry::Telemetry;

/// What the control loop is made of, apart from what both ways of running share.
pub(super) struct ControlParts<B> {
    pub(super) wish: Wish,
    pub(super) trust: TrustPolicy,
    pub(super) blobs: B,
    pub(super) shelf: Shelf,
    pub(super) applied: watch::Sender<Applied>,
    pub(super) journal: Journal,
    pub(super) storage: StorageHealth,
}

/// The control loop, running. It ends after whatever asks models, so that nobody is refused.
pub(super) struct Running {
    control: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    window: watch::Receiver<Duration>,
    pipelines: watch::Receiver<CloudPipelines>,
    pipelines_told: watch::Sender<Vec<PipelineStatus>>,
    journal: Journal,
}

/// Where pipelines are at home.
pub(super) struct Home {
    /// Begins the names of MQTT clients.
    pub(super) client_prefix: String,
    /// `None`: nothing is kept.
    pub(super) layout: Option<Layout>,
}

impl Home {
    /// Of a node of a fleet.
    pub(super) fn of(identity: &StoredIdentity, layout: &Layout) -> Self {
        Self {
            client_prefix: format!("edge-agent-{}", identity.node.node),
            layout: Some(layout.clone()),
        }
    }
}

impl Running {
    pub(super) async fn start<B: BlobSource>(
        config: &RunConfig,
        base: &Base,
        parts: ControlParts<B>,
    ) -> Self {
        let runtime = Runtime::find(config.onnxruntime.clone(), config.worker.settings.clone());
        match (runtime.problem(), runtime.library()) {
            (Some(problem), _) => {
                parts
                    .journal
                    .record(Severity::Warning, "RuntimeMissing", None, problem)
            }
            (None, library) => tracing::info!(library = ?library, "ONNX Runtime found"),
        }
        let budget = Budget::new(config.worker.memory_bytes);
        tracing::info!(memory_bytes = ?budget.bytes(), "memory that workers may use");
        let (outcome_sender, outcomes) = mpsc::channel(OUTCOMES_WAITING_MAX);
        let models = base.models.clone();
        let executor = Executor::new(
            parts.shelf.clone(),
            parts.trust,
            parts.blobs,
            (runtime, budget),
            models.clone(),
            outcome_sender,
        );
        let (asked_sender, asked) = watch::channel(None);
        let journal = parts.journal.clone();
        let (pipelines_sender, pipelines) = watch::channel(CloudPipelines::default());
        let (pipelines_told, told) = watch::channel(Vec::new());
        let outlets = Outlets {
            applied: parts.applied,
            summary_window: asked_sender,
            pipelines: pipelines_sender,
            pipelines_told: told,
            journal: parts.journal,
            storage: parts.storage,
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
        let (stop, stopped) = oneshot::channel();
        Self {
            window: summary_window(config.summary_window, asked),
            control: tokio::spawn(control.run(async {
                // An error means that it was dropped, which is no reason to run on.
                let _ = stopped.await;
            })),
            stop,
            pipelines,
            pipelines_told,
            journal,
        }
    }

    pub(super) async fn end(self) {
        // An error means that it has ended already.
        let _ = self.stop.send(());
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

pub(super) fn telemetry<S>(
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
        journal: running.journal.clone(),
        data_dir: layout.root().to_owned(),
        sink,
    }
}

/// Starts the pipelines of this machine, and those the control loop hands over.
pub(super) fn start_pipelines(
    config: &RunConfig,
    home: Home,
    base: &Base,
    running: &Running,
    stop: &Stop,
) -> JoinHandle<()> {
    let layout = home.layout.as_ref();
    let guard = Guard {
        permission: config.cloud.pipelines,
        data_dir: layout.map_or_else(Default::default, |layout| layout.root().to_owned()),
        secrets: layout.map_or_else(Default::default, Layout::secrets),
        directories: config.cloud.pipeline_directories.clone(),
    };
    let pipelines = Pipelines::new(Parts {
        models: base.models.clone(),
        board: base.camera_board.clone(),
        table: base.pipelines.clone(),
        client_prefix: home.client_prefix,
        hard_examples: layout.map(Layout::hard_examples),
    });
    let wanted = Wanted {
        local: config.pipelines.clone(),
        cloud: running.pipelines.clone(),
        guard,
        told: running.pipelines_told.clone(),
    };
    tokio::spawn(pipelines.run(wanted, stop.wait()))
}

/// Waits for a task that was told to end.
pub(super) async fn ended(what: &'static str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!("{what} ended badly: {error}");
    }
}
