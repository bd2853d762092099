//! Sessions: who is let in, and which of its reports count.

use edge_core::outbox::Stream;
use fleet_core::fleet::{Liveness, Memory, Phase, Report, Transport};
use fleet_core::ingest::secret::{self, Outbox, Presented, Remembered, SECRET_BYTES};
use fleet_core::ingest::sequence::{self, Misplaced, Place};
use millwright_proto::ids::{Generation, NodeUid};

use super::{Cloud, Crashed, Live, SessionRow, unix};
use crate::event::{Body, Down, Fence, Hello, LineageId, Outgoing, Up, WireId};
use crate::seam::Bug;
use crate::shared::Shared;

impl Cloud {
    /// A message arrives.
    pub(crate) fn receives(&mut self, wire: WireId, message: Up, shared: &mut Shared) {
        if !self.running {
            return;
        }
        let done = match message {
            Up::Hello(hello) => self.hello(wire, &hello, shared),
            Up::Reports(reports) => self.reports(wire, &reports, shared),
            Up::Applied(report) => self.applied(wire, report, shared),
        };
        if let Err(Crashed) = done {
            self.crash(shared);
        }
    }

    fn fence(&mut self, wire: WireId, fence: Fence, shared: &mut Shared) {
        self.sessions.remove(&wire);
        shared.note_cloud("fences", wire, fence as u64);
        shared.send_down(wire, Down::Fenced(fence));
        shared.cloud_closes(wire);
    }

    /// Whether the outbox of this lineage was met before.
    fn outbox(&self, uid: NodeUid, lineage: LineageId) -> Outbox {
        let row = self.store.sessions.get(&uid);
        let counted = |stream| self.store.watermarks.contains_key(&(uid, lineage, stream));
        match row.is_some_and(|row| row.lineage == lineage) || Stream::ALL.into_iter().any(counted)
        {
            true => Outbox::Known,
            false => Outbox::New,
        }
    }

    /// Notes what a Hello says of its node.
    fn connected(&mut self, wire: WireId, uid: NodeUid, hello: &Hello, shared: &Shared) {
        let transport = match shared.wires.get(&wire).map(|wire| wire.transport) {
            Some(edge_core::link::Transport::WebSocket) => Transport::WebSocket,
            Some(edge_core::link::Transport::Quic) | None => Transport::Quic,
        };
        if let Some(node) = self.node_mut(uid) {
            node.liveness = Liveness::Connected {
                transport,
                last_seen_ms: unix(shared.now),
            };
            node.memory = Memory::Whole;
            // What it said of its slots is kept while it works on the same generation.
            if node.report.applied != hello.applied {
                node.report = Report {
                    applied: hello.applied,
                    ..Report::default()
                };
            }
        }
    }

    fn hello(&mut self, wire: WireId, hello: &Hello, shared: &mut Shared) -> Result<(), Crashed> {
        let uid = hello.uid;
        let phase = self.node_mut(uid).map(|node| node.phase);
        match phase {
            Some(Phase::Enrolled) => {}
            Some(Phase::Revoked | Phase::Decommissioned) | None => {
                self.fence(wire, Fence::Revoked, shared);
                return Ok(());
            }
        }
        let row = self.store.sessions.get(&uid);
        let lineage = hello.lineage;
        let outbox = self.outbox(uid, lineage);
        let presented = hello.secret.map(Vec::from).unwrap_or_default();
        let remembered = row.map(|row| Remembered {
            given: row.secret_current.as_deref(),
            previous: row.secret_previous.as_deref(),
        });
        let verdict = match shared.bug == Bug::SecretUnchecked {
            true => Presented::Accepted,
            false => secret::judge(remembered, &presented, outbox),
        };
        match verdict {
            Presented::Accepted | Presented::StateLost => {}
            Presented::Cloned => {
                self.fence(wire, Fence::Cloned, shared);
                return Ok(());
            }
        }
        let term = row.map_or(1, |row| row.term + 1);
        let mut fresh = [0; SECRET_BYTES];
        fresh[..8].copy_from_slice(&shared.random.bits().to_be_bytes());
        let given = secret::given(remembered, &presented, &fresh);
        self.step()?;
        self.store.sessions.insert(
            uid,
            SessionRow {
                term,
                secret_current: Some(given),
                secret_previous: Some(presented),
                lineage,
            },
        );
        self.connected(wire, uid, hello, shared);
        self.step()?;
        shared.note_cloud("welcomes", wire, term);
        let through = |stream| self.store.watermarks.get(&(uid, lineage, stream));
        let watermarks = Stream::ALL.map(|stream| (stream, through(stream).copied().unwrap_or(0)));
        let welcome = Down::Welcome {
            secret: fresh,
            watermarks: watermarks.to_vec(),
        };
        shared.send_down(wire, welcome);
        let applied = hello.applied.map_or(Generation::NONE, |applied| applied.0);
        self.enter(
            wire,
            Live {
                uid,
                term,
                lineage,
                known: applied,
            },
            shared,
        );
        Ok(())
    }

    /// A session lives; the one before it is told to end.
    fn enter(&mut self, wire: WireId, live: Live, shared: &mut Shared) {
        let older: Vec<WireId> = self
            .sessions
            .iter()
            .filter(|(_, other)| other.uid == live.uid)
            .map(|(wire, _)| *wire)
            .collect();
        for older in older {
            self.fence(older, Fence::Superseded, shared);
        }
        self.sessions.insert(wire, live);
        self.send_desired(wire, shared);
        self.wake_planner(shared);
    }

