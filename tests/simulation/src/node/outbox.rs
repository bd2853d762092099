//! The outbox of a device: edge-core's ledger over rows that survive the agent.
//!
//! In the order of the real store: decide, write all changes of a decision at once, take them over,
//! then note the highest number beside them.

mod room;
mod rows;

use fleet_core::ingest::secret::SECRET_BYTES;

use edge_core::link::Transport;
use edge_core::outbox::{
    Change, Content, Cursor, ENTRY_OVERHEAD_BYTES, Entry, Ledger, Offer, Room, Stream,
};

use rows::Mark;
pub(crate) use rows::{Read, Rows};

use super::models::add;
use super::{Killed, Machine};
use crate::books::{Committed, Counts, Unsaid};
use crate::event::{Body, Outgoing, Payload};
use crate::seam::Bug;
use crate::shared::Shared;

/// Appends that share one write, as in the real store.
const GROUP_MAX: usize = 64;

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
        let ledger = machine.disk.outbox.load(quota);
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
        self.write(changes, fresh, shared);
        self.step()?;
        self.take_over(changes);
        Ok(())
    }

    fn write(&mut self, changes: &[Change], fresh: &[(Stream, u64, Payload)], shared: &mut Shared) {
        self.track(changes, shared);
        let ledger = self.agent.as_ref().map(|agent| &agent.outbox.ledger);
        self.disk.outbox.write(ledger, changes, fresh);
    }

    fn take_over(&mut self, changes: &[Change]) {
        if let Some(agent) = &mut self.agent {
            for change in changes {
                agent.outbox.ledger.apply(change);
            }
        }
    }

    /// Notes beside the store how far it is.
    fn write_mark(&mut self) -> Result<(), Killed> {
        self.step()?;
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let marks = Stream::ALL.map(|stream| {
            let head = agent.outbox.ledger.head(stream);
            let mark = Mark {
                next: head.next,
                offered_up_to: head.offered_up_to,
            };
            (stream, mark)
        });
        self.disk.outbox.mark.extend(marks);
        Ok(())
    }

    /// `changes`, or what a store would write of them that declares nothing.
    fn declared(&self, mut changes: Vec<Change>, shared: &Shared) -> Vec<Change> {
        if self.has(shared, Bug::GapNotDeclared) {
            changes.retain(|change| !is_gap(change));
        }
        changes
    }

    /// Keeps the books of records that get another number.
    fn track(&self, changes: &[Change], shared: &mut Shared) {
        let Some(agent) = &self.agent else { return };
        for change in changes {
            let Change::Move {
                stream,
                from,
                first: moved,
                ..
            } = *change
            else {
                continue;
            };
            let mut old = agent.outbox.ledger.entries(stream);
            let holds = |(first, entry): &(u64, &Entry)| (*first..=entry.last).contains(&from);
            if let Some((_, entry)) = old.find(holds) {
                let lineage = self.disk.outbox.lineage;
                let numbers = (lineage, from, entry.last);
                shared.books.renumbered(self.device, stream, numbers, moved);
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
            let lengths: Vec<_> = group.iter().map(|(bytes, _)| (stream, *bytes)).collect();
            let incoming = lengths
                .iter()
                .map(|(_, bytes)| bytes + ENTRY_OVERHEAD_BYTES);
            self.make_room(incoming.sum(), shared)?;
            let Some(agent) = &self.agent else {
                return Ok(());
            };
            let appended = agent.outbox.ledger.append(&lengths);
            let changes = &appended.changes;
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
            self.write(changes, &fresh, shared);
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
            self.take_over(changes);
            self.write_mark()?;
            self.seal(shared)?;
        }
        Ok(())
    }

    /// Takes over what a Welcome said. Persisted before anything else is sent.
    pub(super) fn welcomed(
        &mut self,
        secret: [u8; SECRET_BYTES],
        transport: Transport,
        watermarks: &[(Stream, u64)],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        // One after the other: each decision on a loss builds on the totals that the one before left.
        for (stream, through) in watermarks {
            let Some(agent) = &self.agent else {
                return Ok(());
            };
            let changes = agent.outbox.ledger.welcome(*stream, *through);
            let changes = self.declared(changes, shared);
            self.commit(&changes, &[], shared)?;
        }
        self.step()?;
        self.disk.outbox.secret = Some(secret);
        self.disk.outbox.worked = Some(transport);
        self.step()?;
        if let Some(agent) = &mut self.agent {
            agent.outbox.cursor = agent.outbox.ledger.cursor();
        }
        self.write_mark()
    }

    /// What to send next, each with its length; that it was offered is durable when this returns.
    pub(super) fn offer(
        &mut self,
        room: Room,
        shared: &mut Shared,
    ) -> Result<Vec<(Outgoing, u64)>, Killed> {
        self.open_blocks(shared)?;
        let Some(agent) = &self.agent else {
            return Ok(Vec::new());
        };
        let (offers, changes, cursor) = agent.outbox.ledger.offer(&agent.outbox.cursor, room);
        let mut outgoing = Vec::with_capacity(offers.len());
        for offer in offers {
            outgoing.extend(self.outgoing(offer, shared));
        }
        if self.has(shared, Bug::OfferedNotPersisted) {
            self.take_over(&changes);
        } else if !changes.is_empty() {
            self.commit(&changes, &[], shared)?;
            self.write_mark()?;
        }
        if let Some(agent) = &mut self.agent {
            agent.outbox.cursor = cursor;
        }
        Ok(outgoing)
    }

    /// Takes the next block apart; only what cannot be read of it is written.
    fn open_blocks(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        while let Some(agent) = &self.agent
            && let Some((stream, first)) = agent.outbox.ledger.to_open(&agent.outbox.cursor)
        {
            let entry = agent.outbox.ledger.entries_between(stream, first, first);
            let Some(Content::Block(block)) = entry.map(|(_, entry)| entry.content).next() else {
                let text = format!("the ledger wants {stream} {first} opened, which is no block");
                shared.fail(Some(self.device), text);
                return Ok(());
            };
            let pieces = self.disk.outbox.pieces(block.id, first);
            let changes = agent.outbox.ledger.open(stream, first, &pieces);
            if pieces.len() == block.records as usize {
                self.take_over(&changes);
            } else {
                let declared = self.declared(changes, shared);
                self.commit(&declared, &[], shared)?;
            }
        }
        Ok(())
    }

    fn outgoing(&self, offer: Offer, shared: &mut Shared) -> Option<(Outgoing, u64)> {
        let entry = Entry {
            last: offer.last,
            content: offer.content,
        };
        let (body, bytes) = match offer.content {
            Content::Gap(reason) => (Body::Gap(reason), 0),
            Content::Record { .. } | Content::Piece { .. } | Content::Block(_) => {
                let behind = self.disk.outbox.behind(offer.stream, offer.key, entry);
                match behind[..] {
                    [standing] => (Body::Record(standing.payload), standing.bytes),
                    _ => {
                        let text = format!(
                            "the ledger offers {:?} at {}, which the store has not",
                            offer.content, offer.key
                        );
                        shared.fail(Some(self.device), text);
                        return None;
                    }
                }
            }
        };
        let outgoing = Outgoing {
            stream: offer.stream,
            first: offer.first,
            last: offer.last,
            body,
        };
        Some((outgoing, bytes))
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
