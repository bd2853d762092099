//! Transitions of packages that have a worker.

use std::time::Duration;

use super::Scene;
use crate::models::failure::CRASH_WINDOW;
use crate::models::{
    Attempt, Failure, FailureClass, Golden, Life, Notice, PackageId, Phase, Relief, Rest, Retiring,
    Room, Slot, Told, WorkerId,
};

impl Slot {
    pub(super) fn worker_ready(&mut self, package: PackageId, worker: WorkerId) -> Vec<Notice> {
        if self.abandoned.remove(&package) {
            self.retire(&package, worker);
            return Vec::new();
        }
        match self.lives.get_mut(&package) {
            Some(Life::Verified { start }) if start.is_running() => {
                let golden = Golden::Due;
                self.lives.insert(package, Life::Warmed { worker, golden });
            }
            Some(Life::Active {
                relief: relief @ Relief::Starting(_),
                ..
            }) => {
                let golden = Golden::Due;
                *relief = Relief::Loaded { worker, golden };
            }
            // Nobody waits for it any more.
            Some(_) | None => self.retire(&package, worker),
        }
        Vec::new()
    }

    pub(super) fn golden_passed(&mut self, package: &PackageId, worker: WorkerId) -> Vec<Notice> {
        if let Some(
            Life::Warmed {
                worker: current,
                golden,
            }
            | Life::Active {
                relief:
                    Relief::Loaded {
                        worker: current,
                        golden,
                    },
                ..
            },
        ) = self.lives.get_mut(package)
            && *current == worker
        {
            *golden = Golden::Passed;
        }
        Vec::new()
    }

    pub(super) fn golden_failed(
        &mut self,
        package: &PackageId,
        worker: WorkerId,
        failure: Failure,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        match self.lives.get(package) {
            Some(Life::Warmed {
                worker: current, ..
            }) if *current == worker => {
                let package = package.clone();
                let notice = self.give_up(&package, failure, scene);
                let told = Told::NotYet;
                self.retiring.insert(worker, Retiring { package, told });
                vec![notice]
            }
            Some(_) | None => {
                self.drop_relief(package, worker);
                Vec::new()
            }
        }
    }

    pub(super) fn switched(
        &mut self,
        package: &PackageId,
        worker: WorkerId,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        let prove_for = scene
            .desired
            .slots
            .get(&package.version.model)
            .map_or(Duration::ZERO, |wanted| wanted.prove_for);
        let replaced = self
            .active()
            .map(|(replaced, worker)| (replaced.clone(), worker));
        if let Some((replaced, former)) = &replaced {
            if replaced == package {
                self.retire(package, *former);
            } else {
                self.retire_relief(replaced);
                let rest = Rest::Warm {
                    worker: *former,
                    until: scene.now.saturating_add(prove_for),
                };
                self.lives.insert(replaced.clone(), Life::Retained { rest });
            }
        }
        let relief = Relief::None;
        self.lives
            .insert(package.clone(), Life::Active { worker, relief });
        self.note_activated(package);
        if scene.desired.wants(package) {
            self.room = Room::NotMade;
        }
        if replaced
            .as_ref()
            .is_some_and(|(replaced, _)| replaced == package)
        {
            // The same version answers as before.
            return Vec::new();
        }
        vec![Notice::Activated {
            package: package.clone(),
            replaced: replaced.map(|(replaced, _)| replaced),
        }]
    }

    pub(super) fn withdrawn(&mut self, scene: &Scene<'_>) -> Vec<Notice> {
        let Some((package, worker)) = self
            .active()
            .map(|(package, worker)| (package.clone(), worker))
        else {
            return Vec::new();
        };
        self.retire_relief(&package);
        let rest = Rest::Warm {
            worker,
            until: scene.now,
        };
        self.lives.insert(package.clone(), Life::Retained { rest });
        if scene.desired.slots.contains_key(&package.version.model) {
            self.room = Room::Made(scene.desired.generation);
            return vec![Notice::MadeRoom { package }];
        }
        vec![Notice::Withdrawn { package }]
    }

    pub(super) fn drained(&mut self, package: &PackageId, worker: WorkerId) -> Vec<Notice> {
        if let Some(Life::Retained { rest }) = self.lives.get_mut(package)
            && *rest == (Rest::Draining { worker })
        {
            *rest = Rest::Cold;
            self.retire(package, worker);
        }
        Vec::new()
    }

    pub(super) fn worker_gone(
        &mut self,
        package: &PackageId,
        worker: WorkerId,
        failure: Failure,
        scene: &Scene<'_>,
    ) -> Vec<Notice> {
        if self.retiring.remove(&worker).is_some() {
            return Vec::new();
        }
        let crashed = Notice::WorkerCrashed {
            package: package.clone(),
            failure: failure.clone(),
        };
        match self.lives.get(package) {
            // Another worker of the same version is there already, or nearly.
            Some(Life::Active {
                worker: held,
                relief: relief @ (Relief::Starting(_) | Relief::Loaded { .. }),
            }) if *held == worker => {
                let life = match relief.clone() {
                    Relief::Loaded { worker, golden } => Life::Warmed { worker, golden },
                    Relief::Starting(start) => Life::Verified { start },
                    Relief::None => return Vec::new(),
                };
                self.lives.insert(package.clone(), life);
                vec![crashed]
            }
            Some(Life::Active { worker: held, .. } | Life::Warmed { worker: held, .. })
                if *held == worker =>
            {
                let mut notices = vec![crashed];
                match self.count_crash(package, scene.now) {
                    Some(wait) => {
                        let start = Attempt {
                            phase: Phase::Due {
                                not_before: scene.now.saturating_add(wait),
                            },
                            failures: 0,
                            last: Some(failure),
                        };
                        self.lives.insert(package.clone(), Life::Verified { start });
                    }
                    None => notices.push(self.give_up(package, failure, scene)),
                }
                notices
            }
            Some(Life::Retained {
                rest: Rest::Warm { worker: held, .. } | Rest::Draining { worker: held },
            }) if *held == worker => {
                self.lives
                    .insert(package.clone(), Life::Retained { rest: Rest::Cold });
                vec![crashed]
            }
            Some(_) | None => {
                let was_relief = self.drop_relief(package, worker);
                was_relief.then_some(crashed).into_iter().collect()
            }
        }
    }

    /// Counts one crash of `package`; how long to wait before the next start, `None` to give up.
    pub(super) fn count_crash(&mut self, package: &PackageId, now: Duration) -> Option<Duration> {
        let crashes = self.crashes.entry(package.clone()).or_default();
        if now.saturating_sub(crashes.last) > CRASH_WINDOW {
            crashes.count = 0;
        }
        crashes.count = crashes.count.saturating_add(1);
        crashes.last = now;
        FailureClass::WorkerCrash.wait_after(crashes.count)
    }
}
