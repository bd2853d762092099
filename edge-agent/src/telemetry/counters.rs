//! Counters since the agent started, for `/metrics`.

use std::collections::BTreeMap;

use millwright_proto::ids::ModelVersion;
use millwright_summary::ErrorClass;

use super::Outcome;

/// Upper bounds of the latency histogram in seconds. From the hop to a worker (tens of microseconds) to the
/// slowest model worth running at a machine, each about 2.5 times the one before.
pub const LATENCY_BOUNDS_S: [f64; 14] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Counters by model version. There are as many as versions were active since the start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By model version that answered.
    pub models: BTreeMap<ModelVersion, ModelCounters>,
}

/// Counters of one model version.
#[derive(Clone, Debug, Default)]
pub struct ModelCounters {
    /// Requests, failed ones included.
    pub requests: u64,
    /// Failed requests by class.
    pub errors: BTreeMap<ErrorClass, u64>,
    /// Answered requests by the first bound they are within; beyond the last one, only in `answered`.
    pub buckets: [u64; LATENCY_BOUNDS_S.len()],
    /// Answered requests.
    pub answered: u64,
    /// Sum of their latencies.
    pub latency_sum_s: f64,
}

impl Counters {
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
            Outcome::Answered { latency, .. } => {
                let seconds = latency.as_secs_f64();
                self.answered += 1;
                self.latency_sum_s += seconds;
                if let Some(at) = LATENCY_BOUNDS_S.iter().position(|&bound| seconds <= bound) {
                    self.buckets[at] += 1;
                }
            }
            Outcome::Failed(class) => *self.errors.entry(class).or_default() += 1,
        }
    }
}
