//! Which transport to dial next, when, and when to try the better one again.
//!
//! Owns the order of transports (QUIC first, WebSocket when QUIC does not answer), the back-off
//! between rounds, the memory of what worked on which network ([`networks`]), when a path counts as dead
//! ([`pulse`], [`echo`]), and the quiet probing of QUIC while a session lives on WebSocket. It deliberately knows
//! no socket, no clock and no random source: the time and one random number are arguments, so a seed
//! fixes a run.
//!
//! ```text
//!   Dial(best) --failed--> Dial(other) --failed--> Wait(back-off) --> Dial(best) ...
//!       |                      |
//!    welcomed               welcomed --probe_at--> probe --answered--> end session, Dial(QUIC)
//!       '--silent--> Dial(WebSocket)
//! ```
//!
//! UDP is blocked in many plants, so a failing QUIC is normal: where WebSocket got through and QUIC did
//! not, it costs nothing for [`QUIC_DISTRUST_MS`], because WebSocket is dialled first and QUIC only
//! probed. When neither gets through, cloudcore or the uplink is away, and that is no reason to distrust
//! QUIC. Invariant: two rounds are never closer than [`BACKOFF_MS_MIN`] apart unless a session or a
//! network ended between them, and a transport that is not configured is never dialled; the tests
//! assert both.

pub mod echo;
pub mod networks;
pub mod pulse;

#[cfg(test)]
mod tests;

/// How long a QUIC dial may take before WebSocket gets its turn: three round trips (proof of the address, handshake,
/// Hello) over a bad satellite link, and short enough that an operator does not notice.
pub const QUIC_DIAL_MS: u64 = 3_000;

/// How long a WebSocket dial (TCP, TLS, upgrade) may take.
pub const WEBSOCKET_DIAL_MS: u64 = 10_000;

/// Shortest wait after a failed round, and the base of the jitter.
pub const BACKOFF_MS_MIN: u64 = 500;

/// Longest wait after a failed round: a returning uplink is used within a minute.
pub const BACKOFF_MS_MAX: u64 = 60_000;

/// Longest wait after a session that had proven itself: ten thousand nodes that lose theirs together
/// come back at a rate two cores can shake hands at.
pub const RETURN_MS_MAX: u64 = 5_000;

/// Longest wait before WebSocket is dialled after a path fell silent: the promise of ten seconds runs.
pub const SWITCH_MS_MAX: u64 = 500;

/// How long a QUIC that did not answer where WebSocket did is not dialled first: it is probed instead.
pub const QUIC_DISTRUST_MS: u64 = 10 * 60_000;

/// A session shorter than this does not prove that the other side is well, so it does not reset the back-off.
pub const PROVEN_MS: u64 = 10_000;

/// Pause after the other side refused this node for good (revoked, cloned): repairs are done by
/// people, and an hour makes the refusals cost nothing.
pub const REFUSED_MS: u64 = 60 * 60_000;

/// Pause after another instance of this node took over: long, so that two never fight.
pub const SUPERSEDED_MS: u64 = 5 * 60_000;

/// Longest `ComeBack` that is obeyed: a broken cloud must not silence a fleet for days.
pub const COME_BACK_MS_MAX: u64 = 15 * 60_000;

/// How often QUIC is tried while a session lives on WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// First probe this long after a session began; the pause doubles per silent probe.
    pub first_ms: u64,
    /// Longest pause between two probes.
    pub longest_ms: u64,
}

impl Default for Probing {
    /// After a minute, and never less often than every half hour.
    fn default() -> Self {
        Self {
            first_ms: 60_000,
            longest_ms: 30 * 60_000,
        }
    }
}

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
    probing: Probing,
    /// Left of the current round, in order.
    round: Vec<Transport>,
    /// No dial before this time.
    wait_until_ms: u64,
    backoff_ms: u64,
    quic: Trust,
    probe_ms: u64,
    session: Option<Session>,
}

/// What is thought of QUIC on this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Dialled first. The beginning, and again after it answered or a distrust ran out.
    Full,
    /// It did not answer. Whether that is QUIC's fault shows when WebSocket gets through: then distrust,
    /// and when neither does, trust again.
    Doubted,
    /// WebSocket got through where QUIC did not: dialled second.
    Distrusted {
        /// The time on which the distrust ends by itself.
        until_ms: u64,
    },
    /// A probe was answered and QUIC is dialled first; whether it carries a session is not proven.
    Promising,
}

/// A session that was welcomed and has not ended.
#[derive(Clone, Copy, Debug)]
struct Session {
    transport: Transport,
    since_ms: u64,
    probe_at_ms: u64,
}

impl Dialler {
    /// Nothing dialled yet, and nothing known of the network.
    #[must_use]
    pub fn new(routes: Routes, probing: Probing, now_ms: u64) -> Self {
        let mut dialler = Self {
            routes,
            probing,
            round: Vec::new(),
            wait_until_ms: now_ms,
            backoff_ms: BACKOFF_MS_MIN,
            quic: Trust::Full,
            probe_ms: probing.first_ms,
            session: None,
        };
        dialler.round = dialler.new_round(now_ms);
        dialler
    }

