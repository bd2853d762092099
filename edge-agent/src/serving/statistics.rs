//! Counts and times of every model version since the agent started, as Triton's statistics endpoint shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millwright_proto::ids::ModelVersion;

use crate::worker::{InferError, InferOutput};

/// Versions remembered: those of a node's models, and what they replaced. Of more, those that were asked longest ago are
/// forgotten.
const VERSIONS_MAX: usize = 64;

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// What happened to one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) last_ms: u64,
    pub(super) success: Total,
    pub(super) fail: Total,
    pub(super) queue: Total,
    pub(super) infer: Total,
}

/// All records. A cheap handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics(Arc<Mutex<BTreeMap<ModelVersion, Record>>>);

impl Total {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

impl Statistics {
    /// Counts one request that came to a worker.
    pub(super) fn note(
        &self,
        model: &ModelVersion,
        result: &Result<InferOutput, InferError>,
        time: Duration,
    ) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut records = self.records();
        if !records.contains_key(model) {
            if records.len() >= VERSIONS_MAX {
                let oldest = records.iter().min_by_key(|(_, record)| record.last_ms);
                let oldest = oldest.map(|(model, _)| model.clone());
                oldest.and_then(|model| records.remove(&model));
            }
            records.insert(model.clone(), Record::default());
        }
        let Some(record) = records.get_mut(model) else {
            return;
        };
        record.last_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(output) => {
                record.success.add(time);
                record.queue.add(output.timing.queue);
                record.infer.add(output.timing.infer);
            }
            Err(_) => record.fail.add(time),
        }
    }

    /// What happened to `model`; nothing, if it was never asked.
    pub(super) fn of(&self, model: &ModelVersion) -> Record {
        self.records().get(model).copied().unwrap_or_default()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<ModelVersion, Record>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_saw_many_versions_forgets_the_oldest() {
        let statistics = Statistics::default();
        let version = |number: usize| -> ModelVersion { format!("m@{number}").parse().unwrap() };
        let refused = Err(InferError::DuplicateInput("x".to_owned()));
        for number in 0..=VERSIONS_MAX {
            statistics.note(&version(number), &refused, Duration::from_millis(1));
        }
        assert_eq!(statistics.records().len(), VERSIONS_MAX);
        assert_eq!(statistics.of(&version(VERSIONS_MAX)).fail.count, 1);
    }
}
