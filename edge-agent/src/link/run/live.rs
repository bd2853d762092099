//! One welcomed session, until it ends: the outbox is pumped, what arrives is acted on, the path's pulse is
//! felt, and over WebSocket QUIC is probed beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_core::link::pulse::{Beat, LOOK_MS, Pulse};
use edge_core::link::{Dialler, QUIC_DIAL_MS, Transport};
use millwright_proto::frame;
use millwright_proto::link::Uplink;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::super::dial::Probe;
use super::super::session::{Action, Session, SessionEnd};
use super::super::totals::whole_ms;
use super::super::wire::{Wire, WireError};
use super::asked::Asked;
use super::{Runner, random, stopping};
use crate::hard_examples::answer::Answers;

/// Handing one frame to the transport may take this long: a peer that reads nothing is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// A session and what carries it.
pub(super) struct Live {
    pub(super) wire: Wire,
    pub(super) session: Session,
    heart: Heart,
    asked: Asked,
}

impl Runner {
    /// Runs a welcomed session to its end.
    pub(super) async fn live(
        &mut self,
        mut live: Live,
        transport: Transport,
        dialler: &mut Dialler,
        now_ms: impl Fn() -> u64,
    ) -> SessionEnd {
        let (Ok(end) | Err(end)) = self.exchange(&mut live, transport, dialler, now_ms).await;
        self.channel.send_replace(None);
        self.totals.session_ended();
        match end {
            // Nobody hears a goodbye there, and waiting for its answer would delay the other transport.
            SessionEnd::Silent(_) => drop(live),
            _ => live.wire.close().await,
        }
        end
    }

    async fn exchange(
        &mut self,
        live: &mut Live,
        transport: Transport,
        dialler: &mut Dialler,
        now_ms: impl Fn() -> u64,
    ) -> Result<SessionEnd, SessionEnd> {
        let mut stopped = self.stopped.clone();
        let mut backlog = self.outbox.backlog();
        let applied = self.applied.borrow_and_update().clone();
        let first = live.session.welcome_persisted(applied);
        live.send(&first).await.map_err(broken)?;
        // Ends with the session: a probe that is under way then is given up.
        let mut probes = JoinSet::new();
        loop {
            backlog.borrow_and_update();
            self.pump(live).await?;
            // Room that the outbox leaves is for answers: what the node has to report goes first.
            let room = live.session.room();
            let deadline = live.session.deadline();
            let probe_at = dialler.probe_at_ms().filter(|_| probes.is_empty());
            let probe_pause = probe_at.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                body = live.wire.receive() => {
                    let body = body.map_err(broken)?;
                    let action = live.session.received(body, Instant::now());
                    if let Some(end) = self.act(live, action).await? {
                        return Ok(end);
                    }
                }
                changed = backlog.changed() => {
                    changed.map_err(|_| lost(&"the outbox is closed"))?;
                }
                changed = self.applied.changed() => {
                    if changed.is_err() {
                        return Ok(SessionEnd::Stopping);
                    }
                    let applied = self.applied.borrow_and_update().clone();
                    if let Some(uplink) = live.session.applied(applied) {
                        live.send(&uplink).await.map_err(broken)?;
                    }
                }
                Some(answer) = live.asked.next(), if room.is_some() => {
                    let uplink = live.session.answered(answer);
                    live.send(&uplink).await.map_err(broken)?;
                }
                () = until(deadline) => return Ok(live.session.expired()),
                () = live.heart.stopped() => return Err(broken(WireError::Silent)),
                () = pause(probe_pause) => {
                    probes.spawn(self.dialers.probe(Duration::from_millis(QUIC_DIAL_MS)));
                }
                Some(probe) = probes.join_next() => match probe {
                    Ok(Probe::Answered) => {
                        dialler.probe_answered();
                        tracing::info!(%transport, "QUIC answers again: switching to it");
                        return Ok(SessionEnd::Switching);
                    }
                    // An error is a panic, which has been reported by itself.
                    Ok(Probe::Silent) | Err(_) => dialler.probe_silent(now_ms(), random()),
                },
                () = stopping(&mut stopped) => return Ok(SessionEnd::Stopping),
            }
        }
    }

    /// Sends what the outbox has, as far as there is room.
    async fn pump(&mut self, live: &mut Live) -> Result<(), SessionEnd> {
        while let Some(room) = live.session.room() {
            let offered = self.outbox.offer(room).await;
            let offered = offered.map_err(|error| lost(&error))?;
            if offered.is_empty() {
                break;
            }
            for outgoing in offered {
                let uplink = live.session.offer(outgoing, Instant::now());
                live.send(&uplink).await.map_err(broken)?;
            }
        }
        Ok(())
    }

    async fn act(
        &mut self,
        live: &mut Live,
        action: Option<Action>,
    ) -> Result<Option<SessionEnd>, SessionEnd> {
        match action {
            Some(Action::Acknowledge { stream, through }) => {
                let taken = self.outbox.acknowledge(stream, through).await;
                taken.map_err(|error| lost(&error))?;
            }
            Some(Action::Desired(desired)) => {
                tracing::info!(generation = %desired.generation, "desired state received");
                self.desired.send_replace(Some(desired));
            }
            Some(Action::Asked(ask)) => live.asked.ask(ask),
            Some(Action::End(end)) => return Ok(Some(end)),
            // The session lets only the first Welcome through, and that one was taken by the dial.
            Some(Action::Welcomed { .. }) | None => {}
        }
        Ok(None)
    }
}

