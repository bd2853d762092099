//! The link of a device: edge-core's dialler, and a session as the real agent runs it.

mod sending;

use std::collections::VecDeque;

use edge_core::link::{Dialler, Ended, Probing, Routes, Step, Transport};
use edge_core::outbox::Stream;
use fleet_core::fleet::Report;
use fleet_core::ingest::secret::SECRET_BYTES;

use super::{Killed, Machine};
use crate::event::{Down, Epoch, Event, Fence, HOUR, Hello, Ms, Up, WireId};
use crate::shared::Shared;

/// A dial that is sure to fail is decided this far ahead at most.
const AHEAD_MAX: Ms = HOUR;

#[derive(Debug)]
struct Sent {
    stream: Stream,
    last: u64,
    bytes: u64,
}

#[derive(Debug)]
enum State {
    /// No connection; the dialler decides.
    Idle,
    /// On the way to a connection.
    Dialling,
    /// Hello was sent, Welcome is awaited.
    Greeted { wire: WireId, transport: Transport },
    /// Welcomed.
    Live {
        wire: WireId,
        in_flight: VecDeque<Sent>,
        told: Option<Report>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    dialler: Dialler,
    state: State,
    /// The dialler's decisions are taken up to here.
    decided: Ms,
}

impl Link {
    /// Nothing dialled yet; `worked` is what the disk remembers.
    #[must_use]
    pub(crate) fn new(worked: Option<Transport>, now: Ms) -> Self {
        let mut dialler = Dialler::new(Routes::Both, Probing::default(), now);
        dialler.entered_network(worked, now);
        Self {
            dialler,
            state: State::Idle,
            decided: now,
        }
    }

    /// The connection, if there is one.
    #[must_use]
    pub(crate) fn wire(&self) -> Option<WireId> {
        match &self.state {
            State::Idle | State::Dialling => None,
            State::Greeted { wire, .. } | State::Live { wire, .. } => Some(*wire),
        }
    }

    /// The connection of a session that is welcomed.
    #[must_use]
    pub(crate) fn live_wire(&self) -> Option<WireId> {
        self.wire().filter(|_| self.is_live())
    }

    /// Whether a session is welcomed.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    fn ended(&mut self, how: Ended, shared: &mut Shared) {
        self.state = State::Idle;
        self.decided = shared.now;
        self.dialler.ended(how, shared.now, shared.random.bits());
    }
}

impl Machine {
    /// Dials, or probes the better transport; returns when to look again.
    pub(super) fn dial(&mut self, shared: &mut Shared) -> Result<Ms, Killed> {
        let device = self.device;
        let Some(agent) = &mut self.agent else {
            return Ok(Ms::MAX);
        };
        let epoch = agent.epoch;
        let link = &mut agent.link;
        if let State::Live { wire, .. } = link.state {
            let Some(at) = link.dialler.probe_at_ms() else {
                return Ok(Ms::MAX);
            };
            if at > shared.now {
                return Ok(at);
            }
            if !shared.reaches(device, Transport::Quic) {
                let random = shared.random.bits();
                link.dialler.probe_silent(shared.now, random);
                return Ok(link.dialler.probe_at_ms().unwrap_or(Ms::MAX));
            }
            link.dialler.probe_answered();
            link.ended(Ended::Switching, shared);
            shared.note(device, "switches to quic", 0, 0);
            shared.device_closes(wire);
        }
        if !matches!(link.state, State::Idle) {
            return Ok(Ms::MAX);
        }
        if link.decided > shared.now {
            return Ok(link.decided);
        }
        let limit = shared.horizon(device).min(shared.now + AHEAD_MAX);
        let mut now = shared.now;
        loop {
            match link.dialler.next(now) {
                Step::Dial { transport, .. } if shared.reaches(device, transport) => {
                    if now > shared.now {
                        break;
                    }
                    let after = shared.random.between(10, 600);
                    link.state = State::Dialling;
                    let reached = Event::Dialled(device, epoch, transport);
                    shared.queue.at(shared.now + after, reached);
                    return Ok(Ms::MAX);
                }
                Step::Dial {
                    transport,
                    timeout_ms,
                } => {
                    now += timeout_ms;
                    let random = shared.random.bits();
                    link.dialler.failed(transport, now, random);
                }
                Step::Wait { until_ms } => now = until_ms,
            }
            if now >= limit {
                break;
            }
        }
        link.decided = now;
        Ok(now)
    }

