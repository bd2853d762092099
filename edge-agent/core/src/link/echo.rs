//! Whether a WebSocket still answers, and when to ask it.
//!
//! TCP keeps its acknowledgements to itself, and through a proxy they tell nothing of the path behind it. So
//! whatever arrives is an answer, and where none comes by itself a ping asks for one: soon after something was
//! sent, and every [`KEEP_ALIVE_MS`] when nothing was. A ping carries how much was sent before it, so that its
//! echo says how much of that has got through. What has not gets the time a slow line needs for it.

/// Ping after this long without sending: middleboxes commonly forget a silent TCP flow after a minute.
pub const KEEP_ALIVE_MS: u64 = 20_000;

/// Ask this long after an unanswered send: a commit of cloudcore takes less, so that records need no pings.
pub const ASK_MS: u64 = 3_000;

/// Unanswered for this long, a path is dead: TCP repeats a lost segment several times meanwhile, and the
/// promised ten seconds are not over.
pub const SILENCE_MS: u64 = 7_000;

/// Ask after this many bytes at the latest, so that little of what was sent is of unknown fate.
pub const ASK_BYTES: u64 = 8 * 1024;

/// The slowest line that is not called dead while it carries a backlog: 64 kbit/s.
pub const SLOWEST_BYTES_PER_S: u64 = 8 * 1024;

/// What to do next, and when, if nothing arrives or is sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send a ping that carries [`Echo::ask`].
    Ping {
        /// When; may have passed.
        at_ms: u64,
    },
    /// Give the path up.
    Dead {
        /// When; may have passed.
        at_ms: u64,
    },
}

/// What is known of one connection. Times in milliseconds, on any clock that only moves forward.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    sent_bytes: u64,
    asked_bytes: u64,
    arrived_bytes: u64,
    last_sent_ms: u64,
    silent: Silence,
}

/// What is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// Nothing.
    None,
    /// Something that need not have an answer, first sent at `since_ms`.
    Sent { since_ms: u64 },
    /// A ping, or something before it.
    Asked { since_ms: u64 },
}

