//! When to reconcile again although nothing happened.

use std::time::Duration;

use crate::models::{Life, Observed, Phase, Relief, Rest};

/// The next time (since the agent started) at which a wait or a deadline ends; `None` when only a
/// fact can change anything.
#[must_use]
pub fn next_wakeup(observed: &Observed, now: Duration) -> Option<Duration> {
    observed
        .slots
        .values()
        .flat_map(|slot| slot.lives.values())
        .filter_map(due_at)
        .filter(|due| *due > now)
        .min()
}

fn due_at(life: &Life) -> Option<Duration> {
    match life {
        Life::Wanted { fetch: attempt }
        | Life::Staged { verify: attempt }
        | Life::Verified { start: attempt }
        | Life::Active {
            relief: Relief::Starting(attempt),
            ..
        } => match attempt.phase {
            Phase::Due { not_before } => Some(not_before),
            Phase::Running => None,
        },
        Life::Retained {
            rest: Rest::Warm { until, .. },
        } => Some(*until),
        Life::RolledBack { again, .. } | Life::Failed { again, .. } => *again,
        Life::Retained {
            rest: Rest::Draining { .. } | Rest::Cold,
        }
        | Life::Warmed { .. }
        | Life::Active { .. }
        | Life::Removing => None,
    }
}
