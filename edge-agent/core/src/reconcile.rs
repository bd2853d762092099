//! `(desired, observed, now) -> steps`: what this node does next about its models.
//!
//! Owns every decision about a swap: what is fetched, checked, started, switched to, drained,
//! ended and deleted, and in which order. It reads the whole desired and observed state each time
//! and takes no hint about what changed; the executor carries the steps out and reports facts.
//!
//! The order of a swap keeps the line running: the new version is fetched, verified, loaded and
//! has passed its golden set before [`Step::Switch`]; the replaced one stays warm until its
//! successor is proven and is drained before it ends. A crash of an unproven version goes straight
//! back to the warm one. Invariants 1 (at most one active version; during a swap at least one
//! ready) and convergence are asserted in `reconcile/tests.rs`.

pub mod report;
mod wakeup;

use std::time::Duration;

use millwright_proto::ids::{Generation, ModelName};

use crate::desired::{Desired, DesiredSlot, Gap};
use crate::models::{Golden, Life, Observed, PackageId, Relief, Rest, Room, Slot, Told, WorkerId};

pub use wakeup::next_wakeup;

/// One thing for the executor to do. Each is answered by the fact of the same name, or by its
/// failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Download what is missing of the package.
    Fetch(PackageId),
    /// Check digests and signature, then put the package in its final place.
    Verify(PackageId),
    /// Start a worker that loads the package.
    StartWorker(PackageId),
    /// Run the golden set on the worker.
    RunGolden(PackageId, WorkerId),
    /// Send the requests for the model to the worker, from now on.
    Switch(PackageId, WorkerId),
    /// Stop answering requests for the model.
    Withdraw(ModelName),
    /// Wait until the worker has no request in flight.
    Drain(PackageId, WorkerId),
    /// End the worker.
    EndWorker(PackageId, WorkerId),
    /// Stop a download of the package and delete its files.
    Remove(PackageId),
}

impl Step {
    /// The model it is about.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        match self {
            Self::Fetch(package)
            | Self::Verify(package)
            | Self::StartWorker(package)
            | Self::RunGolden(package, _)
            | Self::Switch(package, _)
            | Self::Drain(package, _)
            | Self::EndWorker(package, _)
            | Self::Remove(package) => &package.version.model,
            Self::Withdraw(model) => model,
        }
    }
}

/// What the slot needs a package for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The desired version.
    Desired,
    /// Serves while the desired version cannot.
    Fallback,
    /// Its files stay, its worker need not.
    Kept,
    /// Neither.
    Unwanted,
}

/// The steps that may start now, in order. Handing them out is noted with [`Observed::started`]; called
/// again without a new fact, it returns nothing that runs already. It is called until it returns nothing:
/// what follows a takeover comes only after it.
#[must_use]
pub fn reconcile(desired: &Desired, observed: &Observed, now: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    for (model, slot) in &observed.slots {
        let wanted = desired.slots.get(model);
        let wanted = wanted.map(|slot| Wish {
            slot,
            generation: desired.generation,
        });
        if let Some(step) = take_over(model, wanted, slot) {
            // It changes what the others are for: they are decided once it is done.
            steps.push(step);
            continue;
        }
        for (package, life) in &slot.lives {
            let role = role_of(package, wanted, slot);
            let step = advance(package, life, role, now);
            let waits =
                matches!(&step, Some(Step::StartWorker(_))) && slot.abandoned.contains(package);
            steps.extend(step.filter(|_| !waits));
        }
        for (worker, retiring) in &slot.retiring {
            if retiring.told == Told::NotYet {
                steps.push(Step::EndWorker(retiring.package.clone(), *worker));
            }
        }
        for (package, life) in &slot.lives {
            if role_of(package, wanted, slot) == Role::Unwanted && is_removable(package, life, slot)
            {
                steps.push(Step::Remove(package.clone()));
            }
        }
    }
    steps
}

/// What is wanted of one model.
#[derive(Clone, Copy)]
struct Wish<'a> {
    slot: &'a DesiredSlot,
    generation: Generation,
}

/// Decides which worker answers the requests for the model.
fn take_over(model: &ModelName, wanted: Option<Wish<'_>>, slot: &Slot) -> Option<Step> {
    let Some(wanted) = wanted else {
        return slot.active().map(|_| Step::Withdraw(model.clone()));
    };
    let active = slot.active().map(|(package, _)| package);
    if let Some((package, Life::Active { relief, .. })) =
        active.and_then(|active| slot.lives.get_key_value(active))
        && let Some(worker) = relief.ready()
    {
        return Some(Step::Switch(package.clone(), worker));
    }
    if active == Some(&wanted.slot.package) {
        return None;
    }
    if active.is_some() && needs_room(wanted, slot) {
        return Some(Step::Withdraw(model.clone()));
    }
    let (package, worker) = std::iter::once(&wanted.slot.package)
        .chain(fallback(wanted, slot))
        .find_map(|package| Some((package, ready_worker(slot.lives.get(package)?)?)))?;
    Some(Step::Switch(package.clone(), worker))
}

/// Whether the active version has to end so that the desired one fits into memory, which it may, once.
fn needs_room(wanted: Wish<'_>, slot: &Slot) -> bool {
    let blocked = matches!(
        slot.lives.get(&wanted.slot.package),
        Some(Life::Verified { start }) if start.lacks_memory()
    );
    let tried = matches!(
        slot.room,
        Room::Made(generation) | Room::Useless(generation) if generation == wanted.generation
    );
    blocked && wanted.slot.gap == Gap::Allowed && !tried
}

