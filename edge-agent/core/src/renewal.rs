//! When the node's certificate is renewed, and when a failed renewal is tried again.
//!
//! A certificate is renewed at two thirds of its life, give or take a little, so that a site whose nodes enrolled
//! together does not renew together. Two clocks are arguments: `now_s`, the time certificates are judged at
//! (see [`crate::clock`]), which may jump when the node learns better, and `since_ms`, which only runs, for pauses.
//!
//! ```text
//!   valid --2/3 of life--> due --renewed--> valid
//!     |                     ^ '--failed--> pause --'
//!     '--no session for long: cloudcore may know something about our certificate that we do not--> due
//! ```
//! The last edge is for nodes whose clock is dead or whose CA is no longer accepted: TLS refuses them and their own
//! clock does not say why. It is taken once per certificate, so that a blocked port costs one renewal and no more.
//! Invariant: two attempts are never closer than [`PAUSE_MS_MIN`]; asserted by the tests.

/// Earliest renewal, as a part of 24 of the life.
const EARLIEST_OF_24: u64 = 15;

/// Latest regular renewal, as a part of 24 of the life. With the earliest, two thirds on average; a third of a life
/// of 30 days leaves ten days of outage before a certificate is over.
const LATEST_OF_24: u64 = 17;

/// Shortest pause after a failure, and between any two attempts.
pub const PAUSE_MS_MIN: u64 = 1_000;

/// Longest pause after a failure: the outage may be over any time, and a certificate has days left.
pub const PAUSE_MS_MAX: u64 = 60 * 60_000;

/// The same once the certificate is over: the uplink is back within a minute, as the link's own back-off promises, and
/// without a certificate nothing else can use it.
pub const PAUSE_OVER_MS_MAX: u64 = 60_000;

/// Pause after cloudcore refused for good (revoked, unknown): only people can change that.
pub const REFUSED_MS: u64 = 60 * 60_000;

/// Without a session for this long, the certificate itself is suspected. Longer than cloudcore needs to restart and
/// than the longest back-off of the link, so that a usual outage renews nothing.
pub const SUSPECT_MS: u64 = 5 * 60_000;

/// The same, when a wall clock that is not believed says that the certificate is over: a session with one that is still
/// good begins sooner.
pub const DOUBT_MS: u64 = 5_000;

/// Never asleep for longer: the clock may have jumped meanwhile.
const LOOK_MS_MAX: u64 = 60_000;

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered, or not as expected: soon again.
    Unreachable,
    /// Cloudcore said no.
    Refused,
}

/// When to renew a certificate that is good from `not_before_s` to `not_after_s`, drawn by `random`; `now_s` when that
/// has passed. All in Unix seconds.
#[must_use]
pub fn next(now_s: u64, not_before_s: u64, not_after_s: u64, random: u64) -> u64 {
    let life_s = not_after_s.saturating_sub(not_before_s);
    let part = |of_24: u64| not_before_s.saturating_add(of_24.saturating_mul(life_s) / 24);
    within(random, part(EARLIEST_OF_24), part(LATEST_OF_24)).max(now_s)
}

/// What the renewal of one certificate waits for.
#[derive(Clone, Debug)]
pub struct Schedule {
    renew_at_s: u64,
    not_after_s: u64,
    life_ms: u64,
    /// No attempt before, on the running clock.
    not_before_ms: u64,
    backoff_ms: u64,
    /// Whether the lack of a session has led to a renewal already.
    suspected: bool,
}

impl Schedule {
    /// For a certificate; the first attempt is free at once if it is due.
    #[must_use]
    pub fn new(not_before_s: u64, not_after_s: u64, random: u64) -> Self {
        let life_s = not_after_s.saturating_sub(not_before_s);
        Self {
            renew_at_s: next(0, not_before_s, not_after_s, random),
            not_after_s,
            life_ms: life_s.saturating_mul(1000),
            not_before_ms: 0,
            backoff_ms: PAUSE_MS_MIN,
            suspected: false,
        }
    }

    /// For the certificate that replaced the one of this schedule, at `since_ms`. It is not suspected before a session
    /// has lived with it.
    #[must_use]
    pub fn renewed(&self, not_before_s: u64, not_after_s: u64, since_ms: u64, random: u64) -> Self {
        Self {
            not_before_ms: since_ms.saturating_add(PAUSE_MS_MIN),
            suspected: true,
            ..Self::new(not_before_s, not_after_s, random)
        }
    }

    /// A session lives, so cloudcore accepts the certificate.
    pub fn connected(&mut self) {
        self.suspected = false;
    }

    /// When the certificate will be renewed, in Unix seconds.
    #[must_use]
    pub const fn renew_at_s(&self) -> u64 {
        self.renew_at_s
    }

    /// How long to wait for the next attempt, in milliseconds; 0: it is due. `unconnected_since_ms`: since when there
    /// has been no session. `doubtful_s`: see [`crate::clock::KnownTime::doubtful`]. Ask again after at most this
    /// time, and when a session begins or ends.
    #[must_use]
    pub fn wait_ms(
        &self,
        now_s: u64,
        since_ms: u64,
        unconnected_since_ms: Option<u64>,
        doubtful_s: Option<u64>,
    ) -> u64 {
        let life = self.renew_at_s.saturating_sub(now_s).saturating_mul(1000);
        let patience_ms = match doubtful_s.is_some_and(|wall_s| wall_s > self.not_after_s) {
            true => DOUBT_MS,
            false => SUSPECT_MS,
        };
        let suspicion = unconnected_since_ms
            .filter(|_| !self.suspected)
            .map_or(u64::MAX, |began| {
                began.saturating_add(patience_ms).saturating_sub(since_ms)
            });
        let pause = self.not_before_ms.saturating_sub(since_ms);
        life.min(suspicion).max(pause).min(LOOK_MS_MAX)
    }

    /// The attempt failed at `now_s`, which is `since_ms` on the running clock.
    pub fn failed(&mut self, how: Failure, now_s: u64, since_ms: u64, random: u64) {
        let pause_ms = match how {
            Failure::Refused => within(random, REFUSED_MS, REFUSED_MS + REFUSED_MS / 4),
            Failure::Unreachable => {
                // A certificate that lives for seconds (in tests) cannot wait for minutes.
                let longest = match now_s > self.not_after_s {
                    true => PAUSE_OVER_MS_MAX,
                    false => (self.life_ms / 16).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX),
                };
                let high = self.backoff_ms.saturating_mul(3).min(longest);
                self.backoff_ms = within(random, PAUSE_MS_MIN, high);
                self.backoff_ms
            }
        };
        self.not_before_ms = since_ms.saturating_add(pause_ms);
    }
}

/// Maps 64 random bits onto `[low, high]`.
fn within(random: u64, low: u64, high: u64) -> u64 {
    let span = u128::from(high.saturating_sub(low)) + 1;
    let offset = (u128::from(random) * span) >> 64;
    low.saturating_add(u64::try_from(offset).unwrap_or(0))
}

#[cfg(test)]
mod tests;
