//! A hold: somebody at the box wants this node to keep what it runs until they let it go.
//!
//! Owns what a hold means ([`freeze`]) and how long it lasts ([`Hold::is_over`]). A held node takes on
//! no new generation and switches to no other version; it serves, restarts crashed workers, falls
//! back from a version that keeps crashing, and reports. Where a hold is stored and how it reaches
//! the cloud is not known here.
//!
//! Invariant: under a hold no version takes over that was not active before it; asserted by the
//! property test of [`mod@crate::reconcile`].

use std::collections::BTreeSet;
use std::time::Duration;

use millwright_proto::ids::{Generation, ModelName};

use crate::desired::{Desired, DesiredSlot, Gap};
use crate::models::Observed;

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For people: why.
    pub reason: String,
    /// When it began, in Unix milliseconds by the node's clock.
    pub since_ms: u64,
    /// When it ends by itself, in Unix milliseconds; `None`: only when it is released. A clock that
    /// went back makes a hold longer, never shorter.
    pub until_ms: Option<u64>,
}

impl Hold {
    /// Whether its time has passed.
    #[must_use]
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| until <= now_ms)
    }

    /// How long it lasts from `now_ms` on; `None`: until it is released.
    #[must_use]
    pub fn left(&self, now_ms: u64) -> Option<Duration> {
        let until = self.until_ms?;
        Some(Duration::from_millis(until.saturating_sub(now_ms)))
    }
}

/// What a held node works towards: per model the version activated last, whatever `desired` says
/// since. A model that never answered here does not begin to, and one that is no longer desired
/// goes on. Where nobody knows what is desired ([`Generation::NONE`]), what ran last is kept.
#[must_use]
pub fn freeze(desired: &Desired, observed: &Observed) -> Desired {
    let models: BTreeSet<&ModelName> = desired.slots.keys().chain(observed.slots.keys()).collect();
    let slots = models.into_iter().filter_map(|model| {
        let slot = observed.slots.get(model)?;
        let active = slot.active().map(|(package, _)| package);
        let wanted = desired.slots.get(model);
        // What neither answers nor is desired is on its way out, and its files with it; but a lost wish is not the
        // wish for nothing.
        let stays = wanted.is_some() || desired.generation == Generation::NONE;
        let last = slot.activated.last().filter(|_| stays);
        let package = active.or(last)?.clone();
        let prove_for = wanted.map_or(Duration::ZERO, |wanted| wanted.prove_for);
        // Nothing is swapped under a hold, so nothing has to make room.
        let gap = Gap::Refused;
        let slot = DesiredSlot {
            package,
            prove_for,
            gap,
        };
        Some((model.clone(), slot))
    });
    Desired {
        generation: desired.generation,
        slots: slots.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::PackageId;
    use millwright_proto::Digest;

    #[test]
    fn a_model_that_is_down_stays_when_the_wish_is_lost_and_goes_when_nobody_wishes_it() {
        let package = PackageId {
            version: "detector@1".parse().unwrap(),
            digest: Digest::of(b"1"),
        };
        let mut observed = Observed::default();
        observed.restore_activated(&package.version.model, vec![package.clone()]);
        let kept = |generation| {
            let desired = Desired {
                generation,
                ..Desired::default()
            };
            let slots = freeze(&desired, &observed).slots;
            slots.into_values().map(|slot| slot.package).next()
        };
        assert_eq!(kept(Generation::NONE), Some(package));
        assert_eq!(kept(Generation::NONE.next()), None);
    }

    #[test]
    fn a_hold_ends_at_its_time_and_one_without_a_time_never() {
        let hold = |until_ms| Hold {
            reason: "shift".to_owned(),
            since_ms: 1_000,
            until_ms,
        };
        assert!(!hold(Some(2_000)).is_over(1_999));
        assert!(hold(Some(2_000)).is_over(2_000));
        assert_eq!(
            hold(Some(2_000)).left(1_500),
            Some(Duration::from_millis(500))
        );
        assert!(!hold(None).is_over(u64::MAX));
        assert_eq!(hold(None).left(1_500), None);
    }
}
