//! Which transport to dial next, when, and when to try the better one again.
//!
//! Owns the order of transports (QUIC first, WebSocket when QUIC does not answer), the back-off
//! between rounds, the memory of what worked, and the quiet probing of QUIC while a session lives on
//! WebSocket. It deliberately knows no socket, no clock and no random source: the time and one random
//! number are arguments, so a seed fixes a run.
//!
//! ```text
//!   Dial(best) --failed--> Dial(other) --failed--> Wait(back-off) --> Dial(best) ...
//!       |                      |
//!    welcomed               welcomed --probe_at--> probe --answered--> end session, Dial(QUIC)
//! ```
//!
//! UDP is blocked in many plants, so a failing QUIC is normal: after [`QUIC_DISTRUST_MS`] of failures
//! it costs nothing, because WebSocket is dialled first and QUIC only probed. Invariant: two rounds
//! are never closer than [`BACKOFF_MS_MIN`] apart, and a transport that is not configured is never
//! dialled; the tests assert both.

#[cfg(test)]
mod tests;

/// How long a QUIC dial may take before WebSocket gets its turn: three round trips over a bad
/// satellite link, and short enough that an operator does not notice.
pub const QUIC_DIAL_MS: u64 = 3_000;

/// How long a WebSocket dial (TCP, TLS, upgrade) may take.
pub const WEBSOCKET_DIAL_MS: u64 = 10_000;

/// Shortest wait after a failed round, and the base of the jitter.
pub const BACKOFF_MS_MIN: u64 = 500;

/// Longest wait after a failed round: a returning uplink is used within a minute.
pub const BACKOFF_MS_MAX: u64 = 60_000;

/// How long a QUIC that did not answer is not dialled first: it is probed instead.
pub const QUIC_DISTRUST_MS: u64 = 10 * 60_000;

/// First probe of QUIC this long after a session on WebSocket began; doubles per silent probe.
pub const PROBE_MS_MIN: u64 = 60_000;

/// Longest pause between two probes.
pub const PROBE_MS_MAX: u64 = 30 * 60_000;

/// A session shorter than this does not prove that the other side is well, so it does not reset the back-off.
pub const PROVEN_MS: u64 = 10_000;

/// Pause after the other side refused this node for good (revoked, cloned): repairs are done by
/// people, and an hour makes the refusals cost nothing.
pub const REFUSED_MS: u64 = 60 * 60_000;

/// Pause after another instance of this node took over: long, so that two never fight.
pub const SUPERSEDED_MS: u64 = 5 * 60_000;

/// Longest `ComeBack` that is obeyed: a broken cloud must not silence a fleet for days.
pub const COME_BACK_MS_MAX: u64 = 15 * 60_000;

/// A way to reach cloudcore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// WebSocket over TLS and TCP.
    WebSocket,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
        })
    }
}

/// Which transports have an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// QUIC and WebSocket.
    Both,
    /// One only.
    Only(Transport),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Dial `transport` and give up after `timeout_ms`.
    Dial {
        /// The way to take.
        transport: Transport,
        /// Dial, handshake and Welcome must be done within this time.
        timeout_ms: u64,
    },
    /// Nothing before `until_ms`.
    Wait {
        /// On the caller's monotonic clock.
        until_ms: u64,
    },
}

/// How a session that had been welcomed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The transport broke.
    Lost,
    /// What was sent stayed unanswered: some networks let a handshake through and nothing after it.
    Silent,
    /// Left on purpose, because a probe of the better transport was answered.
    Switching,
    /// Cloudcore asked to come back later.
    ComeBack {
        /// After this long.
        after_ms: u64,
    },
    /// Another instance of this node took over.
    Superseded,
    /// Cloudcore refuses this node until a person acts.
    Refused,
}

/// The state of the dialling; see the module for the loop.
#[derive(Clone, Debug)]
pub struct Dialler {
    routes: Routes,
    /// Left of the current round, in order.
    round: Vec<Transport>,
    /// No dial before this time.
    wait_until_ms: u64,
    backoff_ms: u64,
    /// Until when QUIC is not dialled first; `None` while it is trusted.
    distrust_quic_until_ms: Option<u64>,
    probe_ms: u64,
    session: Option<Session>,
}

/// A session that was welcomed and has not ended.
#[derive(Clone, Copy, Debug)]
struct Session {
    transport: Transport,
    since_ms: u64,
    probe_at_ms: u64,
}

impl Dialler {
    /// Nothing dialled yet. `worked` is the transport of the last session, as remembered by an
    /// earlier process.
    #[must_use]
    pub fn new(routes: Routes, worked: Option<Transport>, now_ms: u64) -> Self {
        let distrust = matches!(worked, Some(Transport::WebSocket));
        let mut dialler = Self {
            routes,
            round: Vec::new(),
            wait_until_ms: now_ms,
            backoff_ms: BACKOFF_MS_MIN,
            distrust_quic_until_ms: distrust.then_some(now_ms + QUIC_DISTRUST_MS),
            probe_ms: PROBE_MS_MIN,
            session: None,
        };
        dialler.round = dialler.new_round(now_ms);
        dialler
    }

