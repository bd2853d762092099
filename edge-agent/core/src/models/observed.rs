//! All slots of the node together, and what of them a restart brings back.

use std::collections::BTreeMap;
use std::time::Duration;

use millwright_proto::ids::{Generation, ModelName};

use super::{Attempt, Failure, Life, PackageId, Slot};

/// A version that was given up for crashing; survives a restart of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The version.
    pub package: PackageId,
    /// Why.
    pub failure: Failure,
    /// The desired generation that asked for it.
    pub generation: Generation,
    /// Whether it ever answered requests.
    pub was_active: bool,
}

/// Everything this node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Per model.
    pub slots: BTreeMap<ModelName, Slot>,
}

impl Observed {
    /// Takes over what the last run left on disk: each package is `Staged`, so that its digests
    /// and signature are checked again before anything loads it.
    pub fn found_on_disk(&mut self, package: PackageId) {
        let slot = self.slots.entry(package.version.model.clone()).or_default();
        slot.lives.entry(package).or_insert(Life::Staged {
            verify: Attempt::fresh(),
        });
    }

    /// Every verdict that a restart must not lose, ordered by package.
    #[must_use]
    pub fn given_up(&self) -> Vec<GivenUp> {
        let lives = self.slots.values().flat_map(|slot| &slot.lives);
        lives
            .filter_map(|(package, life)| {
                let (failure, generation, was_active) = match life {
                    Life::RolledBack {
                        failure,
                        generation,
                        ..
                    } => (failure, generation, true),
                    Life::Failed {
                        failure,
                        generation,
                        ..
                    } => (failure, generation, false),
                    Life::Wanted { .. }
                    | Life::Staged { .. }
                    | Life::Verified { .. }
                    | Life::Warmed { .. }
                    | Life::Active { .. }
                    | Life::Retained { .. }
                    | Life::Removing => return None,
                };
                failure.class.is_remembered().then(|| GivenUp {
                    package: package.clone(),
                    failure: failure.clone(),
                    generation: *generation,
                    was_active,
                })
            })
            .collect()
    }

    /// Takes over a verdict of the last run. Comes after [`Observed::restore_activated`], which tells
    /// whether there is another version, and in place of [`Observed::found_on_disk`].
    pub fn restore_given_up(&mut self, verdict: GivenUp) {
        let model = verdict.package.version.model.clone();
        let slot = self.slots.entry(model).or_default();
        slot.lay_down(verdict, Duration::ZERO);
    }

    /// Takes over the order of activations from the last run.
    pub fn restore_activated(&mut self, model: &ModelName, activated: Vec<PackageId>) {
        let slot = self.slots.entry(model.clone()).or_default();
        for package in &activated {
            slot.note_activated(package);
        }
    }
}