    /// The node is on another network now, where `worked` carried the last session: what was thought of
    /// the old network does not hold on it. A wait that was asked for goes on.
    pub fn entered_network(&mut self, worked: Option<Transport>, now_ms: u64) {
        let until_ms = now_ms + QUIC_DISTRUST_MS;
        self.quic = match worked {
            Some(Transport::WebSocket) => Trust::Distrusted { until_ms },
            Some(Transport::Quic) | None => Trust::Full,
        };
        self.probe_ms = self.probing.first_ms;
        self.round = self.new_round(now_ms);
    }

    fn new_round(&self, now_ms: u64) -> Vec<Transport> {
        let quic_first = match self.quic {
            Trust::Full | Trust::Promising => true,
            Trust::Doubted => false,
            Trust::Distrusted { until_ms } => now_ms >= until_ms,
        };
        match (self.routes, quic_first) {
            (Routes::Only(transport), _) => vec![transport],
            (Routes::Both, true) => vec![Transport::Quic, Transport::WebSocket],
            (Routes::Both, false) => vec![Transport::WebSocket, Transport::Quic],
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
            self.quic_failed(now_ms);
        }
        if self.round.is_empty() {
            if self.quic == Trust::Doubted {
                self.quic = Trust::Full;
            }
            self.back_off(now_ms, random);
        }
    }

    fn quic_failed(&mut self, now_ms: u64) {
        match self.quic {
            Trust::Promising => {
                // Its handshakes pass and its sessions do not: switching to it again soon would only hurt.
                self.probe_ms = (self.probe_ms * 2).min(self.probing.longest_ms);
                self.quic = Trust::Doubted;
            }
            Trust::Distrusted { until_ms } if now_ms < until_ms => {}
            Trust::Full | Trust::Doubted | Trust::Distrusted { .. } => self.quic = Trust::Doubted,
        }
    }

    /// A session on `transport` was welcomed.
    pub fn welcomed(&mut self, transport: Transport, now_ms: u64) {
        self.quic = match (transport, self.quic) {
            (Transport::Quic, Trust::Promising) => Trust::Promising,
            (Transport::Quic, _) => Trust::Full,
            (Transport::WebSocket, Trust::Doubted) => Trust::Distrusted {
                until_ms: now_ms + QUIC_DISTRUST_MS,
            },
            (Transport::WebSocket, as_before) => as_before,
        };
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
        self.probe_ms = (self.probe_ms * 2).min(self.probing.longest_ms);
        let probe_ms = self.probe_ms;
        if let Some(session) = &mut self.session {
            // Up to an eighth more, so that a site whose nodes started together does not probe together.
            session.probe_at_ms = now_ms + probe_ms + within(random, 0, probe_ms / 8);
        }
    }

    /// A probe was answered: the caller ends the session with [`Ended::Switching`].
    pub fn probe_answered(&mut self) {
        self.quic = Trust::Promising;
    }

    /// The session, or an attempt that reached cloudcore and was told to go, ended.
    pub fn ended(&mut self, how: Ended, now_ms: u64, random: u64) {
        let session = self.session.take();
        let proven =
            session.is_some_and(|session| now_ms.saturating_sub(session.since_ms) >= PROVEN_MS);
        let over_quic = session.is_some_and(|session| session.transport == Transport::Quic);
        if proven {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        if proven && over_quic {
            self.quic = Trust::Full;
            self.probe_ms = self.probing.first_ms;
        }
        match how {
            Ended::Switching => {
                self.round = self.new_round(now_ms);
                self.wait_until_ms = now_ms;
            }
            Ended::Silent if over_quic && self.routes == Routes::Both => {
                self.quic_failed(now_ms);
                self.wait_until_ms = now_ms + within(random, 0, SWITCH_MS_MAX);
                self.round = self.new_round(self.wait_until_ms);
            }
            Ended::Lost | Ended::Silent if proven => {
                self.pause_within(BACKOFF_MS_MIN, RETURN_MS_MAX, now_ms, random);
            }
            Ended::Lost | Ended::Silent => self.back_off(now_ms, random),
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
        self.pause_within(self.backoff_ms, self.backoff_ms, now_ms, random);
    }

    fn pause(&mut self, pause_ms: u64, now_ms: u64, random: u64) {
        self.pause_within(pause_ms, pause_ms + pause_ms / 4, now_ms, random);
    }

    fn pause_within(&mut self, low_ms: u64, high_ms: u64, now_ms: u64, random: u64) {
        self.wait_until_ms = now_ms + within(random, low_ms, high_ms);
        self.round = self.new_round(self.wait_until_ms);
    }
}

/// Maps 64 random bits onto `[low, high]`.
fn within(random: u64, low: u64, high: u64) -> u64 {
    let span = u128::from(high.saturating_sub(low)) + 1;
    let offset = (u128::from(random) * span) >> 64;
    low + u64::try_from(offset).unwrap_or(0)
}
