//! What the node tells the cloud about each desired model.

use millwright_proto::ids::{ModelVersion, Version};

use crate::desired::Desired;
use crate::models::{Attempt, Failure, Life, Observed, Relief, Rest, Slot};

/// How far a wanted version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not (completely) on disk.
    Pending,
    /// On disk.
    Staged,
    /// Trusted.
    Verified,
    /// Loaded by a worker.
    Warmed,
    /// Answers requests.
    Active,
    /// Given up for this generation.
    Failed,
}

/// One desired model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// The version wanted.
    pub wanted: ModelVersion,
    /// How far it has come.
    pub progress: Progress,
    /// The version that answers requests.
    pub active: Option<Version>,
    /// What stands in the way.
    pub failure: Option<Failure>,
}

/// One report per desired model, ordered by model.
#[must_use]
pub fn report(desired: &Desired, observed: &Observed) -> Vec<SlotReport> {
    desired
        .slots
        .iter()
        .map(|(model, wanted)| {
            let slot = observed.slots.get(model);
            let life = slot.and_then(|slot| slot.lives.get(&wanted.package));
            SlotReport {
                wanted: wanted.package.version.clone(),
                progress: life.map_or(Progress::Pending, progress),
                active: slot
                    .and_then(Slot::active)
                    .map(|(package, _)| package.version.version.clone()),
                failure: life.and_then(obstacle).cloned(),
            }
        })
        .collect()
}

fn progress(life: &Life) -> Progress {
    match life {
        Life::Wanted { .. } | Life::Removing => Progress::Pending,
        Life::Staged { .. } => Progress::Staged,
        Life::Verified { .. }
        | Life::Retained {
            rest: Rest::Cold | Rest::Draining { .. },
        } => Progress::Verified,
        Life::Warmed { .. }
        | Life::Retained {
            rest: Rest::Warm { .. },
        } => Progress::Warmed,
        Life::Active { .. } => Progress::Active,
        Life::RolledBack { .. } | Life::Failed { .. } => Progress::Failed,
    }
}

fn obstacle(life: &Life) -> Option<&Failure> {
    match life {
        Life::Wanted {
            fetch: Attempt { last, .. },
        }
        | Life::Staged {
            verify: Attempt { last, .. },
        }
        | Life::Verified {
            start: Attempt { last, .. },
        }
        | Life::Active {
            relief: Relief::Starting(Attempt { last, .. }),
            ..
        } => last.as_ref(),
        Life::RolledBack { failure, .. } | Life::Failed { failure, .. } => Some(failure),
        Life::Warmed { .. } | Life::Active { .. } | Life::Retained { .. } | Life::Removing => None,
    }
}
