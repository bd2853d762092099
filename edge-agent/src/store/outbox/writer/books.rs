//! An open outbox: the ledger in memory, the rows and the blocks on disk, moved together.
//!
//! [`commit`] makes changes durable and takes them over, [`room`] seals, merges and gives up, [`payload`] finds what a
//! record holds.

mod commit;
mod opening;
mod payload;
mod room;

use bytes::Bytes;
use edge_core::link::Transport;
use edge_core::outbox::{
    Backlog, Content, Cursor, ENTRY_OVERHEAD_BYTES, GapReason, Ledger, Room, Stream, Wear,
};
use millwright_proto::ids::Lineage;

use crate::store::StoreError;
use crate::store::database::{Database, Purpose};
use crate::store::mark::Mark;
use crate::store::outbox::blocks::{Blocks, Loaded};
use crate::store::outbox::{Greeting, OutboxLimits, OutboxStats, Outgoing, OutgoingBody};
use crate::store::schema::{Identity, Key};

/// See the module.
pub(super) struct Books {
    database: Database,
    blocks: Blocks,
    /// The block that was read last: a backlog is drained record by record.
    loaded: Option<Loaded>,
    ledger: Ledger,
    identity: Identity,
    mark: Mark,
    wear: Wear,
    limits: OutboxLimits,
    /// sled's files are copied afresh when they take this much.
    rotate_at_bytes: u64,
}

impl Books {
    pub(super) fn lineage(&self) -> Lineage {
        self.identity.lineage
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.ledger.backlog()
    }

    pub(super) fn wear(&self) -> Wear {
        self.wear.on(unix_ms())
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.ledger.cursor()
    }

    pub(super) fn greeting(&self) -> Greeting {
        let stream = |stream| (stream, self.ledger.oldest(stream), self.ledger.head(stream));
        Greeting {
            lineage: self.identity.lineage,
            secret: self.identity.secret.clone(),
            worked: self.identity.worked,
            streams: Stream::ALL.into_iter().map(stream).collect(),
        }
    }

    /// See [`OutboxStats`].
    pub(super) fn stats(&mut self) -> Result<OutboxStats, StoreError> {
        let tally = self.ledger.tally();
        let losses = GapReason::ALL
            .into_iter()
            .map(|reason| (reason, tally.lost_for(reason)))
            .filter(|(_, numbers)| *numbers > 0);
        Ok(OutboxStats {
            backlog: self.ledger.backlog(),
            oldest_unix_ms: self.oldest_unix_ms()?,
            losses: losses.collect(),
            merged_windows: tally.merged,
            used_bytes: self.database.disk_bytes() + self.blocks.disk_bytes(),
            quota_bytes: self.limits.quota_bytes,
            written_today_bytes: self.wear().written_bytes,
            written_per_day_max_bytes: self.limits.written_per_day_max_bytes,
        })
    }

    /// `tried` is filled with the numbers that a failed commit may have left on disk.
    pub(super) fn append(
        &mut self,
        records: &[(Stream, Bytes)],
        tried: &mut Vec<(Stream, u64)>,
    ) -> Result<Vec<u64>, StoreError> {
        let sizes: Vec<_> = records
            .iter()
            .map(|(stream, payload)| (*stream, payload.len() as u64))
            .collect();
        let incoming_bytes = sizes
            .iter()
            .map(|(_, bytes)| bytes + ENTRY_OVERHEAD_BYTES)
            .sum();
        self.make_room(incoming_bytes)?;
        let appended = self.ledger.append(&sizes);
        let payloads: Vec<_> = records
            .iter()
            .zip(&appended.sequences)
            .map(|((stream, payload), sequence)| (*stream, *sequence, payload.clone()))
            .collect();
        tried.extend(
            payloads
                .iter()
                .map(|(stream, sequence, _)| (*stream, *sequence)),
        );
        self.commit(
            &appended.changes,
            &payloads,
            sled::Batch::default(),
            Purpose::Store,
        )?;
        self.write_mark();
        Ok(appended.sequences)
    }

    pub(super) fn welcomed(
        &mut self,
        transport: Transport,
        secret: Vec<u8>,
        watermarks: &[(Stream, u64)],
    ) -> Result<(), StoreError> {
        // One after the other: each decision on a loss builds on the totals that the one before left.
        for stream in Stream::ALL {
            let named = watermarks.iter().find(|(named, _)| *named == stream);
            let through = named.map_or(0, |(_, through)| *through);
            let changes = self.ledger.welcome(stream, through);
            self.commit(&changes, &[], sled::Batch::default(), Purpose::Store)?;
        }
        let identity = Identity {
            lineage: self.identity.lineage,
            secret,
            worked: Some(transport),
        };
        let mut batch = sled::Batch::default();
        batch.insert(Key::Greeting.encode(), identity.encode());
        self.commit(&[], &[], batch, Purpose::Store)?;
        self.identity = identity;
        self.write_mark();
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, stream: Stream, through: u64) -> Result<(), StoreError> {
        let changes = self.ledger.acknowledge(stream, through)?;
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(&changes, &[], sled::Batch::default(), Purpose::GiveBack)
    }

    /// What was offered is marked too: a store that forgot it would take what the cloud counted for
    /// numbers used twice, and send it again under new ones.
    pub(super) fn offer(
        &mut self,
        cursor: &Cursor,
        room: Room,
    ) -> Result<(Vec<Outgoing>, Cursor), StoreError> {
        while let Some((stream, first)) = self.ledger.to_open(cursor) {
            self.open_block(stream, first)?;
        }
        let (offers, changes, cursor) = self.ledger.offer(cursor, room);
        let mut outgoing = Vec::with_capacity(offers.len());
        for offer in offers {
            let body = match offer.content {
                Content::Gap(reason) => OutgoingBody::Gap(reason),
                content => match self.payload(offer.stream, offer.key, offer.last, content)? {
                    Some(payload) => OutgoingBody::Record(payload),
                    None => {
                        let damaged = self.ledger.damaged(offer.stream, offer.key);
                        self.commit(&damaged, &[], sled::Batch::default(), Purpose::Store)?;
                        OutgoingBody::Gap(GapReason::Corrupt)
                    }
                },
            };
            outgoing.push(Outgoing {
                stream: offer.stream,
                first: offer.first,
                last: offer.last,
                body,
            });
        }
        if !changes.is_empty() {
            self.commit(&changes, &[], sled::Batch::default(), Purpose::GiveBack)?;
            self.write_mark();
        }
        Ok((outgoing, cursor))
    }

    /// Makes the mark durable, at the end.
    pub(super) fn close(&mut self) {
        self.sync_mark();
    }
}

/// The day of the flash-wear budget needs a clock; nothing else here does.
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
