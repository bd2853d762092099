//! How one fact, or the start of one step, moves a slot on.

mod relief;
mod workers;

use std::time::Duration;

use crate::desired::Desired;
use crate::models::failure::CRASH_REST;
use crate::models::{
    Attempt, Fact, Failure, FailureClass, GivenUp, Golden, Life, Notice, Observed, PackageId,
    Phase, Relief, Rest, Retiring, Room, Slot, Told,
};
use crate::reconcile::Step;

/// What a transition may look at beside the slot.
pub(super) struct Scene<'a> {
    pub(super) desired: &'a Desired,
    pub(super) now: Duration,
}

impl Attempt {
    /// May start at once; what failed before still counts.
    fn carried(self, now: Duration) -> Self {
        let phase = Phase::Due { not_before: now };
        Self { phase, ..self }
    }

    /// The attempt after one more failure, or `None` when it is given up. Failures of another
    /// class than the last one start counting anew.
    fn failed(&self, failure: &Failure, now: Duration) -> Option<Self> {
        let same = self
            .last
            .as_ref()
            .is_some_and(|last| last.class == failure.class);
        let failures = if same {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let wait = failure.class.wait_after(failures)?;
        Some(Self {
            phase: Phase::Due {
                not_before: now.saturating_add(wait),
            },
            failures,
            last: Some(failure.clone()),
        })
    }
}

impl Slot {
    pub(super) fn observe(&mut self, fact: Fact, scene: &Scene<'_>) -> Vec<Notice> {
        match fact {
            Fact::Fetched(package) => self.fetched(package, scene),
            Fact::Verified(package) => self.verified(package),
            Fact::FetchFailed(package, failure) | Fact::VerifyFailed(package, failure) => {
                self.step_failed(&package, failure, scene)
            }
            Fact::StartFailed(package, _) if self.abandoned.remove(&package) => Vec::new(),
            Fact::StartFailed(package, failure) => self.step_failed(&package, failure, scene),
            Fact::WorkerReady(package, worker) => self.worker_ready(package, worker),
            Fact::GoldenPassed(package, worker) => self.golden_passed(&package, worker),
            Fact::GoldenFailed(package, worker, failure) => {
                self.golden_failed(&package, worker, failure, scene)
            }
            Fact::Switched(package, worker) => self.switched(&package, worker, scene),
            Fact::Withdrawn(_) => self.withdrawn(scene),
            Fact::Drained(package, worker) => self.drained(&package, worker),
            Fact::WorkerGone(package, worker, failure) => {
                self.worker_gone(&package, worker, failure, scene)
            }
            Fact::WorkerWorn(package, worker, failure) => {
                self.worker_worn(&package, worker, failure, scene)
            }
            Fact::Removed(package) => self.removed(&package),
        }
    }

    fn fetched(&mut self, package: PackageId, scene: &Scene<'_>) -> Vec<Notice> {
        if let Some(Life::Wanted { fetch }) = self.lives.get(&package)
            && fetch.is_running()
        {
            let verify = fetch.clone().carried(scene.now);
            self.lives.insert(package, Life::Staged { verify });
        }
        Vec::new()
    }

    fn verified(&mut self, package: PackageId) -> Vec<Notice> {
        if let Some(Life::Staged { .. }) = self.lives.get(&package) {
            let start = Attempt::fresh();
            self.lives.insert(package, Life::Verified { start });
        }
        Vec::new()
    }

    /// A download, check or start failed: it is repeated, or the package is given up.
    fn step_failed(
        &mut self,
        package: &PackageId,
        failure: Failure,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        let (attempt, again): (&Attempt, fn(Attempt) -> Life) = match self.lives.get(package) {
            Some(Life::Wanted { fetch }) => (fetch, |fetch| Life::Wanted { fetch }),
            // Damaged files are fetched anew, which only a package that is desired can be.
            Some(Life::Staged { verify }) if failure.class == FailureClass::Digest => {
                (verify, |fetch| Life::Wanted { fetch })
            }
            Some(Life::Staged { verify }) => (verify, |verify| Life::Staged { verify }),
            Some(Life::Verified { start }) => (start, |start| Life::Verified { start }),
            Some(Life::Active {
                relief: Relief::Starting(_),
                ..
            }) => return self.relief_failed(package, &failure, scene),
            Some(
                Life::Warmed { .. }
                | Life::Active { .. }
                | Life::Retained { .. }
                | Life::RolledBack { .. }
                | Life::Failed { .. }
                | Life::Removing,
            )
            | None => return Vec::new(),
        };
        if !attempt.is_running() {
            return Vec::new();
        }
        let lacks_memory = failure.class == FailureClass::Memory;
        if lacks_memory && !self.has_worker() && self.room == Room::Made(scene.desired.generation) {
            self.room = Room::Useless(scene.desired.generation);
        }
        match attempt.failed(&failure, scene.now) {
            Some(next) => {
                let first = next.failures == 1;
                self.lives.insert(package.clone(), again(next));
                let package = package.clone();
                first
                    .then_some(Notice::Delayed { package, failure })
                    .into_iter()
                    .collect()
            }
            None => vec![self.give_up(package, failure, scene)],
        }
    }

