//! Transitions of a version whose worker has become too large: another one takes its place.

use super::Scene;
use crate::models::failure::CRASH_REST;
use crate::models::{
    Attempt, Failure, FailureClass, Golden, Life, Notice, PackageId, Phase, Relief, Retiring, Slot,
    Told, WorkerId,
};

impl Slot {
    /// It counts like a crash, so that a version that leaks within minutes is given up like one that
    /// crashes.
    pub(super) fn worker_worn(
        &mut self,
        package: &PackageId,
        worker: WorkerId,
        failure: Failure,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        match self.lives.get(package) {
            Some(Life::Active {
                worker: held,
                relief: Relief::None,
            }) if *held == worker => {}
            Some(_) | None => return Vec::new(),
        }
        let worn = Notice::WorkerWorn {
            package: package.clone(),
            failure: failure.clone(),
        };
        if self.count_crash(package, scene.now).is_none() {
            let given_up = self.give_up(package, failure, scene);
            self.retire(package, worker);
            return vec![worn, given_up];
        }
        let relief = Relief::Starting(Attempt::fresh());
        self.lives
            .insert(package.clone(), Life::Active { worker, relief });
        vec![worn]
    }

    /// The relief could not be started. Where there is no memory for both, the large one ends first; else
    /// it serves on for a while.
    pub(super) fn relief_failed(
        &mut self,
        package: &PackageId,
        failure: &Failure,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        let Some(Life::Active {
            worker,
            relief: Relief::Starting(attempt),
        }) = self.lives.get(package)
        else {
            return Vec::new();
        };
        if !attempt.is_running() {
            return Vec::new();
        }
        let worker = *worker;
        let life = if failure.class == FailureClass::Memory {
            self.retire(package, worker);
            let start = Attempt {
                last: Some(failure.clone()),
                ..Attempt::fresh()
            };
            Life::Verified { start }
        } else {
            let next = attempt.failed(failure, scene.now).unwrap_or(Attempt {
                phase: Phase::Due {
                    not_before: scene.now.saturating_add(CRASH_REST),
                },
                failures: 0,
                last: Some(failure.clone()),
            });
            let relief = Relief::Starting(next);
            Life::Active { worker, relief }
        };
        self.lives.insert(package.clone(), life);
        Vec::new()
    }

    /// `worker` was to relieve another and cannot. Tells whether it was.
    pub(super) fn drop_relief(&mut self, package: &PackageId, worker: WorkerId) -> bool {
        let Some(Life::Active { relief, .. }) = self.lives.get_mut(package) else {
            return false;
        };
        let was = matches!(relief, Relief::Loaded { worker: loaded, .. } if *loaded == worker);
        if was {
            *relief = Relief::None;
            self.retire(package, worker);
        }
        was
    }

    /// The version is replaced by another: its relief is of no use.
    pub(super) fn retire_relief(&mut self, package: &PackageId) {
        let Some(Life::Active { relief, .. }) = self.lives.get(package) else {
            return;
        };
        match relief {
            Relief::Starting(start) if start.is_running() => {
                self.abandoned.insert(package.clone());
            }
            Relief::Loaded { worker, .. } => {
                let worker = *worker;
                self.retire(package, worker);
            }
            Relief::None | Relief::Starting(_) => {}
        }
    }

    /// The worker is to end.
    pub(super) fn retire(&mut self, package: &PackageId, worker: WorkerId) {
        let package = package.clone();
        let told = Told::NotYet;
        self.retiring.insert(worker, Retiring { package, told });
    }
}

impl Relief {
    /// A worker that could take over at once.
    #[must_use]
    pub fn ready(&self) -> Option<WorkerId> {
        match self {
            Self::Loaded {
                worker,
                golden: Golden::Passed,
            } => Some(*worker),
            Self::None
            | Self::Starting(_)
            | Self::Loaded {
                golden: Golden::Due | Golden::Running,
                ..
            } => None,
        }
    }
}