    fn new_round(&self, now_ms: u64) -> Vec<Transport> {
        let distrusted = self
            .distrust_quic_until_ms
            .is_some_and(|until| now_ms < until);
        match (self.routes, distrusted) {
            (Routes::Only(transport), _) => vec![transport],
            (Routes::Both, false) => vec![Transport::Quic, Transport::WebSocket],
            (Routes::Both, true) => vec![Transport::WebSocket, Transport::Quic],
        }
    }

    /// What to do at `now_ms`. Call again after the outcome was reported or the wait is over.
    #[must_use]
    pub fn next(&self, now_ms: u64) -> Step {
        match self.round.first() {
            Some(&transport) if now_ms >= self.wait_until_ms => Step::Dial {
                transport,
                timeout_ms: match transport {
                    Transport::Quic => QUIC_DIAL_MS,
                    Transport::WebSocket => WEBSOCKET_DIAL_MS,
                },
            },
            Some(_) | None => Step::Wait {
                until_ms: self.wait_until_ms.max(now_ms + 1),
            },
        }
    }

    /// The dial of `transport` did not lead to a Welcome.
    pub fn failed(&mut self, transport: Transport, now_ms: u64, random: u64) {
        self.round.retain(|left| *left != transport);
        if transport == Transport::Quic {
            self.distrust_quic_until_ms = Some(now_ms + QUIC_DISTRUST_MS);
        }
        if self.round.is_empty() {
            self.back_off(now_ms, random);
        }
    }

    /// A session on `transport` was welcomed.
    pub fn welcomed(&mut self, transport: Transport, now_ms: u64) {
        if transport == Transport::Quic {
            self.distrust_quic_until_ms = None;
            self.probe_ms = PROBE_MS_MIN;
        }
        self.session = Some(Session {
            transport,
            since_ms: now_ms,
            probe_at_ms: now_ms + self.probe_ms,
        });
    }

    /// When QUIC should be probed (handshake only); `None` when there is nothing better to find.
    #[must_use]
    pub fn probe_at_ms(&self) -> Option<u64> {
        match (self.session, self.routes) {
            (Some(session), Routes::Both) if session.transport == Transport::WebSocket => {
                Some(session.probe_at_ms)
            }
            _ => None,
        }
    }

    /// A probe was not answered: the next one comes later.
    pub fn probe_silent(&mut self, now_ms: u64, random: u64) {
        self.probe_ms = (self.probe_ms * 2).min(PROBE_MS_MAX);
        let probe_ms = self.probe_ms;
        if let Some(session) = &mut self.session {
            // Up to an eighth more, so that a site whose nodes started together does not probe together.
            session.probe_at_ms = now_ms + probe_ms + within(random, 0, probe_ms / 8);
        }
    }

    /// A probe was answered: the caller ends the session with [`Ended::Switching`].
    pub fn probe_answered(&mut self) {
        self.distrust_quic_until_ms = None;
        self.probe_ms = PROBE_MS_MIN;
    }

    /// The session, or an attempt that reached cloudcore and was told to go, ended.
    pub fn ended(&mut self, how: Ended, now_ms: u64, random: u64) {
        let session = self.session.take();
        if session.is_some_and(|session| now_ms.saturating_sub(session.since_ms) >= PROVEN_MS) {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        match how {
            Ended::Switching => {
                self.round = self.new_round(now_ms);
                self.wait_until_ms = now_ms;
            }
            Ended::Lost => self.back_off(now_ms, random),
            Ended::Silent => {
                if session.is_some_and(|session| session.transport == Transport::Quic) {
                    self.distrust_quic_until_ms = Some(now_ms + QUIC_DISTRUST_MS);
                }
                self.back_off(now_ms, random);
            }
            Ended::ComeBack { after_ms } => {
                self.pause(after_ms.min(COME_BACK_MS_MAX), now_ms, random)
            }
            Ended::Superseded => self.pause(SUPERSEDED_MS, now_ms, random),
            Ended::Refused => self.pause(REFUSED_MS, now_ms, random),
        }
    }

    /// Decorrelated jitter: uniform between the base and three times the last wait, so that ten
    /// thousand nodes cut off together come back spread out.
    fn back_off(&mut self, now_ms: u64, random: u64) {
        let high = (self.backoff_ms * 3).min(BACKOFF_MS_MAX);
        self.backoff_ms = within(random, BACKOFF_MS_MIN, high);
        self.wait_until_ms = now_ms + self.backoff_ms;
        self.round = self.new_round(self.wait_until_ms);
    }

    fn pause(&mut self, pause_ms: u64, now_ms: u64, random: u64) {
        self.wait_until_ms = now_ms + pause_ms + within(random, 0, pause_ms / 4);
        self.round = self.new_round(self.wait_until_ms);
    }
}

/// Maps 64 random bits onto `[low, high]`.
fn within(random: u64, low: u64, high: u64) -> u64 {
    let span = u128::from(high.saturating_sub(low)) + 1;
    let offset = (u128::from(random) * span) >> 64;
    low + u64::try_from(offset).unwrap_or(0)
}
