//! What both processes write to tell each other that there is something to do: two bells and the queue of requests.
//!
//! ```text
//! first page: requests bell │ answers bell │ closed │ queue: slot of request 0, 1, ...   then the slots
//! ```
//! Requests are numbered from 0; the `requests` bell counts the ones made, the `answers` bell the ones answered. Answers
//! come in the order of the requests, so that the count alone says which are there. Every word may be nonsense that the
//! other process wrote: numbers of slots are checked by whoever uses them.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::bell::Bell;
use crate::memory::{Region, SLOT_ALIGNMENT};

/// Most slots of a region: entries of the queue.
pub const SLOTS_MAX: usize = 16;

/// Distance of words that different processes write, so that they do not take each other's cache line: two lines, because
/// processors fetch them in pairs.
const LINE: usize = 128;

const REQUESTS_AT: usize = 0;
const ANSWERS_AT: usize = LINE;
const CLOSED_AT: usize = 2 * LINE;
const QUEUE_AT: usize = 3 * LINE;

/// Bytes of a region for `slots` slots of `slot_bytes` each.
#[must_use]
pub const fn region_bytes(slots: usize, slot_bytes: usize) -> usize {
    SLOT_ALIGNMENT + slots * slot_bytes
}

/// One end of the board.
#[derive(Debug)]
pub struct Board {
    /// Rung by the agent: how many requests were made.
    pub requests: Bell,
    /// Rung by the worker: how many requests were answered.
    pub answers: Bell,
    region: Arc<Region>,
}

impl Board {
    pub(crate) fn new(region: Arc<Region>) -> Self {
        Self {
            requests: Bell::new(Arc::clone(&region), REQUESTS_AT),
            answers: Bell::new(Arc::clone(&region), ANSWERS_AT),
            region,
        }
    }

    /// Makes request `number`, whose tensors and message lie in `slot`. At most [`SLOTS_MAX`] may be unanswered.
    pub fn request(&self, number: u32, slot: u32) {
        self.entry(number).store(slot, Release);
        // A worker never asks for messages: it sleeps on the bell.
        let _ = self.requests.ring(number.wrapping_add(1));
    }

    /// The slot of request `number`, as the other process wrote it.
    #[must_use]
    pub fn slot_of(&self, number: u32) -> u32 {
        self.entry(number).load(Acquire)
    }

    /// Tells the worker that nothing more will come, and wakes it.
    pub fn close(&self) {
        self.region.word(CLOSED_AT).store(1, Release);
        let _ = self.requests.ring(self.requests.count().wrapping_add(1));
    }

    /// Whether [`Board::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.region.word(CLOSED_AT).load(Acquire) != 0
    }

    fn entry(&self, number: u32) -> &std::sync::atomic::AtomicU32 {
        let index = number as usize % SLOTS_MAX;
        self.region.word(QUEUE_AT + index * size_of::<u32>())
    }
}
