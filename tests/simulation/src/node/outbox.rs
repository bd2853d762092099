//! The outbox of a device: edge-core's ledger over rows that survive the agent.
//!
//! In the order of the real store: decide, write all changes of a decision at once, take them over,
//! then note the highest number beside them.

use fleet_core::ingest::secret::SECRET_BYTES;
use std::collections::BTreeMap;

use edge_core::link::Transport;
use edge_core::outbox::{Change, Content, Cursor, Entry, GapReason, Head, Ledger, Room, Stream};

use super::models::add;
use super::{Killed, Machine};
use crate::books::{Cause, Committed, Counts, Unsaid};
use crate::event::{Body, LineageId, Outgoing, Payload};
use crate::seam::Bug;
use crate::shared::Shared;

/// Appends that share one write, as in the real store.
const GROUP_MAX: usize = 64;

/// What the outbox has on disk.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Which store it is.
    pub lineage: LineageId,
    /// From the last Welcome.
    pub secret: Option<[u8; SECRET_BYTES]>,
    /// The transport of the last session.
    pub worked: Option<Transport>,
    /// How far each stream is.
    pub heads: BTreeMap<Stream, Head>,
    /// Entries, with what stands behind a record.
    pub entries: BTreeMap<(Stream, u64), (Entry, Option<Payload>)>,
    /// The highest number confirmed, in a file of its own.
    pub mark: BTreeMap<Stream, u64>,
}

impl Rows {
    /// An empty store.
    #[must_use]
    pub(crate) fn fresh(lineage: LineageId) -> Self {
        Self {
            lineage,
            secret: None,
            worked: None,
            heads: BTreeMap::new(),
            entries: BTreeMap::new(),
            mark: BTreeMap::new(),
        }
    }

    /// The store that takes the place of an unreadable one: its first number says so.
    #[must_use]
    pub(crate) fn after_quarantine(lineage: LineageId) -> Self {
        let mut rows = Self::fresh(lineage);
        for stream in Stream::ALL {
            let entry = Entry {
                last: 1,
                content: Content::Gap(GapReason::Quarantined),
            };
            rows.entries.insert((stream, 1), (entry, None));
            let head = Head {
                next: 2,
                ..Head::default()
            };
            rows.heads.insert(stream, head);
        }
        rows
    }

    fn write(&mut self, change: &Change, fresh: &[(Stream, u64, Payload)]) {
        match *change {
            Change::Put {
                stream,
                first,
                entry,
            } => {
                let new = fresh
                    .iter()
                    .find(|(of, sequence, _)| *of == stream && *sequence == first);
                let payload = match entry.content {
                    Content::Record { .. } => new.map(|(.., payload)| *payload),
                    Content::Gap(_) => None,
                };
                self.entries.insert((stream, first), (entry, payload));
            }
            Change::Drop { stream, first } => {
                self.entries.remove(&(stream, first));
            }
            Change::Move {
                stream,
                from,
                first,
                entry,
            } => {
                let payload = self.entries.remove(&(stream, from)).and_then(|row| row.1);
                self.entries.insert((stream, first), (entry, payload));
            }
            Change::Head { stream, head } => {
                self.heads.insert(stream, head);
            }
        }
    }
}

/// The outbox in memory.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The index.
    pub ledger: Ledger,
    /// How far the session has sent.
    pub cursor: Cursor,
}

impl Outbox {
    /// Reads the store and declares what is missing in it.
    pub(super) fn open(machine: &mut Machine, shared: &mut Shared) -> Self {
        let quota = shared.scenario.quotas[machine.device];
        let rows = &mut machine.disk.outbox;
        let mut heads = rows.heads.clone();
        for (stream, next) in &rows.mark {
            let head = heads.entry(*stream).or_insert(Head::lost(*next));
            head.next = head.next.max(*next);
        }
        let stored = rows
            .entries
            .iter()
            .map(|((stream, first), (entry, _))| (*stream, *first, *entry));
        let (ledger, repairs) = Ledger::load(quota, &heads, stored);
        for change in &repairs {
            rows.write(change, &[]);
        }
        let cursor = ledger.cursor();
        Self { ledger, cursor }
    }
}