/// Whether the version before the desired one made room for it and is not to come back meanwhile.
fn gave_way(wanted: Wish<'_>, slot: &Slot) -> bool {
    let on_its_way = matches!(
        slot.lives.get(&wanted.slot.package),
        Some(Life::Verified { .. } | Life::Warmed { .. })
    );
    on_its_way && slot.room == Room::Made(wanted.generation)
}

/// The worker of a package that could answer requests at once.
fn ready_worker(life: &Life) -> Option<WorkerId> {
    match life {
        Life::Warmed {
            worker,
            golden: Golden::Passed,
        }
        | Life::Retained {
            rest: Rest::Warm { worker, .. },
        } => Some(*worker),
        Life::Warmed {
            golden: Golden::Due | Golden::Running,
            ..
        }
        | Life::Retained {
            rest: Rest::Draining { .. } | Rest::Cold,
        }
        | Life::Wanted { .. }
        | Life::Staged { .. }
        | Life::Verified { .. }
        | Life::Active { .. }
        | Life::RolledBack { .. }
        | Life::Failed { .. }
        | Life::Removing => None,
    }
}

fn role_of(package: &PackageId, wanted: Option<Wish<'_>>, slot: &Slot) -> Role {
    let Some(wanted) = wanted else {
        return Role::Unwanted;
    };
    if wanted.slot.package == *package {
        Role::Desired
    } else if fallback(wanted, slot) == Some(package) {
        Role::Fallback
    } else if slot.activated.contains(package) {
        Role::Kept
    } else {
        Role::Unwanted
    }
}

/// The version that serves because the desired one does not: one that could at once, else the one
/// activated last, so that after a restart the node serves what it served before, and what comes
/// before the desired one when that was given up. A desired version that merely restarts after a
/// crash has no other brought up: two copies in memory would help nobody.
fn fallback<'a>(wanted: Wish<'_>, slot: &'a Slot) -> Option<&'a PackageId> {
    if slot.active().is_some() || gave_way(wanted, slot) {
        return None;
    }
    let newest_first = || slot.activated.iter().rev();
    let ready =
        newest_first().find(|package| slot.lives.get(package).and_then(ready_worker).is_some());
    let on_disk = || {
        newest_first().find(|package| {
            slot.lives
                .get(package)
                .is_some_and(|life| !matches!(life, Life::Wanted { .. }))
        })
    };
    ready
        .or_else(on_disk)
        .filter(|package| **package != wanted.slot.package)
}

/// The next step in the life of one package.
fn advance(package: &PackageId, life: &Life, role: Role, now: Duration) -> Option<Step> {
    let needed = matches!(role, Role::Desired | Role::Fallback);
    match life {
        Life::Wanted { fetch } => {
            (role == Role::Desired && fetch.is_due(now)).then(|| Step::Fetch(package.clone()))
        }
        // A kept version is checked too, so that going back to it later finds it ready to start.
        Life::Staged { verify } => {
            (role != Role::Unwanted && verify.is_due(now)).then(|| Step::Verify(package.clone()))
        }
        Life::Verified { start } => {
            (needed && start.is_due(now)).then(|| Step::StartWorker(package.clone()))
        }
        Life::Warmed { worker, golden } => {
            if !needed {
                return Some(Step::EndWorker(package.clone(), *worker));
            }
            (*golden == Golden::Due).then(|| Step::RunGolden(package.clone(), *worker))
        }
        Life::Retained { rest } => match rest {
            // One that was replaced twice is not waited for: at most two are held in memory.
            Rest::Warm { worker, until } => (!needed && (*until <= now || role == Role::Unwanted))
                .then(|| Step::Drain(package.clone(), *worker)),
            Rest::Draining { .. } => None,
            Rest::Cold => needed.then(|| Step::StartWorker(package.clone())),
        },
        // From the check on, as after a restart: nobody looked at its files for a while.
        Life::RolledBack { again, .. } | Life::Failed { again, .. } => (role == Role::Desired
            && again.is_some_and(|again| again <= now))
        .then(|| Step::Verify(package.clone())),
        Life::Active { relief, .. } => match relief {
            Relief::Starting(start) => start
                .is_due(now)
                .then(|| Step::StartWorker(package.clone())),
            Relief::Loaded {
                worker,
                golden: Golden::Due,
            } => Some(Step::RunGolden(package.clone(), *worker)),
            Relief::None | Relief::Loaded { .. } => None,
        },
        Life::Removing => None,
    }
}

/// Whether nothing uses the files of the package.
fn is_removable(package: &PackageId, life: &Life, slot: &Slot) -> bool {
    let idle = match life {
        // The executor stops the download first.
        Life::Wanted { .. } | Life::RolledBack { .. } | Life::Failed { .. } => true,
        Life::Staged { verify: attempt } | Life::Verified { start: attempt } => {
            !attempt.is_running()
        }
        Life::Retained { rest } => *rest == Rest::Cold,
        Life::Warmed { .. } | Life::Active { .. } | Life::Removing => false,
    };
    let held = slot.abandoned.contains(package)
        || slot
            .retiring
            .values()
            .any(|retiring| retiring.package == *package);
    idle && !held
}

#[cfg(test)]
mod tests;