fn lost(why: &impl ToString) -> SessionEnd {
    SessionEnd::Lost(why.to_string())
}

fn broken(error: WireError) -> SessionEnd {
    match error {
        WireError::Silent => SessionEnd::Silent(error.to_string()),
        WireError::Dial { .. } | WireError::Ended(_) | WireError::Frame(_) => lost(&error),
    }
}

impl Live {
    pub(super) fn new(wire: Wire, session: Session, answers: &Arc<Answers>) -> Self {
        let heart = Heart::of(&wire);
        Self {
            wire,
            session,
            heart,
            asked: Asked::new(answers),
        }
    }

    /// Hands a frame to the transport. A full window may make it wait, and a dead path must not: the pulse
    /// is felt meanwhile.
    pub(super) async fn send(&mut self, uplink: &Uplink) -> Result<(), WireError> {
        let body = frame::encode_body(uplink)?;
        tokio::select! {
            sent = tokio::time::timeout(SEND_TIMEOUT, self.wire.send(body)) => match sent {
                Ok(sent) => sent,
                Err(_elapsed) => Err(WireError::Ended("cloudcore reads nothing".to_owned())),
            },
            () = self.heart.stopped() => Err(WireError::Silent),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn pause(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The pulse of a path whose transport tells of acknowledgements. A WebSocket finds out by itself when it
/// receives: the kernel keeps acknowledgements to itself.
struct Heart(Option<Beating>);

struct Beating {
    connection: quinn::Connection,
    pulse: Pulse,
    looks: Interval,
    began: tokio::time::Instant,
}

impl Heart {
    fn of(wire: &Wire) -> Self {
        let Wire::Quic(wire) = wire else {
            return Self(None);
        };
        let connection = wire.connection();
        let mut looks = tokio::time::interval(Duration::from_millis(LOOK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (asked, answered) = counters(&connection);
        Self(Some(Beating {
            connection,
            pulse: Pulse::new(asked, answered),
            looks,
            began: tokio::time::Instant::now(),
        }))
    }

    /// Resolves when the path is dead. Safe to cancel: what was felt is kept.
    async fn stopped(&mut self) {
        let Some(beating) = &mut self.0 else {
            return std::future::pending().await;
        };
        loop {
            beating.looks.tick().await;
            let now_ms = whole_ms(beating.began.elapsed());
            let (asked, answered) = counters(&beating.connection);
            if beating.pulse.look(asked, answered, now_ms) == Beat::Dead {
                return;
            }
        }
    }
}

/// Frames sent that cloudcore's transport acknowledges, and its acknowledgements. Frames that only the
/// transport itself needs (windows, connection ids) go out in answer to something and are left out.
fn counters(connection: &quinn::Connection) -> (u64, u64) {
    let stats = connection.stats();
    let asked = stats.frame_tx.stream + stats.frame_tx.ping;
    (asked, stats.frame_rx.acks)
}
