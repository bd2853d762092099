//! One welcomed session, until it ends: the outbox is pumped, what arrives is acted on, the path's pulse is
//! felt, and over WebSocket QUIC is probed beside it.

use std::time::{Duration, Instant};

use edge_core::link::pulse::{Beat, LOOK_MS, Pulse};
use edge_core::link::{Dialler, QUIC_DIAL_MS, Transport};
use millwright_proto::frame;
use millwright_proto::link::Uplink;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::super::dial::Probe;
use super::super::session::{Action, Session, SessionEnd};
use super::super::wire::{Wire, WireError};
use super::{Runner, random, stopping};

/// Handing one frame to the transport may take this long: a peer that reads nothing is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// A session that has been welcomed.
pub(super) struct Live {
    pub(super) wire: Wire,
    pub(super) session: Session,
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
        let end = match self.exchange(&mut live, transport, dialler, now_ms).await {
            Ok(end) => end,
            Err(reason) => SessionEnd::Lost(reason),
        };
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
    ) -> Result<SessionEnd, String> {
        let text = |error: WireError| error.to_string();
        let mut stopped = self.stopped.clone();
        let mut backlog = self.outbox.backlog();
        let applied = self.applied.borrow_and_update().clone();
        let first = live.session.welcome_persisted(applied);
        live.send(&first).await.map_err(text)?;
        let mut pulse = Heart::of(&live.wire);
        // Ends with the session: a probe that is under way then is given up.
        let mut probes = JoinSet::new();
        loop {
            backlog.borrow_and_update();
            self.pump(live).await?;
            let deadline = live.session.deadline();
            let probe_at = dialler.probe_at_ms().filter(|_| probes.is_empty());
            let probe_pause = probe_at.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                body = live.wire.receive() => {
                    let body = body.map_err(text)?;
                    let action = live.session.received(body, Instant::now());
                    if let Some(end) = self.act(action).await? {
                        return Ok(end);
                    }
                }
                changed = backlog.changed() => {
                    changed.map_err(|_| "the outbox is closed".to_owned())?;
                }
                changed = self.applied.changed() => {
                    if changed.is_err() {
                        return Ok(SessionEnd::Stopping);
                    }
                    let applied = self.applied.borrow_and_update().clone();
                    if let Some(uplink) = live.session.applied(applied) {
                        live.send(&uplink).await.map_err(text)?;
                    }
                }
                () = until(deadline) => return Ok(live.session.expired()),
                () = pulse.tick() => {
                    if pulse.look(&live.wire, now_ms()) == Beat::Dead {
                        let reason = format!("cloudcore stopped answering over {transport}");
                        return Ok(SessionEnd::Silent(reason));
                    }
                }
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
    async fn pump(&mut self, live: &mut Live) -> Result<(), String> {
        while let Some(room) = live.session.room() {
            let offered = self.outbox.offer(room).await;
            let offered = offered.map_err(|error| error.to_string())?;
            if offered.is_empty() {
                break;
            }
            for outgoing in offered {
                let uplink = live.session.offer(outgoing, Instant::now());
                live.send(&uplink)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    async fn act(&mut self, action: Option<Action>) -> Result<Option<SessionEnd>, String> {
        match action {
            Some(Action::Acknowledge { stream, through }) => {
                let taken = self.outbox.acknowledge(stream, through).await;
                taken.map_err(|error| error.to_string())?;
            }
            Some(Action::Desired(desired)) => {
                tracing::info!(generation = %desired.generation, "desired state received");
                self.desired.send_replace(Some(desired));
            }
            Some(Action::End(end)) => return Ok(Some(end)),
            // The session lets only the first Welcome through, and that one was taken by the dial.
            Some(Action::Welcomed { .. }) | None => {}
        }
        Ok(None)
    }
}

impl Live {
    pub(super) async fn send(&mut self, uplink: &Uplink) -> Result<(), WireError> {
        let body = frame::encode_body(uplink)?;
        match tokio::time::timeout(SEND_TIMEOUT, self.wire.send(body)).await {
            Ok(sent) => sent,
            Err(_elapsed) => Err(WireError::Ended("cloudcore reads nothing".to_owned())),
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

/// The pulse of a path whose transport tells of acknowledgements, and when to feel it.
struct Heart(Option<(Pulse, Interval)>);

impl Heart {
    fn of(wire: &Wire) -> Self {
        Self(wire.pulse().map(|(asked, answered)| {
            let mut interval = tokio::time::interval(Duration::from_millis(LOOK_MS));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (Pulse::new(asked, answered), interval)
        }))
    }

    async fn tick(&mut self) {
        match &mut self.0 {
            Some((_, interval)) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }

    fn look(&mut self, wire: &Wire, now_ms: u64) -> Beat {
        match (&mut self.0, wire.pulse()) {
            (Some((pulse, _)), Some((asked, answered))) => pulse.look(asked, answered, now_ms),
            (Some(_) | None, _) => Beat::Alive,
        }
    }
}
