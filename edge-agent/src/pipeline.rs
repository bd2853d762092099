//! Pipelines: sources that feed models without being asked, and where their results go.
//!
//! ```text
//! mqtt, camera, video, directory, push ─▶ intake ─▶ queue ─▶ runner ─▶ sinks: mqtt, webhook, hard examples
//!                                      read, join   bounded   prepare, infer, decode      └─▶ page
//! ```
//!
//! Owns everything between a source and a sink ([`Pipelines`] runs what is wanted, each pipeline by itself), the files
//! of this machine that hold pipelines ([`files`]), what pipelines of the cloud may do here ([`cloud`]), and how each is
//! doing ([`PipelineTable`]). It deliberately knows no session and loads no model: it asks [`ActiveModels`] like any other client, so a swap is none of its business.
//!
//! Invariants: one queue per pipeline is the only place where inputs wait, and what gives way there is counted; a
//! source is told what became of an input only after its result is on the way, so an agent that is killed in
//! between gets it again; nothing a pipeline meets outside (a broker that is away, a camera that sends rubbish, a
//! disk that is full, a sink that hangs) reaches another one. A part that ends badly is a fault in this code: its
//! pipeline starts anew, and says so.

mod assembly;
mod backoff;
mod camera;
pub mod check;
pub mod cloud;
mod directory;
pub mod files;
mod gauge;
mod http;
mod intake;
mod item;
pub mod message;
mod mqtt;
mod outcome;
mod prepare;
mod push;
mod queue;
mod runner;
mod show;
mod sinks;
mod tls;
mod video;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use millwright_pipeline::Pipeline;
use millwright_proto::ids::PipelineName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::camera_page::board::Board;
use crate::serving::models::ActiveModels;
use crate::status::ask::wall_ms;
use cloud::Admitted;
use gauge::Gauge;
pub use gauge::PipelineFacts;
use push::Doors;
use show::Show;

/// How often the page is told how pipelines run.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// What pipelines use of the agent.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Who answers.
    pub models: ActiveModels,
    /// The agent's own page.
    pub board: Board,
    /// What the rest of the agent sees of the pipelines.
    pub table: PipelineTable,
    /// Begins the names of MQTT clients.
    pub client_prefix: String,
    /// Where hard examples are kept; `None`: nowhere.
    pub hard_examples: Option<PathBuf>,
}

/// What the rest of the agent sees of its pipelines. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct PipelineTable {
    doors: Doors,
    /// Bounded by [`files::PIPELINES_MAX`]. Held for one look or change.
    gauges: Arc<Mutex<BTreeMap<PipelineName, Gauge>>>,
    /// As many as one desired state names. Held for one look or change.
    refused: Arc<Mutex<Vec<PipelineFacts>>>,
}

impl PipelineTable {
    /// The routes of pipelines that take requests.
    pub fn router(&self) -> Router {
        push::router(self.doors.clone())
    }

    /// How every pipeline is doing, by name: those that run, then those of the cloud that do not.
    #[must_use]
    pub fn facts(&self) -> Vec<PipelineFacts> {
        let mut facts = self.running();
        facts.extend(self.lock_refused().iter().cloned());
        facts
    }

    fn running(&self) -> Vec<PipelineFacts> {
        self.lock().values().map(Gauge::facts).collect()
    }

    /// Remembers which pipelines of the cloud do not run, for whoever looks at the box.
    fn refuse(&self, admitted: &Admitted) {
        let refused = admitted.cloud.iter().filter_map(|(name, (_, refused))| {
            let why = refused.as_ref()?;
            Some(PipelineFacts {
                name: name.to_string(),
                state: "refused".to_owned(),
                reason: format!("{}: {}", why.reason, why.message),
                since_ms: wall_ms(),
                ..PipelineFacts::default()
            })
        });
        *self.lock_refused() = refused.collect();
    }

    fn lock_refused(&self) -> MutexGuard<'_, Vec<PipelineFacts>> {
        // Nothing panics while it is held.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PipelineName, Gauge>> {
        // Nothing panics while it is held.
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pipelines that run.
#[derive(Debug)]
pub struct Pipelines {
    parts: Parts,
    running: BTreeMap<PipelineName, Running>,
}

/// One that runs.
#[derive(Debug)]
struct Running {
    pipeline: Pipeline,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Pipelines {
    /// None.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let running = BTreeMap::new();
        Self { parts, running }
    }

    /// Runs exactly `wanted` from now on: ends the others, starts the new, and leaves alone what has not changed. Waits
    /// for those that end.
    pub async fn set(&mut self, wanted: Vec<Pipeline>) {
        let wanted: BTreeMap<_, _> = wanted
            .into_iter()
            .take(files::PIPELINES_MAX)
            .map(|pipeline| (pipeline.name().clone(), pipeline))
            .collect();
        let running = std::mem::take(&mut self.running);
        let (stays, ends): (BTreeMap<_, _>, _) = running
            .into_iter()
            .partition(|(name, running)| wanted.get(name) == Some(&running.pipeline));
        self.running = stays;
        end_all(ends).await;
        for (name, pipeline) in wanted {
            if !self.running.contains_key(&name) {
                let running = start(&self.parts, pipeline);
                self.running.insert(name, running);
            }
        }
    }

    fn tell(&self) {
        for facts in self.parts.table.running() {
            Show::new(self.parts.board.clone(), &facts.name).rates(&facts);
        }
    }
}

fn start(parts: &Parts, pipeline: Pipeline) -> Running {
    let name = pipeline.name().clone();
    let gauge = Gauge::new(name.as_str(), pipeline.spec.model.as_str());
    parts.table.lock().insert(name, gauge.clone());
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(assembly::run(
        pipeline.clone(),
        parts.clone(),
        gauge,
        stopped,
    ));
    Running {
        pipeline,
        stop,
        task,
    }
}

async fn end_all(running: BTreeMap<PipelineName, Running>) {
    for running in running.values() {
        running.stop.send_replace(true);
    }
    for (name, running) in running {
        if let Err(error) = running.task.await {
            tracing::error!(pipeline = %name, "ended badly: {error}");
        }
    }
}

/// Resolves when `stop` says so, or nobody is left to say it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The value is borrowed from the channel; it must not outlive this line.
    let _ = stop.wait_for(|stop| *stop).await.is_ok();
}
