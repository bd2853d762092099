//! Which sequences a worker remembers something of, and where.
//!
//! The worker process keeps a numbered row of states and does what it is told; which number belongs to which sequence, and
//! which sequence has ended, is decided here. A sequence ends with its last request, after [`IDLE_LIMIT`] without one, and
//! with the worker: after a hot swap a running sequence stays on the worker that began it for as long as that is kept, and
//! must be started again when it is gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::StateUse;
use super::tensor::{Sequence, SequenceId};

/// Most memory for the states of one worker, in bytes.
const STATES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most sequences of one worker, however small their state: as many cameras or machines as one node could serve.
pub(crate) const SEQUENCES_MAX: usize = 1024;

/// Time without a request after which a sequence may be forgotten. The sender of a stream that was silent for a minute has
/// most likely gone.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How many sequences with a state of `state_bytes` a worker remembers.
pub(super) fn room_for(state_bytes: usize) -> usize {
    (STATES_BYTES_MAX / state_bytes.max(1)).clamp(1, SEQUENCES_MAX)
}

/// The sequences of one worker.
#[derive(Debug)]
pub(super) struct Sequences {
    room: usize,
    /// Held for the length of one look-up.
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    places: BTreeMap<SequenceId, Place>,
    free: Vec<u16>,
}

#[derive(Debug)]
struct Place {
    number: u16,
    last_used: Instant,
    /// Requests that are under way with it: it is not forgotten under them.
    in_use: u32,
}

/// Why a request of a sequence cannot be served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Unknown,
    Full(usize),
}

/// One request's hold on its sequence; ends the sequence when it was the last one.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    sequences: &'a Sequences,
    sequence: &'a Sequence,
    pub(super) state: StateUse,
}

impl Sequences {
    pub(super) fn new(room: usize) -> Self {
        let free = (0..u16::try_from(room).unwrap_or(u16::MAX)).rev().collect();
        let running = Running {
            places: BTreeMap::new(),
            free,
        };
        Self {
            room,
            running: Mutex::new(running),
        }
    }

    /// Finds or makes the place of a request's sequence.
    pub(super) fn hold<'a>(
        &'a self,
        sequence: &'a Sequence,
        now: Instant,
    ) -> Result<Hold<'a>, Refused> {
        let mut running = self.lock();
        let hold = |number| Hold {
            sequences: self,
            sequence,
            state: StateUse {
                place: number,
                begin: sequence.start,
                end: sequence.end,
            },
        };
        if let Some(place) = running.places.get_mut(&sequence.id) {
            place.last_used = now;
            place.in_use += 1;
            return Ok(hold(place.number));
        }
        if !sequence.start {
            return Err(Refused::Unknown);
        }
        let number = running.free_place(now).ok_or(Refused::Full(self.room))?;
        let place = Place {
            number,
            last_used: now,
            in_use: 1,
        };
        running.places.insert(sequence.id.clone(), place);
        Ok(hold(number))
    }

    /// Whether something is remembered of it.
    pub(super) fn knows(&self, id: &SequenceId) -> bool {
        self.lock().places.contains_key(id)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// A free place, or that of the sequence that was idle the longest, if that is long enough.
    fn free_place(&mut self, now: Instant) -> Option<u16> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let idle = self.places.iter().filter(|(_, place)| place.in_use == 0);
        let (id, place) = idle.min_by_key(|(_, place)| place.last_used)?;
        if now.saturating_duration_since(place.last_used) < IDLE_LIMIT {
            return None;
        }
        let (id, number) = (id.clone(), place.number);
        self.places.remove(&id);
        Some(number)
    }
}

impl Drop for Hold<'_> {
    /// The request was made by now or never will be, and the worker takes requests in their order: the next sequence in
    /// this place cannot overtake it.
    fn drop(&mut self) {
        let mut running = self.sequences.lock();
        let Some(place) = running.places.get_mut(&self.sequence.id) else {
            return;
        };
        place.in_use -= 1;
        if self.sequence.end && place.in_use == 0 {
            let number = place.number;
            running.places.remove(&self.sequence.id);
            running.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u64, start: bool, end: bool) -> Sequence {
        Sequence {
            id: SequenceId::Number(id),
            start,
            end,
        }
    }

    #[test]
    fn a_sequence_keeps_its_place_from_its_start_to_its_end() {
        let (sequences, now) = (Sequences::new(2), Instant::now());
        let [first, going_on, last] = [
            request(1, true, false),
            request(1, false, false),
            request(1, false, true),
        ];
        assert_eq!(
            sequences.hold(&going_on, now).unwrap_err(),
            Refused::Unknown
        );
        let place = sequences.hold(&first, now).unwrap().state.place;
        assert_eq!(
            sequences.hold(&going_on, now).unwrap().state,
            StateUse {
                place,
                begin: false,
                end: false
            }
        );
        assert!(sequences.knows(&first.id));
        assert_eq!(
            sequences.hold(&last, now).unwrap().state,
            StateUse {
                place,
                begin: false,
                end: true
            }
        );
        assert_eq!(
            sequences.hold(&going_on, now).unwrap_err(),
            Refused::Unknown
        );
    }

    #[test]
    fn only_an_idle_sequence_makes_room_and_never_under_a_request() {
        let (sequences, now) = (Sequences::new(2), Instant::now());
        let [one, two, three] = [1, 2, 3].map(|id| request(id, true, false));
        let hold = sequences.hold(&one, now).unwrap();
        drop(sequences.hold(&two, now).unwrap());
        assert_eq!(
            sequences.hold(&three, now + IDLE_LIMIT / 2).unwrap_err(),
            Refused::Full(2)
        );
        drop(sequences.hold(&three, now + IDLE_LIMIT).unwrap());
        assert!(sequences.knows(&one.id) && !sequences.knows(&two.id));
        drop(hold);
    }

    #[test]
    fn the_room_follows_the_size_of_a_state() {
        assert_eq!(room_for(1024), SEQUENCES_MAX);
        assert_eq!(room_for(4 * 1024 * 1024), 8);
        assert_eq!(room_for(usize::MAX), 1);
    }
}
