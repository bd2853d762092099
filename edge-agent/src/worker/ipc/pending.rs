//! A request that the worker has: waiting for its answer on a thread or in a task.

use std::time::Instant;

use super::{ANSWER_LIMIT, Lease, answer_deadline};
use crate::worker::tensor::InferError;

/// A request that was made. Dropped before its answer, it leaves its slot with the lane.
pub(in crate::worker) struct Pending {
    number: u32,
    /// Taken when the answer is there.
    lease: Option<Lease>,
}

impl Pending {
    pub(super) fn new(number: u32, lease: Lease) -> Self {
        Self {
            number,
            lease: Some(lease),
        }
    }

    /// Sleeps until the answer lies in the slot.
    pub(in crate::worker) fn answered_blocking(mut self) -> Result<Lease, InferError> {
        let lease = self.lease();
        let lane = lease.lane();
        let deadline = answer_deadline();
        let mut spin = lane.spin();
        loop {
            let seen = lane.board.answers.count();
            if lane.is_answered(self.number)? {
                return Ok(self.take());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                lane.shut_down();
                return Err(lane.timeout(ANSWER_LIMIT));
            }
            // Whatever woke it, the loop looks again.
            let _ = lane.board.answers.wait(seen, spin, left);
            // Another request's answer may have come first.
            spin = if spin.is_zero() { spin } else { lane.spin() };
        }
    }

    /// Waits in a task until the answer lies in the slot.
    pub(in crate::worker) async fn answered(mut self) -> Result<Lease, InferError> {
        let lane = self.lease().lane();
        let seen = lane.board.answers.count();
        if !lane.is_answered(self.number)? {
            // The thread serves nobody else for as long as two system calls take.
            let _ = lane.board.answers.spin(seen, lane.spin());
        }
        if !lane.is_answered(self.number)? {
            let _watched = Watch::new(self.lease());
            let nudged = tokio::time::timeout(ANSWER_LIMIT, self.nudged()).await;
            let Ok(answered) = nudged else {
                lane.shut_down();
                return Err(lane.timeout(ANSWER_LIMIT));
            };
            answered?;
        }
        Ok(self.take())
    }

    async fn nudged(&self) -> Result<(), InferError> {
        let lane = self.lease().lane();
        loop {
            let nudged = lane.nudged.notified();
            tokio::pin!(nudged);
            nudged.as_mut().enable();
            if lane.is_answered(self.number)? {
                return Ok(());
            }
            nudged.await;
        }
    }

    fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("there until it is taken")
    }

    fn take(&mut self) -> Lease {
        self.lease.take().expect("taken once")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let lane = std::sync::Arc::clone(lease.lane());
            lane.abandon(self.number, lease);
        }
    }
}

/// Asks the worker for nudges until it is dropped.
struct Watch<'a>(&'a Lease);

impl<'a> Watch<'a> {
    fn new(lease: &'a Lease) -> Self {
        lease.lane().board.answers.watch();
        Self(lease)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.lane().board.answers.unwatch();
    }
}
