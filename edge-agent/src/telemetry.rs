//! What the agent measures: requests as they happen, the node every few seconds, cut into windows.
//!
//! ```text
//! ActiveModels::infer ─▶ Recorder ─┐                                         ┌─▶ WindowSink ─▶ outbox
//! node::Sampler ──────▶ Recorder ──┼─▶ Aggregator (edge-core) ── every window ┤
//! link totals ─────────────────────┘                                         └─▶ DriftWatch ─▶ journal
//! ```
//!
//! Owns the open window and the watch for drift ([`Recorder`]), the baseline profiles of packages ([`baseline`]), the
//! counters since the start that `/metrics` shows ([`counters`]), the sampling of the node ([`node`]) and its accelerators
//! ([`accelerator`]), the clocks ([`clock`]) and the task that cuts windows ([`task`]). It does not know how a window is
//! stored or sent.
//!
//! A window is lost only if the process is killed while it is open; at an orderly end it is cut early and
//! says so. A window that the sink refuses is offered again with the next one.

pub mod accelerator;
pub mod baseline;
pub mod clock;
pub mod counters;
pub mod node;
mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_core::drift::{DriftNotice, DriftWatch};
use edge_core::summary::{self, Aggregator, Cut, InputSample, Moment, Observation};
use millwright_package::Profile;
use millwright_package::profile::Difference;
use millwright_proto::ids::{BootId, ModelVersion};
use millwright_summary::{ErrorClass, LinkStats, Window};

use counters::Counters;
pub use task::{Committed, SinkWear, Telemetry, WindowSink};

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// Time in the agent.
        latency: Duration,
        /// Where it went.
        phases: Phases,
        /// The model's confidence, where its manifest defines one.
        confidence: Option<f64>,
        /// The class it gave, where it gives one.
        class: Option<u32>,
    },
    /// It was not.
    Failed(ErrorClass),
}

/// Where the time of a request went; zero for a phase it did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Waiting for a free place at the worker.
    pub queue: Duration,
    /// Making tensors of what came in.
    pub preprocess: Duration,
    /// Computing, copies between the processes included.
    pub infer: Duration,
    /// Making results of tensors.
    pub postprocess: Duration,
}

/// How one active model version compares with its baseline profile.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The version.
    pub model: ModelVersion,
    /// Every distribution of the profile.
    pub differences: Vec<Difference>,
}

/// Steps of a stored latency in a millisecond: 61 ns, finer than the clock is true, and short in a summary.
const LATENCY_STEPS: f64 = 16_384.0;

/// Takes what happens on this node. A cheap handle.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Shared by every request; held for one observation.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    open: Aggregator,
    counters: Counters,
    last: Option<Arc<Window>>,
    /// Of the versions that are active and have a profile.
    watches: BTreeMap<ModelVersion, DriftWatch>,
}

impl Recorder {
    /// Begins the first window at `now`.
    #[must_use]
    pub fn new(boot: BootId, now: Moment) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                open: Aggregator::new(boot, now, LinkStats::default()),
                counters: Counters::since(now.wall_ms),
                last: None,
                watches: BTreeMap::new(),
            })),
        }
    }

    /// Counts one request.
    pub fn request(&self, model: &ModelVersion, outcome: Outcome) {
        let mut state = self.state();
        state.counters.request(model, outcome);
        let observation = match outcome {
            Outcome::Answered {
                latency,
                phases,
                confidence,
                class,
            } => Observation::Answered {
                latency_ms: milliseconds(latency),
                phases: summary::Phases {
                    queue_ms: milliseconds(phases.queue),
                    preprocess_ms: milliseconds(phases.preprocess),
                    infer_ms: milliseconds(phases.infer),
                    postprocess_ms: milliseconds(phases.postprocess),
                },
                confidence,
                class,
            },
            Outcome::Failed(class) => Observation::Failed(class),
        };
        state.open.request(model, observation);
    }

    /// Looks at one input of `model`: a row of the features of its profile, or the quality of a picture. Where the profile
    /// names an input tensor, `ActiveModels` reads the features from it; a pipeline that makes them itself calls this.
    pub fn input(&self, model: &ModelVersion, sample: InputSample<'_>) {
        self.state().open.input(model, sample);
    }

    /// Compares inputs and outputs of `model` with `profile` from now on; `None`: with nothing.
    pub fn baseline(&self, model: &ModelVersion, profile: Option<Arc<Profile>>) {
        let mut state = self.state();
        match &profile {
            Some(profile) => {
                let watched = state.watches.get(model);
                if watched.is_none_or(|watch| watch.profile() != profile) {
                    let watch = DriftWatch::new(Arc::clone(profile));
                    state.watches.insert(model.clone(), watch);
                }
            }
            None => {
                state.watches.remove(model);
            }
        }
        state.open.baseline(model, profile);
    }

    /// How the active versions with a profile compare with it.
    #[must_use]
    pub fn drift(&self) -> Vec<Drift> {
        let state = self.state();
        let watches = state.watches.iter();
        let told = watches.map(|(model, watch)| Drift {
            model: model.clone(),
            differences: watch.differences(),
        });
        told.collect()
    }

    /// Whether `model` drifts from its profile now.
    #[must_use]
    pub fn drifts(&self, model: &ModelVersion) -> bool {
        let state = self.state();
        let watch = state.watches.get(model);
        watch.is_some_and(DriftWatch::is_drifting)
    }

    /// Counts time in which `model` had a ready worker.
    pub fn ready(&self, model: &ModelVersion, time: Duration) {
        let ready_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.state().open.ready(model, ready_ms);
    }

    /// Adds one sample of a gauge.
    pub fn gauge(&self, name: &'static str, value: f64) {
        let mut state = self.state();
        state.open.gauge(name, value);
        state.counters.gauges.insert(name, value);
    }

    /// Counters since the agent started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// The last closed window, if there is one yet.
    #[must_use]
    pub fn last_window(&self) -> Option<Arc<Window>> {
        self.state().last.clone()
    }

    /// Closes the open window; returns it, and which models began or ended to drift with it.
    pub fn cut(
        &self,
        now: Moment,
        cut: Cut,
        link: LinkStats,
    ) -> (Arc<Window>, Vec<(ModelVersion, DriftNotice)>) {
        let mut state = self.state();
        let window = Arc::new(state.open.cut(now, cut, link));
        state.last = Some(Arc::clone(&window));
        let watches = state.watches.iter_mut();
        let told = watches.filter_map(|(model, watch)| {
            let stats = window.models.get(&summary::label(model))?;
            Some((model.clone(), watch.observe(stats)?))
        });
        let told = told.collect();
        drop(state);
        (window, told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In steps of [`LATENCY_STEPS`]; a time that was measured is never zero.
fn milliseconds(time: Duration) -> f64 {
    let steps = time.as_nanos() as f64 * (LATENCY_STEPS / 1e6);
    let steps = if time.is_zero() {
        0.0
    } else {
        steps.round().max(1.0)
    };
    steps / LATENCY_STEPS
}

#[cfg(test)]
mod tests;