    /// A dial got through: say Hello.
    pub(crate) fn dialled(&mut self, epoch: Epoch, transport: Transport, shared: &mut Shared) {
        let device = self.device;
        if !self.runs(epoch) {
            return;
        }
        let reached = shared.reaches(device, transport);
        let hello = Hello {
            uid: self.uid,
            lineage: self.disk.outbox.lineage,
            secret: self.disk.outbox.secret,
            applied: self
                .disk
                .in_force()
                .map(|current| (current.generation, current.digest)),
        };
        let killed = self.step();
        let Some(agent) = &mut self.agent else { return };
        if !matches!(agent.link.state, State::Dialling) {
            return;
        }
        if reached && killed.is_ok() {
            let wire = shared.connect(device, transport);
            shared.note(device, "hello", wire, hello.lineage);
            let timeout = match transport {
                Transport::Quic => edge_core::link::QUIC_DIAL_MS,
                Transport::WebSocket => edge_core::link::WEBSOCKET_DIAL_MS,
            };
            shared
                .queue
                .at(shared.now + timeout, Event::DeviceNotices(wire));
            shared.send_up(wire, Up::Hello(hello));
            agent.link.state = State::Greeted { wire, transport };
        } else {
            agent.link.state = State::Idle;
            agent.link.decided = shared.now;
            let random = shared.random.bits();
            agent.link.dialler.failed(transport, shared.now, random);
        }
        self.after(killed, shared);
    }

    /// The connection is found dead, or the cloud did not answer Hello in time.
    pub(crate) fn notices(&mut self, wire: WireId, shared: &mut Shared) {
        let dead = shared
            .wires
            .get(&wire)
            .is_none_or(|wire| wire.cut || !wire.cloud_open);
        let Some(agent) = &mut self.agent else { return };
        match &agent.link.state {
            State::Greeted {
                wire: own,
                transport,
            } if *own == wire => {
                let transport = *transport;
                agent.link.state = State::Idle;
                agent.link.decided = shared.now;
                let random = shared.random.bits();
                agent.link.dialler.failed(transport, shared.now, random);
            }
            State::Live {
                wire: own,
                in_flight,
                ..
            } if *own == wire && dead => {
                let how = match in_flight.is_empty() {
                    true => Ended::Lost,
                    false => Ended::Silent,
                };
                agent.link.ended(how, shared);
            }
            State::Idle | State::Dialling | State::Greeted { .. } | State::Live { .. } => return,
        }
        shared.note(self.device, "the session is lost", wire, 0);
        shared.device_closes(wire);
        self.after(Ok(()), shared);
    }

    /// A message of the cloud arrives.
    pub(crate) fn receives(&mut self, wire: WireId, message: Down, shared: &mut Shared) {
        let own = self.agent.as_ref().and_then(|agent| agent.link.wire());
        if own != Some(wire) {
            return;
        }
        let done = match message {
            Down::Welcome { secret, watermarks } => self.welcome(wire, secret, &watermarks, shared),
            Down::Ack(acks) => self.acks(&acks, shared),
            Down::Desired(document) => self.offered(&document, shared),
            Down::Fenced(fence) => {
                self.fenced(wire, fence, shared);
                Ok(())
            }
        };
        self.after(done, shared);
    }

    fn welcome(
        &mut self,
        wire: WireId,
        secret: [u8; SECRET_BYTES],
        watermarks: &[(Stream, u64)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let Some(State::Greeted { transport, .. }) =
            self.agent.as_ref().map(|agent| &agent.link.state)
        else {
            return Ok(());
        };
        let transport = *transport;
        self.fenced = None;
        self.welcomes += 1;
        self.welcomed(secret, transport, watermarks, shared)?;
        let mut through = watermarks.iter().map(|(_, through)| *through);
        let (events, windows) = (through.next(), through.next_back());
        shared.note(
            self.device,
            "welcomed with watermarks",
            events.unwrap_or(0),
            windows.unwrap_or(0),
        );
        self.step()?;
        if let Some(agent) = &mut self.agent {
            agent.link.dialler.welcomed(transport, shared.now);
            agent.link.state = State::Live {
                wire,
                in_flight: VecDeque::new(),
                told: None,
            };
            let up = shared.now - agent.started;
            agent.models.hurry(up);
        }
        self.reconcile(shared)
    }

    fn acks(&mut self, acks: &[(Stream, u64)], shared: &mut Shared) -> Result<(), Killed> {
        for (stream, through) in acks {
            if let Some(agent) = &mut self.agent
                && let State::Live { in_flight, .. } = &mut agent.link.state
            {
                in_flight.retain(|sent| sent.stream != *stream || sent.last > *through);
            }
            self.acknowledged(*stream, *through, shared)?;
        }
        Ok(())
    }

    fn fenced(&mut self, wire: WireId, fence: Fence, shared: &mut Shared) {
        let how = match fence {
            Fence::Superseded => Ended::Superseded,
            Fence::Revoked | Fence::Cloned => Ended::Refused,
            Fence::Protocol => Ended::Lost,
        };
        shared.note(self.device, "fenced", fence as u64, 0);
        let contested = shared.books.facts(self.disk.outbox.lineage).contested;
        if fence == Fence::Cloned && !contested {
            let text = "fenced as a copy, but there is none".to_owned();
            shared.fail(Some(self.device), text);
        }
        self.fenced = Some(fence);
        if let Some(agent) = &mut self.agent {
            agent.link.ended(how, shared);
        }
        shared.device_closes(wire);
    }
}