impl Echo {
    /// Of a connection that has just answered.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self {
            sent_bytes: 0,
            asked_bytes: 0,
            arrived_bytes: 0,
            last_sent_ms: now_ms,
            silent: Silence::None,
        }
    }

    /// Something was sent that is no ping.
    pub const fn sent(&mut self, bytes: u64, now_ms: u64) {
        self.sent_bytes += bytes;
        self.last_sent_ms = now_ms;
        if let Silence::None = self.silent {
            self.silent = Silence::Sent { since_ms: now_ms };
        }
    }

    /// A ping is sent; it carries what is returned. `None`, which is shorter, when nothing is of unknown fate.
    pub const fn ask(&mut self, now_ms: u64) -> Option<u64> {
        let news = self.sent_bytes > self.arrived_bytes;
        self.asked_bytes = self.sent_bytes;
        self.last_sent_ms = now_ms;
        self.silent = match self.silent {
            Silence::None => Silence::Asked { since_ms: now_ms },
            Silence::Sent { since_ms } | Silence::Asked { since_ms } => Silence::Asked { since_ms },
        };
        if news { Some(self.sent_bytes) } else { None }
    }

    /// Anything arrived; `echo` is what a ping carried, when it was the answer to one.
    pub fn heard(&mut self, echo: Option<u64>) {
        self.silent = Silence::None;
        if let Some(bytes) = echo {
            // A peer that invents an echo must not move this past what was sent.
            self.arrived_bytes = self.arrived_bytes.max(bytes.min(self.sent_bytes));
        }
    }

    /// What to do next.
    #[must_use]
    pub const fn next(&self) -> Next {
        if self.sent_bytes - self.asked_bytes >= ASK_BYTES {
            return Next::Ping {
                at_ms: self.last_sent_ms,
            };
        }
        match self.silent {
            Silence::None => Next::Ping {
                at_ms: self.last_sent_ms + KEEP_ALIVE_MS,
            },
            Silence::Sent { since_ms } => Next::Ping {
                at_ms: since_ms + ASK_MS,
            },
            Silence::Asked { since_ms } => Next::Dead {
                at_ms: since_ms + SILENCE_MS + self.under_way_ms(),
            },
        }
    }

    /// How long the slowest line takes for what is of unknown fate.
    const fn under_way_ms(&self) -> u64 {
        (self.sent_bytes - self.arrived_bytes) * 1_000 / SLOWEST_BYTES_PER_S
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_idle_path_is_asked_every_twenty_seconds_and_dead_seven_after_an_unanswered_ping() {
        let mut echo = Echo::new(0);
        assert_eq!(echo.next(), Next::Ping { at_ms: 20_000 });
        assert_eq!(echo.ask(20_000), None);
        echo.heard(None);
        assert_eq!(echo.next(), Next::Ping { at_ms: 40_000 });
        echo.ask(40_000);
        assert_eq!(echo.next(), Next::Dead { at_ms: 47_000 });
    }

    #[test]
    fn a_record_that_is_answered_needs_no_ping_and_one_that_is_not_is_asked_for() {
        let mut echo = Echo::new(0);
        echo.sent(1_024, 1_000);
        assert_eq!(echo.next(), Next::Ping { at_ms: 4_000 });
        echo.heard(None);
        assert_eq!(echo.next(), Next::Ping { at_ms: 21_000 });
        echo.sent(1_024, 5_000);
        echo.sent(1_024, 6_000);
        assert_eq!(echo.ask(8_000), Some(3_072));
        // Seven seconds after the first unanswered send, and what 3 KiB take at 8 KiB/s.
        assert_eq!(echo.next(), Next::Dead { at_ms: 12_375 });
        echo.heard(Some(3_072));
        echo.sent(0, 9_000);
        echo.ask(9_000);
        assert_eq!(echo.next(), Next::Dead { at_ms: 16_000 });
    }

    #[test]
    fn a_backlog_gets_the_time_a_slow_line_needs_for_it() {
        let mut echo = Echo::new(0);
        echo.sent(64 * 1_024, 0);
        assert_eq!(echo.next(), Next::Ping { at_ms: 0 });
        echo.ask(0);
        assert_eq!(echo.next(), Next::Dead { at_ms: 15_000 });
        echo.heard(Some(u64::MAX));
        assert_eq!(echo.ask(1), None);
    }

    proptest! {
        #[test]
        fn a_dead_path_is_known_ten_seconds_and_the_bytes_after_the_first_unanswered_send(
            sends in proptest::collection::vec((0_u64..5_000, 0_u64..4_000), 1..30),
        ) {
            let (mut echo, mut now_ms, mut bytes) = (Echo::new(0), 0, 0);
            for (sent, pause_ms) in sends {
                while let Next::Ping { at_ms } = echo.next() && at_ms <= now_ms {
                    echo.ask(now_ms);
                }
                if let Next::Dead { at_ms } = echo.next() && at_ms <= now_ms {
                    return Ok(());
                }
                prop_assert!(now_ms <= SILENCE_MS + bytes * 1_000 / SLOWEST_BYTES_PER_S);
                echo.sent(sent, now_ms);
                bytes += sent;
                now_ms += pause_ms;
            }
        }

        #[test]
        fn a_path_that_carries_the_slowest_rate_is_never_called_dead(
            sizes in proptest::collection::vec(1_u64..40_000, 1..30),
        ) {
            // Everything is sent at once; each ping is answered when what was before it has got through.
            let mut echo = Echo::new(0);
            let mut asked = Vec::new();
            for size in sizes {
                echo.sent(size, 0);
                if let Next::Ping { at_ms: 0 } = echo.next() {
                    asked.extend(echo.ask(0));
                }
            }
            for bytes in asked {
                let arrives_ms = bytes * 1_000 / SLOWEST_BYTES_PER_S;
                if let Next::Dead { at_ms } = echo.next() {
                    prop_assert!(at_ms > arrives_ms, "dead at {} before {}", at_ms, arrives_ms);
                }
                echo.heard(Some(bytes));
            }
        }
    }
}
