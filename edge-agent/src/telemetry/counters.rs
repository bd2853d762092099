//! Counters since the agent started, for `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use millwright_proto::ids::ModelVersion;
use millwright_summary::{Classes, ErrorClass};

use super::Outcome;

/// Upper bounds of the latency histogram in seconds. From the hop to a worker (tens of microseconds) to the
/// slowest model worth running at a machine, each about 2.5 times the one before.
pub const LATENCY_BOUNDS_S: [f64; 14] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Counters by model version. There are as many as versions were active since the start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// When the agent started, in Unix milliseconds by its clock.
    pub started_ms: u64,
    /// By model version that answered.
    pub models: BTreeMap<ModelVersion, ModelCounters>,
    /// The last sample of every gauge of the node.
    pub gauges: BTreeMap<&'static str, f64>,
}

/// Counters of one model version.
#[derive(Clone, Debug, Default)]
pub struct ModelCounters {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Failed requests by class.
    pub errors: BTreeMap<ErrorClass, u64>,
    /// Latency of answered requests.
    pub latency: Durations,
    /// Where it went, in the order and with the names of a summary's phases.
    pub phases: [(&'static str, Durations); 4],
    /// Answers by class.
    pub classes: Classes,
}

/// A histogram of durations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durations {
    /// By the first bound they are within; beyond the last one, only in `count`.
    pub buckets: [u64; LATENCY_BOUNDS_S.len()],
    /// All of them.
    pub count: u64,
    /// Their sum.
    pub sum_s: f64,
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.count += 1;
        self.sum_s += seconds;
        if let Some(at) = LATENCY_BOUNDS_S.iter().position(|&bound| seconds <= bound) {
            self.buckets[at] += 1;
        }
    }
}

impl Counters {
    /// Nothing counted yet.
    #[must_use]
    pub fn since(started_ms: u64) -> Self {
        Self {
            started_ms,
            ..Self::default()
        }
    }

    /// Counts one request.
    pub fn request(&mut self, model: &ModelVersion, outcome: Outcome) {
        if let Some(counters) = self.models.get_mut(model) {
            counters.count(outcome);
        } else {
            self.models.entry(model.clone()).or_default().count(outcome);
        }
    }
}

impl ModelCounters {
    fn count(&mut self, outcome: Outcome) {
        self.requests += 1;
        match outcome {
            Outcome::Answered {
                latency,
                phases,
                class,
                ..
            } => {
                self.latency.add(latency);
                let times = [
                    ("queue", phases.queue),
                    ("preprocess", phases.preprocess),
                    ("infer", phases.infer),
                    ("postprocess", phases.postprocess),
                ];
                for (own, (name, time)) in self.phases.iter_mut().zip(times) {
                    own.0 = name;
                    if !time.is_zero() {
                        own.1.add(time);
                    }
                }
                if let Some(class) = class {
                    self.classes.add(class);
                }
            }
            Outcome::Failed(class) => *self.errors.entry(class).or_default() += 1,
        }
    }
}