impl Machine {
    /// Makes a decision durable and takes it over.
    fn commit(
        &mut self,
        changes: &[Change],
        fresh: &[(Stream, u64, Payload)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        if changes.is_empty() {
            return Ok(());
        }
        self.step()?;
        for change in changes {
            self.track(change, shared);
            self.disk.outbox.write(change, fresh);
        }
        self.step()?;
        if let Some(agent) = &mut self.agent {
            for change in changes {
                agent.outbox.ledger.apply(change);
            }
        }
        Ok(())
    }

    /// Keeps the books of records that get another number.
    fn track(&self, change: &Change, shared: &mut Shared) {
        if let Change::Move {
            stream,
            from,
            first,
            ..
        } = *change
            && let Some((_, Some(payload))) = self.disk.outbox.entries.get(&(stream, from))
        {
            for record in payload.first..=payload.last {
                let sequence = first + (record - payload.first);
                shared
                    .books
                    .renumbered(payload.device, stream, record, sequence);
            }
        }
    }

    /// Appends records of one stream, each with its length and what it counts.
    pub(super) fn append(
        &mut self,
        stream: Stream,
        records: &[(u64, Counts)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let before = shared.books.next(self.device, stream);
        let done = self.append_groups(stream, records, shared);
        let durable = shared.books.next(self.device, stream) - before;
        for (_, counts) in records.iter().skip(usize::try_from(durable).unwrap_or(0)) {
            add(&mut shared.books.unwritten, counts);
        }
        done
    }

    fn append_groups(
        &mut self,
        stream: Stream,
        records: &[(u64, Counts)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        for group in records.chunks(GROUP_MAX) {
            let Some(agent) = &self.agent else {
                return Ok(());
            };
            let lengths: Vec<_> = group.iter().map(|(bytes, _)| (stream, *bytes)).collect();
            let appended = agent.outbox.ledger.append(&lengths);
            let used = agent.outbox.ledger.used_bytes();
            self.check_eviction(&appended.changes, used, &lengths, shared);
            let mut changes = appended.changes;
            if self.has(shared, Bug::GapNotDeclared) {
                changes.retain(|change| !is_gap(change));
            }
            let next = shared.books.next(self.device, stream);
            let fresh: Vec<_> = (next..)
                .zip(&appended.sequences)
                .map(|(record, sequence)| {
                    let payload = Payload {
                        device: self.device,
                        first: record,
                        last: record,
                    };
                    (stream, *sequence, payload)
                })
                .collect();
            self.step()?;
            for ((_, counts), sequence) in group.iter().zip(&appended.sequences) {
                let record = Committed {
                    lineage: self.disk.outbox.lineage,
                    sequence: *sequence,
                    counts: *counts,
                    unsaid: Unsaid::No,
                };
                shared.books.committed(self.device, stream, record);
            }
            // Durable from here on: a kill between the books and the rows is none the scenario knows.
            for change in &changes {
                self.disk.outbox.write(change, &fresh);
            }
            let (first, last) = (appended.sequences.first(), appended.sequences.last());
            shared.note(
                self.device,
                if stream == Stream::Events {
                    "events committed"
                } else {
                    "windows committed"
                },
                first.copied().unwrap_or(0),
                last.copied().unwrap_or(0),
            );
            self.step()?;
            if let Some(agent) = &mut self.agent {
                for change in &changes {
                    agent.outbox.ledger.apply(change);
                }
                let next = agent.outbox.ledger.head(stream).next;
                self.step()?;
                self.disk.outbox.mark.insert(stream, next);
            }
        }
        Ok(())
    }

    /// What is given up must have been in the way.
    fn check_eviction(
        &self,
        changes: &[Change],
        used: u64,
        lengths: &[(Stream, u64)],
        shared: &mut Shared,
    ) {
        if !changes.iter().any(is_gap) {
            return;
        }
        let quota = shared.scenario.quotas[self.device];
        let overhead = edge_core::outbox::ENTRY_OVERHEAD_BYTES;
        let incoming: u64 = lengths.iter().map(|(_, bytes)| bytes + overhead).sum();
        shared.books.cause(self.device, Cause::Quota);
        if used + incoming <= quota {
            let text = format!(
                "records were evicted from an outbox with room: {used} + {incoming} of {quota}"
            );
            shared.fail(Some(self.device), text);
        }
    }

    /// Takes over what a Welcome said. Persisted before anything else is sent.
    pub(super) fn welcomed(
        &mut self,
        secret: [u8; SECRET_BYTES],
        transport: Transport,
        watermarks: &[(Stream, u64)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let mut changes = Vec::new();
        for (stream, through) in watermarks {
            changes.extend(agent.outbox.ledger.welcome(*stream, *through));
        }
        if self.has(shared, Bug::GapNotDeclared) {
            changes.retain(|change| !is_gap(change));
        }
        self.step()?;
        self.disk.outbox.secret = Some(secret);
        self.disk.outbox.worked = Some(transport);
        for change in &changes {
            self.track(change, shared);
            self.disk.outbox.write(change, &[]);
        }
        self.step()?;
        if let Some(agent) = &mut self.agent {
            for change in &changes {
                agent.outbox.ledger.apply(change);
            }
            agent.outbox.cursor = agent.outbox.ledger.cursor();
            let heads = Stream::ALL.map(|stream| (stream, agent.outbox.ledger.head(stream).next));
            self.step()?;
            self.disk.outbox.mark.extend(heads);
        }
        Ok(())
    }

    /// What to send next; that it was offered is durable when this returns.
    pub(super) fn offer(
        &mut self,
        room: Room,
        shared: &mut Shared,
    ) -> Result<Vec<Outgoing>, Killed> {
        let Some(agent) = &self.agent else {
            return Ok(Vec::new());
        };
        let (offers, changes, cursor) = agent.outbox.ledger.offer(&agent.outbox.cursor, room);
        if self.has(shared, Bug::OfferedNotPersisted) {
            if let Some(agent) = &mut self.agent {
                changes
                    .iter()
                    .for_each(|change| agent.outbox.ledger.apply(change));
            }
        } else {
            self.commit(&changes, &[], shared)?;
        }
        let mut outgoing = Vec::with_capacity(offers.len());
        for offer in offers {
            let row = self.disk.outbox.entries.get(&(offer.stream, offer.key));
            let body = match (offer.content, row) {
                (Content::Gap(reason), _) => Body::Gap(reason),
                (Content::Record { .. }, Some((_, Some(payload)))) => Body::Record(*payload),
                (Content::Record { .. }, _) => {
                    let text = format!(
                        "the ledger offers a record at {} that the store has not",
                        offer.key
                    );
                    shared.fail(Some(self.device), text);
                    continue;
                }
            };
            outgoing.push(Outgoing {
                stream: offer.stream,
                first: offer.first,
                last: offer.last,
                body,
            });
        }
        if let Some(agent) = &mut self.agent {
            agent.outbox.cursor = cursor;
        }
        Ok(outgoing)
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledged(
        &mut self,
        stream: Stream,
        through: u64,
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        match agent.outbox.ledger.acknowledge(stream, through) {
            Ok(changes) => self.commit(&changes, &[], shared),
            Err(error) => {
                shared.fail(Some(self.device), error.to_string());
                Ok(())
            }
        }
    }
}

fn is_gap(change: &Change) -> bool {
    matches!(
        change,
        Change::Put {
            entry: Entry {
                content: Content::Gap(_),
                ..
            },
            ..
        }
    )
}
