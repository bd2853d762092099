//! What can happen on this node, and what people should hear of it.

use std::time::Duration;

use millwright_proto::ids::ModelName;

use crate::desired::Desired;
use crate::models::transitions::Scene;
use crate::models::{Attempt, Failure, Life, Observed, PackageId, Phase, WorkerId};

/// Something that happened on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Every file of the package is on disk.
    Fetched(PackageId),
    /// The download stopped.
    FetchFailed(PackageId, Failure),
    /// Digests and signature are right; the package is in its final place.
    Verified(PackageId),
    /// They are not, or could not be checked.
    VerifyFailed(PackageId, Failure),
    /// A worker has loaded the package.
    WorkerReady(PackageId, WorkerId),
    /// No worker could load it.
    StartFailed(PackageId, Failure),
    /// The golden set passed.
    GoldenPassed(PackageId, WorkerId),
    /// It did not.
    GoldenFailed(PackageId, WorkerId, Failure),
    /// Requests for the model go to this worker now.
    Switched(PackageId, WorkerId),
    /// The model answers no requests any more.
    Withdrawn(ModelName),
    /// The worker has no request in flight, or was given up on.
    Drained(PackageId, WorkerId),
    /// The process has ended, told to or not.
    WorkerGone(PackageId, WorkerId, Failure),
    /// The worker has become so large that another should take its place.
    WorkerWorn(PackageId, WorkerId, Failure),
    /// The files of the package are gone.
    Removed(PackageId),
}

/// What people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A version took over the requests of its model.
    Activated {
        /// The version.
        package: PackageId,
        /// The one it replaced.
        replaced: Option<PackageId>,
    },
    /// A model answers no requests any more, as desired.
    Withdrawn {
        /// The version that was active.
        package: PackageId,
    },
    /// A step failed for the first time in a row and will be repeated.
    Delayed {
        /// The version.
        package: PackageId,
        /// Why.
        failure: Failure,
    },
    /// A version is given up for this generation; it never was active.
    Failed {
        /// The version.
        package: PackageId,
        /// Why.
        failure: Failure,
    },
    /// A worker ended without being told to.
    WorkerCrashed {
        /// What it held.
        package: PackageId,
        /// How it ended.
        failure: Failure,
    },
    /// A worker has become too large and is replaced while it answers.
    WorkerWorn {
        /// What it holds.
        package: PackageId,
        /// How large.
        failure: Failure,
    },
    /// A version ended so that its successor fits into memory.
    MadeRoom {
        /// The version that ended.
        package: PackageId,
    },
    /// A version that was active is given up for this generation.
    RolledBack {
        /// The version.
        package: PackageId,
        /// Why.
        failure: Failure,
    },
}

impl Observed {
    /// Takes over a (new) desired state: packages it names appear as `Wanted`, and what failed
    /// under another generation gets another chance.
    pub fn adopt(&mut self, desired: &Desired) {
        for (model, wanted) in &desired.slots {
            let slot = self.slots.entry(model.clone()).or_default();
            let again = match slot.lives.get(&wanted.package) {
                None => true,
                Some(Life::Failed { generation, .. } | Life::RolledBack { generation, .. }) => {
                    *generation != desired.generation
                }
                Some(
                    Life::Wanted { .. }
                    | Life::Staged { .. }
                    | Life::Verified { .. }
                    | Life::Warmed { .. }
                    | Life::Active { .. }
                    | Life::Retained { .. }
                    | Life::Removing,
                ) => false,
            };
            if again {
                slot.crashes.remove(&wanted.package);
                let fetch = Attempt::fresh();
                slot.lives
                    .insert(wanted.package.clone(), Life::Wanted { fetch });
            }
        }
    }

    /// Moves the state on by one fact. `now` is the time since the agent started.
    pub fn observe(&mut self, fact: Fact, desired: &Desired, now: Duration) -> Vec<Notice> {
        if let Fact::WorkerGone(..) = fact {
            self.memory_was_freed(now);
        }
        let Some(slot) = self.slots.get_mut(fact.model()) else {
            return Vec::new();
        };
        let notices = slot.observe(fact, &Scene { desired, now });
        self.adopt(desired);
        self.slots
            .retain(|_, slot| !slot.lives.is_empty() || !slot.retiring.is_empty());
        notices
    }

    /// A worker is gone: what did not fit into memory may fit now.
    fn memory_was_freed(&mut self, now: Duration) {
        for life in self
            .slots
            .values_mut()
            .flat_map(|slot| slot.lives.values_mut())
        {
            if let Life::Verified { start } = life
                && start.lacks_memory()
                && !start.is_running()
            {
                start.phase = Phase::Due { not_before: now };
            }
        }
    }

    /// The uplink is back: downloads that wait for their next attempt need not wait longer.
    pub fn hurry_downloads(&mut self, now: Duration) {
        for life in self
            .slots
            .values_mut()
            .flat_map(|slot| slot.lives.values_mut())
        {
            if let Life::Wanted { fetch } = life
                && !fetch.is_running()
            {
                fetch.phase = Phase::Due { not_before: now };
            }
        }
    }
}

impl Fact {
    /// The model it is about.
    fn model(&self) -> &ModelName {
        match self {
            Self::Fetched(package)
            | Self::FetchFailed(package, _)
            | Self::Verified(package)
            | Self::VerifyFailed(package, _)
            | Self::WorkerReady(package, _)
            | Self::StartFailed(package, _)
            | Self::GoldenPassed(package, _)
            | Self::GoldenFailed(package, _, _)
            | Self::Switched(package, _)
            | Self::Drained(package, _)
            | Self::WorkerGone(package, _, _)
            | Self::WorkerWorn(package, _, _)
            | Self::Removed(package) => &package.version.model,
            Self::Withdrawn(model) => model,
        }
    }
}
