//! Whether the path under a session still answers, from two counters of the transport.
//!
//! A session that sends and hears nothing back has lost its path long before the transport's own idle
//! timeout says so. What cloudcore makes of a record does not matter here: the acknowledgements of the
//! transport are enough, so that a slow cloud is not taken for a dead network.

/// Unanswered for this long, a path is dead. QUIC repeats what is unanswered after about three round
/// trips and then ever later: on a bad satellite link (1.4 s) two repetitions fit, on others four or more.
pub const SILENCE_MS: u64 = 5_000;

/// Look this often. With [`SILENCE_MS`], a dead path is known within 7 s of the first unanswered send,
/// which leaves 3 s of the promised 10 for the other transport.
pub const LOOK_MS: u64 = 1_000;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The path answers, or was not asked.
    Alive,
    /// The path does not answer.
    Dead,
}

/// What the looks so far found.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    asked: u64,
    answered: u64,
    unanswered_since_ms: Option<u64>,
}

impl Pulse {
    /// `asked` counts what was sent that the other side must answer, `answered` the answers; both only grow.
    #[must_use]
    pub const fn new(asked: u64, answered: u64) -> Self {
        Self {
            asked,
            answered,
            unanswered_since_ms: None,
        }
    }

    /// Takes a look at the counters.
    pub fn look(&mut self, asked: u64, answered: u64, now_ms: u64) -> Beat {
        if answered > self.answered {
            self.answered = answered;
            self.unanswered_since_ms = None;
        } else if asked > self.asked && self.unanswered_since_ms.is_none() {
            self.unanswered_since_ms = Some(now_ms);
        }
        self.asked = asked;
        match self.unanswered_since_ms {
            Some(since_ms) if now_ms.saturating_sub(since_ms) >= SILENCE_MS => Beat::Dead,
            Some(_) | None => Beat::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_is_not_asked_is_alive_however_long() {
        let mut pulse = Pulse::new(3, 2);
        for now_ms in (0..3_600_000).step_by(1_000) {
            assert_eq!(pulse.look(3, 2, now_ms), Beat::Alive);
        }
    }

    #[test]
    fn a_path_that_is_asked_and_silent_is_dead_five_seconds_later() {
        let mut pulse = Pulse::new(0, 0);
        assert_eq!(pulse.look(1, 0, 1_000), Beat::Alive);
        assert_eq!(pulse.look(2, 0, 5_999), Beat::Alive);
        assert_eq!(pulse.look(2, 0, 6_000), Beat::Dead);
    }

    #[test]
    fn an_answer_of_any_kind_begins_the_count_anew() {
        let mut pulse = Pulse::new(0, 0);
        pulse.look(1, 0, 0);
        assert_eq!(pulse.look(1, 1, 4_900), Beat::Alive);
        assert_eq!(pulse.look(1, 1, 90_000), Beat::Alive);
        pulse.look(2, 1, 91_000);
        assert_eq!(pulse.look(3, 1, 95_999), Beat::Alive);
        assert_eq!(pulse.look(3, 1, 96_000), Beat::Dead);
    }

    proptest! {
        #[test]
        fn a_path_that_answers_within_the_silence_is_never_called_dead(
            steps in proptest::collection::vec((0_u64..5, 0_u64..SILENCE_MS), 1..50),
        ) {
            let (mut pulse, mut asked, mut answered, mut now_ms) = (Pulse::new(0, 0), 0, 0, 0);
            for (sent, pause_ms) in steps {
                asked += sent;
                prop_assert_eq!(pulse.look(asked, answered, now_ms), Beat::Alive);
                now_ms += pause_ms;
                answered += u64::from(sent > 0);
                prop_assert_eq!(pulse.look(asked, answered, now_ms), Beat::Alive);
            }
        }
    }
}
