//! What the agent measures: requests as they happen, the node every few seconds, cut into windows.
//!
//! ```text
//! ActiveModels::infer ─▶ Recorder ─┐
//! node::Sampler ──────▶ Recorder ──┼─▶ Aggregator (edge-core) ── every window ──▶ WindowSink ─▶ outbox
//! link totals ─────────────────────┘
//! ```
//!
//! Owns the open window ([`Recorder`]), the counters since the start that `/metrics` shows ([`counters`]), the
//! sampling of the node ([`node`]), the clocks ([`clock`]) and the task that cuts windows ([`task`]).
//! It does not know how a window is stored or sent.
//!
//! A window is lost only if the process is killed while it is open; at an orderly end it is cut early and
//! says so. A window that the sink refuses is offered again with the next one.

pub mod clock;
pub mod counters;
pub mod node;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_core::summary::{Aggregator, Cut, Moment, Observation};
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
        /// The model's confidence, where its manifest defines one.
        confidence: Option<f64>,
    },
    /// It was not.
    Failed(ErrorClass),
}

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
}

impl Recorder {
    /// Begins the first window at `now`.
    #[must_use]
    pub fn new(boot: BootId, now: Moment) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                open: Aggregator::new(boot, now, LinkStats::default()),
                counters: Counters::default(),
                last: None,
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
                confidence,
            } => Observation::Answered {
                latency_ms: latency.as_secs_f64() * 1000.0,
                confidence,
            },
            Outcome::Failed(class) => Observation::Failed(class),
        };
        state.open.request(model, observation);
    }

    /// Adds one sample of a gauge.
    pub fn gauge(&self, name: &'static str, value: f64) {
        self.state().open.gauge(name, value);
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

    fn cut(&self, now: Moment, cut: Cut, link: LinkStats) -> Arc<Window> {
        let mut state = self.state();
        let window = Arc::new(state.open.cut(now, cut, link));
        state.last = Some(Arc::clone(&window));
        window
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