    /// The session of a wire, while it is the node's newest and the node may have one.
    fn session(&mut self, wire: WireId, shared: &mut Shared) -> Option<Live> {
        let live = *self.sessions.get(&wire)?;
        let enrolled = self
            .node_mut(live.uid)
            .is_some_and(|node| node.phase == Phase::Enrolled);
        if !enrolled {
            self.fence(wire, Fence::Revoked, shared);
            return None;
        }
        if self.store.sessions.get(&live.uid).map(|row| row.term) != Some(live.term) {
            self.fence(wire, Fence::Superseded, shared);
            return None;
        }
        Some(live)
    }

    fn reports(
        &mut self,
        wire: WireId,
        reports: &[Outgoing],
        shared: &mut Shared,
    ) -> Result<(), Crashed> {
        let Some(live) = self.session(wire, shared) else {
            return Ok(());
        };
        let mut batch = Batch::new(live);
        let mut broken = None;
        for report in reports {
            if let Err(misplaced) = batch.place(self, report, shared.bug) {
                broken = Some(misplaced);
                break;
            }
        }
        let acks = batch.acks();
        if shared.bug == Bug::WatermarkBeforeCommit {
            batch.move_watermarks(self);
        }
        if shared.bug == Bug::AckBeforeCommit {
            shared.send_down(wire, Down::Ack(acks.clone()));
        }
        self.step()?;
        batch.commit(self, shared);
        self.step()?;
        if shared.bug != Bug::AckBeforeCommit {
            shared.send_down(wire, Down::Ack(acks));
        }
        if let Some(misplaced) = broken {
            self.check_violation(live, misplaced, shared);
            self.fence(wire, Fence::Protocol, shared);
        }
        Ok(())
    }

    /// Nothing a device sends may break the protocol, unless two devices answer to one name.
    fn check_violation(&self, live: Live, misplaced: Misplaced, shared: &mut Shared) {
        if !shared.books.facts(live.lineage).contested {
            let device = shared.device_of(live.uid);
            shared.fail(device, format!("the cloud refuses a report: {misplaced}"));
        }
    }

    fn applied(
        &mut self,
        wire: WireId,
        report: Report,
        shared: &mut Shared,
    ) -> Result<(), Crashed> {
        let Some(live) = self.session(wire, shared) else {
            return Ok(());
        };
        self.step()?;
        if let Some(node) = self.node_mut(live.uid) {
            node.report = report;
        }
        self.step()?;
        self.wake_planner(shared);
        Ok(())
    }

    /// Ends every session of a node.
    pub(super) fn end_sessions(&mut self, uid: NodeUid, shared: &mut Shared) {
        let concerned: Vec<WireId> = self
            .sessions
            .iter()
            .filter(|(_, live)| live.uid == uid)
            .map(|(wire, _)| *wire)
            .collect();
        for wire in concerned {
            self.fence(wire, Fence::Revoked, shared);
        }
        self.silent(uid, shared);
    }
}

/// One batch on its way into a transaction.
struct Batch {
    live: Live,
    through: Vec<(Stream, u64)>,
    counted: Vec<(u64, Outgoing)>,
}

impl Batch {
    fn new(live: Live) -> Self {
        Self {
            live,
            through: Vec::new(),
            counted: Vec::new(),
        }
    }

    fn key(&self, stream: Stream) -> super::StreamKey {
        (self.live.uid, self.live.lineage, stream)
    }

    fn place(&mut self, cloud: &Cloud, report: &Outgoing, bug: Bug) -> Result<(), Misplaced> {
        let stored = || {
            cloud
                .store
                .watermarks
                .get(&self.key(report.stream))
                .copied()
        };
        let touched = self
            .through
            .iter()
            .find(|(stream, _)| *stream == report.stream);
        let through = touched
            .map(|(_, through)| *through)
            .or_else(stored)
            .unwrap_or(0);
        let place = match report.body {
            Body::Record(_) => sequence::place_record(through, report.first, report.last)?,
            Body::Gap(_) => sequence::place_gap(through, report.first, report.last)?,
        };
        let moved = match place {
            Place::Next(first) => {
                self.counted.push((first, *report));
                report.last
            }
            Place::Counted => {
                if bug == Bug::DuplicateCounted {
                    self.counted.push((report.first, *report));
                }
                through
            }
        };
        match self
            .through
            .iter_mut()
            .find(|(stream, _)| *stream == report.stream)
        {
            Some(entry) => entry.1 = moved,
            None => self.through.push((report.stream, moved)),
        }
        Ok(())
    }

    fn acks(&self) -> Vec<(Stream, u64)> {
        self.through.clone()
    }

    fn move_watermarks(&self, cloud: &mut Cloud) {
        for (stream, through) in &self.through {
            cloud.store.watermarks.insert(self.key(*stream), *through);
        }
    }

    /// Counts everything, and checks that nothing is counted twice and no watermark goes back.
    fn commit(self, cloud: &mut Cloud, shared: &mut Shared) {
        let device = shared.device_of(self.live.uid);
        for (stream, through) in &self.through {
            let before = cloud.store.watermarks.insert(self.key(*stream), *through);
            if before.is_some_and(|before| before > *through) {
                let text =
                    format!("the watermark of {stream} goes back from {before:?} to {through}");
                shared.fail(device, text);
            }
        }
        let (first, last) = (self.counted.first(), self.counted.last());
        if let (Some((first, _)), Some((_, last))) = (first, last) {
            shared
                .trace
                .note(shared.now, device, "the cloud counts", *first, last.last);
        }
        for (first, report) in &self.counted {
            let key = self.key(report.stream);
            // What waited on a disk when it was copied is sent by both, until one is found out.
            let contested = shared.books.facts(self.live.lineage).contested;
            if let Err(record) = cloud.counted.count(key, *first, report)
                && !contested
            {
                let text = format!("record {record} of {} is counted twice", report.stream);
                shared.fail(device, text);
            }
        }
    }
}
