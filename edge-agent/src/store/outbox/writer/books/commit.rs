//! Making changes durable: rows, marks, what that writes, and when sled's files are copied afresh.

use bytes::Bytes;
use edge_core::outbox::{BlockId, Change, Content, Entry, Stream};

use super::{Books, unix_ms};
use crate::store::StoreError;
use crate::store::database::Purpose;
use crate::store::mark::Reached;
use crate::store::schema::{
    Key, Kind, Row, encode_block, encode_gap, encode_head, encode_tally, stream_code,
};

/// sled's files are left alone below this: the rows of unsealed records and of a thousand blocks fit several
/// times, so that copying them is rare.
pub(super) const ROTATE_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Part of `rotate_at_bytes` that the copy may take while both are there.
const ROTATE_SPARE_PART: u64 = 4;

/// What a batch costs beside its rows, and how often sled writes a row: to its log, and again whenever it joins the
/// pieces of a page. Fitted to what the kernel counts (`write_bytes` in `/proc/self/io`) for `millwright-soak` with
/// appends one by one and 32 at a time.
const COMMIT_BYTES: u64 = 5 * 4096;
const ROW_WRITES: u64 = 9;

/// What a row costs beside its value.
const ROW_BYTES: u64 = 32;

/// A batch and how much it holds.
struct Rows {
    batch: sled::Batch,
    bytes: u64,
}

impl Rows {
    fn insert(&mut self, key: Key, value: Vec<u8>) {
        self.bytes += value.len() as u64 + ROW_BYTES;
        self.batch.insert(key.encode(), value);
    }

    fn remove(&mut self, key: Key) {
        self.bytes += ROW_BYTES;
        self.batch.remove(key.encode());
    }
}

impl Books {
    /// Makes `changes` durable together with `batch`, then takes them over.
    pub(super) fn commit(
        &mut self,
        changes: &[Change],
        payloads: &[(Stream, u64, Bytes)],
        batch: sled::Batch,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        let emptied = self.write_changes(changes, payloads, batch, purpose)?;
        for change in changes {
            self.ledger.apply(change);
        }
        // Only now: a row that names a block needs its file.
        for id in emptied {
            self.blocks.remove(id);
            self.loaded.take_if(|loaded| loaded.id == id);
        }
        Ok(())
    }

    /// Makes `changes` durable; gives back the blocks that nothing needs any more.
    pub(super) fn write_changes(
        &mut self,
        changes: &[Change],
        payloads: &[(Stream, u64, Bytes)],
        batch: sled::Batch,
        purpose: Purpose,
    ) -> Result<Vec<BlockId>, StoreError> {
        let mut rows = Rows { batch, bytes: 0 };
        for change in changes {
            self.write(&mut rows, change, payloads)?;
        }
        let emptied = self.ledger.emptied(changes);
        for id in &emptied {
            rows.remove(Key::Block(*id));
        }
        self.database.commit(rows.batch, purpose)?;
        self.note_written(COMMIT_BYTES + ROW_WRITES * rows.bytes);
        Ok(emptied)
    }

    fn write(
        &mut self,
        rows: &mut Rows,
        change: &Change,
        payloads: &[(Stream, u64, Bytes)],
    ) -> Result<(), StoreError> {
        match *change {
            Change::Put {
                stream,
                first,
                entry,
            } => {
                let payload = payloads
                    .iter()
                    .find(|(of, sequence, _)| *of == stream && *sequence == first);
                let payload = payload.map_or(&[][..], |(.., payload)| payload);
                self.write_entry(rows, stream, first, entry, payload);
            }
            Change::Drop { stream, first } => rows.remove(Key::Entry(stream, first)),
            Change::Move {
                stream,
                from,
                first,
                entry,
            } => {
                let old = self.ledger.entries_between(stream, from, from).next();
                let old = old.map(|(_, entry)| *entry);
                let payload = match old {
                    Some(old) if matches!(entry.content, Content::Record { .. }) => {
                        self.payload(stream, from, old.last, old.content)?
                    }
                    Some(_) | None => Some(Bytes::new()),
                };
                let payload = payload.ok_or_else(|| StoreError::Damaged {
                    what: "record that was to be renumbered",
                    directory: self.database.directory().to_owned(),
                })?;
                rows.remove(Key::Entry(stream, from));
                self.write_entry(rows, stream, first, entry, &payload);
            }
            Change::Head { stream, head } => {
                let row = encode_head(self.identity.lineage, stream, head);
                rows.insert(Key::Head(stream), row);
            }
            Change::Tally(tally) => {
                rows.insert(Key::Tally, encode_tally(self.identity.lineage, tally));
            }
        }
        Ok(())
    }

    fn write_entry(
        &self,
        rows: &mut Rows,
        stream: Stream,
        first: u64,
        entry: Entry,
        payload: &[u8],
    ) {
        let lineage = self.identity.lineage;
        let last = entry.last;
        match entry.content {
            Content::Gap(reason) => {
                let row = encode_gap(lineage, stream, first, last, reason);
                rows.insert(Key::Entry(stream, first), row);
            }
            Content::Record { .. } => {
                let row = Row {
                    kind: Kind::Record,
                    stream: stream_code(stream),
                    lineage,
                    first,
                    last,
                    payload,
                };
                rows.insert(Key::Entry(stream, first), row.encode());
            }
            Content::Block(block) => {
                let row = encode_block(lineage, stream, (first, last), &block);
                rows.insert(Key::Block(block.id), row);
            }
            // It lies in its block, whose row stays until the last piece is gone.
            Content::Piece { .. } => {}
        }
    }

    /// Counts bytes that went to the disk.
    pub(super) fn note_written(&mut self, bytes: u64) {
        self.wear = self.wear.written(unix_ms(), bytes);
    }

    /// The mark only helps to notice damage, and the commit before it is durable: a failure must not
    /// make a caller append again.
    pub(super) fn write_mark(&mut self) {
        let reached = |stream| {
            let head = self.ledger.head(stream);
            let reached = Reached {
                next: head.next,
                offered_up_to: head.offered_up_to,
            };
            (stream, reached)
        };
        let confirmed = Stream::ALL.into_iter().map(reached).collect();
        let lineage = self.identity.lineage;
        if let Err(error) = self.mark.write(lineage, &confirmed, self.wear) {
            tracing::warn!(%error, "cannot note how far the outbox is");
        }
    }

    pub(super) fn sync_mark(&mut self) {
        self.note_written(COMMIT_BYTES);
        if let Err(error) = self.mark.sync() {
            tracing::warn!(%error, "cannot note how far the outbox is");
        }
    }

    /// Copies sled's files afresh when they have grown: it never gives back what its rows no longer need.
    pub(super) fn rotate(&mut self) -> Result<(), StoreError> {
        if self.database.disk_bytes() < self.rotate_at_bytes {
            return Ok(());
        }
        self.database.rotate()?;
        let bytes = self.database.disk_bytes();
        self.note_written(bytes);
        self.rotate_at_bytes = ROTATE_BYTES_MIN.max(2 * bytes);
        self.set_quota();
        Ok(())
    }

    /// The quota is of what the disk gives: sled's own files and a copy of them are taken off before the ledger
    /// has the rest.
    pub(super) fn set_quota(&mut self) {
        let own_bytes = self.rotate_at_bytes + self.rotate_at_bytes / ROTATE_SPARE_PART;
        let rest = self.limits.quota_bytes.saturating_sub(own_bytes);
        self.ledger.set_quota_bytes(rest);
    }
}
