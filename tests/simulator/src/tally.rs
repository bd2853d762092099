//! What all agents together did, counted without locks where it is counted often.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of one process. Shared by every agent.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Sessions that are live.
    pub(crate) connected: AtomicUsize,
    /// Dials begun, in this phase.
    pub(crate) attempts: AtomicU64,
    /// Of those, without a Welcome.
    pub(crate) failed: AtomicU64,
    /// Of those, told to come back later.
    pub(crate) sent_away: AtomicU64,
    /// Records that the cloud acknowledged.
    pub(crate) acknowledged: AtomicU64,
    /// Agents that were fenced, which never happens to a healthy fleet.
    pub(crate) fenced: AtomicU64,
    /// Agents with a Welcome in this phase.
    pub(crate) back: AtomicUsize,
    /// Counts phases.
    pub(crate) phase: AtomicU64,
    /// Milliseconds from dial to Welcome in this phase. Owned by this type, held for a push.
    welcomes_ms: Mutex<Vec<u64>>,
    /// Why attempts failed and sessions ended, the first few. Owned by this type, held for a push.
    reasons: Mutex<Vec<String>>,
}

/// Reasons kept: enough to see what goes wrong.
const REASONS_MAX: usize = 20;

impl Tally {
    /// Begins to count anew: attempts, failures, returns.
    pub(crate) fn next_phase(&self) {
        self.attempts.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        self.sent_away.store(0, Ordering::Relaxed);
        self.back.store(0, Ordering::Relaxed);
        self.welcomes().clear();
        self.reasons().clear();
        self.phase.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn welcomed_after(&self, ms: u64) {
        self.welcomes().push(ms);
    }

    pub(crate) fn failed_because(&self, reason: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.reasons();
        if reasons.len() < REASONS_MAX {
            reasons.push(reason);
        }
    }

    pub(crate) fn told_reasons(&self) -> Vec<String> {
        self.reasons().clone()
    }

    /// The times to Welcome in order.
    pub(crate) fn sorted_welcomes(&self) -> Vec<u64> {
        let mut sorted = self.welcomes().clone();
        sorted.sort_unstable();
        sorted
    }

    fn welcomes(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.welcomes_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value below which `percent` of the sorted values are; 0 of none.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_taken_from_the_values_themselves() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 99), 198);
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile(&[], 99), 0);
    }
}