    /// Ends the life of a package for this generation.
    fn give_up(&mut self, package: &PackageId, failure: Failure, scene: &Scene<'_>) -> Notice {
        let verdict = GivenUp {
            package: package.clone(),
            failure: failure.clone(),
            generation: scene.desired.generation,
            was_active: self.activated.contains(package),
        };
        let notice = if verdict.was_active {
            Notice::RolledBack {
                package: package.clone(),
                failure,
            }
        } else {
            Notice::Failed {
                package: package.clone(),
                failure,
            }
        };
        self.lay_down(verdict, scene.now);
        notice
    }

    /// Keeps a verdict, and plans another attempt if there is nothing else that could answer.
    pub(super) fn lay_down(&mut self, verdict: GivenUp, now: Duration) {
        let GivenUp {
            package,
            failure,
            generation,
            was_active,
        } = verdict;
        self.activated.retain(|other| *other != package);
        let alone = self.activated.is_empty() && failure.class.is_remembered();
        let again = alone.then(|| now.saturating_add(CRASH_REST));
        let life = if was_active {
            Life::RolledBack {
                failure,
                generation,
                again,
            }
        } else {
            Life::Failed {
                failure,
                generation,
                again,
            }
        };
        self.lives.insert(package, life);
    }

    fn removed(&mut self, package: &PackageId) -> Vec<Notice> {
        if self.lives.get(package) == Some(&Life::Removing) {
            self.lives.remove(package);
            self.crashes.remove(package);
            self.activated.retain(|other| other != package);
        }
        Vec::new()
    }

    fn started(&mut self, step: &Step) {
        match step {
            Step::Fetch(package) | Step::Verify(package) | Step::StartWorker(package) => {
                if let Some(life) = self.lives.get_mut(package) {
                    life.step_started();
                }
            }
            Step::RunGolden(package, _) => {
                if let Some(
                    Life::Warmed { golden, .. }
                    | Life::Active {
                        relief: Relief::Loaded { golden, .. },
                        ..
                    },
                ) = self.lives.get_mut(package)
                {
                    *golden = Golden::Running;
                }
            }
            // Done within the step: the fact follows at once.
            Step::Switch(..) | Step::Withdraw(..) => {}
            Step::Drain(package, worker) => {
                let rest = Rest::Draining { worker: *worker };
                self.lives.insert(package.clone(), Life::Retained { rest });
            }
            Step::EndWorker(package, worker) => {
                if let Some(Life::Warmed { worker: held, .. }) = self.lives.get(package)
                    && held == worker
                {
                    let start = Attempt::fresh();
                    self.lives.insert(package.clone(), Life::Verified { start });
                }
                let package = package.clone();
                let told = Told::ToEnd;
                self.retiring.insert(*worker, Retiring { package, told });
            }
            Step::Remove(package) => {
                self.lives.insert(package.clone(), Life::Removing);
            }
        }
    }
}

impl Life {
    fn step_started(&mut self) {
        match self {
            Self::Wanted { fetch: attempt }
            | Self::Staged { verify: attempt }
            | Self::Verified { start: attempt }
            | Self::Active {
                relief: Relief::Starting(attempt),
                ..
            } => attempt.phase = Phase::Running,
            Self::Retained { rest: Rest::Cold } => {
                let start = Attempt {
                    phase: Phase::Running,
                    ..Attempt::fresh()
                };
                *self = Self::Verified { start };
            }
            Self::RolledBack { .. } | Self::Failed { .. } => {
                let verify = Attempt {
                    phase: Phase::Running,
                    ..Attempt::fresh()
                };
                *self = Self::Staged { verify };
            }
            Self::Warmed { .. } | Self::Active { .. } | Self::Retained { .. } | Self::Removing => {}
        }
    }
}

impl Observed {
    /// Notes that `step` was handed to the executor, so that it is not handed out again.
    pub fn started(&mut self, step: &Step) {
        if let Some(slot) = self.slots.get_mut(step.model()) {
            slot.started(step);
        }
    }
}
