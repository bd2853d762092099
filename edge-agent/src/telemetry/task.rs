//! The task that samples the node, cuts windows and commits them.

use std::collections::VecDeque;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edge_core::drift::{self, DriftNotice};
use edge_core::summary::Cut;
use millwright_proto::ids::{Lineage, ModelVersion};
use millwright_summary::{LinkStats, Window, gauge};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Recorder;
use super::clock::Clock;
use super::node::Sampler;
use crate::config::SUMMARY_WINDOW_MAX;
use crate::journal::{Journal, Severity};
use crate::serving::models::ActiveModels;
use crate::worker::Worker;

/// Time between two samples of the node. Twelve of them show the peaks of a minute and cost nothing.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest window. Below it the statistics of a window say less than the record around them.
const WINDOW_MIN: Duration = Duration::from_millis(100);

/// Windows kept while the sink refuses them, an hour of minutes; beyond, the oldest are merged. The outbox bounds
/// what is stored; this bounds what is not even stored.
const WINDOWS_WAITING_MAX: usize = 60;

/// Where a window was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The store it lies in.
    pub lineage: Lineage,
    /// Its sequence number in the summaries stream.
    pub sequence: u64,
}

/// Stores windows durably.
pub trait WindowSink: Send {
    /// Why a window could not be stored.
    type Error: Display;

    /// Stores one window; when this returns, it survives a kill.
    fn append(
        &mut self,
        window: &Window,
    ) -> impl Future<Output = Result<Committed, Self::Error>> + Send;

    /// What storing costs the disk; `None` when nothing is stored.
    fn wear(&self) -> Option<SinkWear>;
}

/// What storing windows costs the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkWear {
    /// Bytes written since midnight.
    pub written_bytes: u64,
    /// How many times longer than usual a window should be.
    pub stretch: u32,
}

/// What the task needs.
pub struct Telemetry<S> {
    /// Where everything is counted.
    pub recorder: Recorder,
    /// Whose workers' memory is counted.
    pub models: ActiveModels,
    /// What the connection to the cloud has counted since the agent started.
    pub link: Box<dyn Fn() -> LinkStats + Send>,
    /// Both clocks.
    pub clock: Clock,
    /// Length of a window; a change holds from the next window on.
    pub window: watch::Receiver<Duration>,
    /// Hears of drift.
    pub journal: Journal,
    /// The directory whose disk is watched.
    pub data_dir: PathBuf,
    /// Where windows go.
    pub sink: S,
}

impl<S: WindowSink> Telemetry<S> {
    /// Runs until `shutdown` resolves, then cuts and commits the open window.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut sampler = Sampler::new(self.data_dir.clone());
        let mut waiting = VecDeque::new();
        let mut length = self.length();
        let mut end = Instant::now() + length;
        let mut sample_at = Instant::now();
        let mut ready_since = Instant::now();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = tokio::time::sleep_until(end) => {
                    self.count_ready(&mut ready_since);
                    self.cut(Cut::Full, &mut waiting).await;
                    length = self.length();
                    // From the planned end, so that windows do not drift; from now after a long sleep.
                    end = (end + length).max(Instant::now());
                }
                () = tokio::time::sleep_until(sample_at) => {
                    self.count_ready(&mut ready_since);
                    sample(&mut sampler, &self.recorder, self.models.workers()).await;
                    sample_at = Instant::now() + SAMPLE_INTERVAL.min(length / 2);
                }
            }
        }
        self.count_ready(&mut ready_since);
        let planned_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.cut(Cut::Interrupted { planned_ms }, &mut waiting)
            .await;
    }

    /// Longer when the disk was written to more than it should be; never longer than a window may be.
    fn length(&self) -> Duration {
        let usual = (*self.window.borrow()).max(WINDOW_MIN);
        let stretch = self.sink.wear().map_or(1, |wear| wear.stretch);
        usual.max((usual * stretch).min(SUMMARY_WINDOW_MAX))
    }

    /// Counts the time since the last look for every model that is ready now.
    fn count_ready(&self, since: &mut Instant) {
        let now = Instant::now();
        for worker in self.models.workers() {
            if !worker.has_ended() {
                self.recorder.ready(worker.model(), now - *since);
            }
        }
        *since = now;
    }

    fn tell(&self, model: &ModelVersion, notice: &DriftNotice) {
        let (severity, reason, message) = match notice {
            DriftNotice::Began(what) => (
                Severity::Warning,
                "DriftBegan",
                format!(
                    "no longer what {model} was made for: {}",
                    drift::describe(what)
                ),
            ),
            DriftNotice::Ended => (
                Severity::Normal,
                "DriftEnded",
                format!("again what {model} was made for"),
            ),
        };
        self.journal.record(severity, reason, Some(model), &message);
    }

    /// Closes the open window and stores it, with those that could not be stored before.
    async fn cut(&mut self, cut: Cut, waiting: &mut VecDeque<Arc<Window>>) {
        if let Some(wear) = self.sink.wear() {
            let bytes = wear.written_bytes as f64;
            self.recorder.gauge(gauge::OUTBOX_WRITTEN_BYTES, bytes);
        }
        let (window, drift) = self.recorder.cut(self.clock.now(), cut, (self.link)());
        for (model, notice) in &drift {
            self.tell(model, notice);
        }
        if waiting.len() == WINDOWS_WAITING_MAX {
            merge_oldest(waiting);
        }
        waiting.push_back(window);
        while let Some(window) = waiting.front() {
            match self.sink.append(window).await {
                Ok(committed) => {
                    log_committed(committed, window);
                    waiting.pop_front();
                }
                Err(error) => {
                    tracing::error!(
                        waiting = waiting.len(),
                        "storing a window failed, will try again: {error}"
                    );
                    return;
                }
            }
        }
    }
}

/// Makes the two oldest windows one, so that a disk that stays full costs resolution and no counts.
fn merge_oldest(waiting: &mut VecDeque<Arc<Window>>) {
    let (Some(first), Some(second)) = (waiting.pop_front(), waiting.front_mut()) else {
        return;
    };
    let merged = Arc::make_mut(second).merge(&first);
    merged.expect("windows of one process are of one boot");
}

async fn sample(sampler: &mut Sampler, recorder: &Recorder, workers: Vec<Arc<Worker>>) {
    // The kernel walks a process's page tables for its memory: milliseconds for a large model.
    let memory = tokio::task::spawn_blocking(move || {
        workers
            .iter()
            .filter_map(|worker| worker.memory_bytes())
            .sum()
    });
    sampler.sample(recorder, memory.await.unwrap_or_default());
}

fn log_committed(committed: Committed, window: &Window) {
    let requests: u64 = window.models.values().map(|stats| stats.requests).sum();
    let models: Vec<String> = window
        .models
        .iter()
        .map(|(label, stats)| format!("{}@{}:{}", label.model, label.version, stats.requests))
        .collect();
    tracing::info!(
        lineage = %committed.lineage,
        sequence = committed.sequence,
        requests,
        models = models.join(","),
        interrupted = window.time.interrupted > 0,
        "window committed"
    );
}

#[cfg(test)]
mod tests;
