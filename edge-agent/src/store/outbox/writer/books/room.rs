//! Sealing records into blocks, and doing what the ledger says when room is short.

use edge_core::outbox::{
    BlockId, Content, Entry, Merge, Part, Relief, Resolution, SEAL_BYTES, SEAL_RECORDS, Stream,
};

use super::Books;
use crate::store::StoreError;
use crate::store::database::Purpose;
use crate::store::outbox::blocks::Sealing;
use crate::store::outbox::contents;
use crate::store::outbox::merge::Merger;

/// Steps of one append towards room. One frees about a mebibyte, an append brings a fraction of that, so this is
/// never reached but for a quota that was made smaller; then the next append goes on.
const STEPS_MAX: usize = 256;

/// Bytes a new block file costs beside itself: its inode and its directory's page.
const FILE_BYTES: u64 = 2 * 4096;

impl Books {
    /// Makes room for `incoming_bytes`, in the quota and on the disk. A disk that others fill costs resolution and
    /// never a record: what does not fit then is refused.
    pub(super) fn make_room(&mut self, incoming_bytes: u64) -> Result<(), StoreError> {
        for _ in 0..STEPS_MAX {
            match self.ledger.relief(incoming_bytes) {
                None => break,
                Some(Relief::Merge(merge)) => self.merge(merge)?,
                Some(Relief::GiveUp(changes)) => {
                    let batch = sled::Batch::default();
                    self.commit(&changes, &[], batch, Purpose::GiveBack)?;
                }
            }
        }
        for _ in 0..STEPS_MAX {
            match (
                self.database.require_room(Purpose::Store),
                self.ledger.mergeable(),
            ) {
                (Err(StoreError::DiskFull { .. }), Some(merge)) => self.merge(merge)?,
                (result, _) => return result,
            }
        }
        self.database.require_room(Purpose::Store)
    }

    /// What can wait until an append is answered: blocks instead of rows, fresh files for sled.
    pub(in crate::store::outbox::writer) fn tidy(&mut self) -> Result<(), StoreError> {
        for stream in Stream::ALL {
            while let Some((first, last)) = self.ledger.sealable(stream) {
                self.seal(stream, first, last)?;
            }
        }
        self.rotate()
    }

    fn seal(&mut self, stream: Stream, first: u64, last: u64) -> Result<(), StoreError> {
        self.database.require_room(Purpose::GiveBack)?;
        let records = self.records(stream, first, last)?;
        self.replace(stream, (first, last), Resolution::Recorded, &records)
    }

    fn merge(&mut self, merge: Merge) -> Result<(), StoreError> {
        self.database.require_room(Purpose::GiveBack)?;
        let stream = Stream::Summaries;
        let entries: Vec<_> = self
            .ledger
            .entries_between(stream, merge.first, merge.last)
            .map(|(first, entry)| (first, entry.last))
            .collect();
        let mut merger = Merger::new(merge.to);
        for (first, last) in entries {
            // Block by block, so that only the merged windows are in memory together.
            let records = self.records(stream, first, last)?;
            records.into_iter().for_each(|record| merger.add(record));
        }
        self.replace(
            stream,
            (merge.first, merge.last),
            merge.to,
            &merger.finish(),
        )
    }

    /// The sound records of the entries that begin from `first` to `last`.
    fn records(
        &mut self,
        stream: Stream,
        first: u64,
        last: u64,
    ) -> Result<Vec<Sealing>, StoreError> {
        let entries: Vec<_> = self
            .ledger
            .entries_between(stream, first, last)
            .map(|(first, entry)| (first, *entry))
            .collect();
        let mut records = Vec::new();
        for (first, entry) in entries {
            if let Content::Block(block) = entry.content {
                let loaded = self.load(stream, block)?;
                records.extend(
                    loaded
                        .pieces(first, entry.last)
                        .into_iter()
                        .filter_map(|piece| {
                            Some(Sealing {
                                first: piece.first,
                                last: piece.last,
                                payload: loaded.payload(piece.index)?,
                            })
                        }),
                );
            } else if let Some(payload) = self.payload(stream, first, entry.last, entry.content)? {
                records.push(Sealing {
                    first,
                    last: entry.last,
                    payload,
                });
            }
        }
        Ok(records)
    }

    /// Puts `records` in blocks in the place of everything from `first` to `last`.
    fn replace(
        &mut self,
        stream: Stream,
        (first, last): (u64, u64),
        resolution: Resolution,
        records: &[Sealing],
    ) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        let mut written = Vec::new();
        let replaced = self
            .write_blocks(stream, resolution, records, &mut parts, &mut written)
            .and_then(|()| {
                let changes = self.ledger.replace(stream, first, last, &parts);
                self.commit(&changes, &[], sled::Batch::default(), Purpose::GiveBack)
            });
        if let Err(StoreError::DiskFull { .. }) = &replaced {
            // Nothing was committed, so nothing names these files.
            written.into_iter().for_each(|id| self.blocks.remove(id));
        }
        replaced?;
        self.write_mark();
        self.sync_mark();
        Ok(())
    }

    fn write_blocks(
        &mut self,
        stream: Stream,
        resolution: Resolution,
        records: &[Sealing],
        parts: &mut Vec<Part>,
        written: &mut Vec<BlockId>,
    ) -> Result<(), StoreError> {
        for chunk in chunks(records) {
            let id = contents::fresh_block();
            let block = self.blocks.write(id, stream, resolution, chunk)?;
            self.note_written(block.disk_bytes + FILE_BYTES);
            written.push(id);
            if let [front, ..] = chunk
                && let Some(back) = chunk.last()
            {
                parts.push(Part {
                    first: front.first,
                    entry: Entry {
                        last: back.last,
                        content: Content::Block(block),
                    },
                });
            }
        }
        Ok(())
    }
}

/// Splits records into blocks: each without a hole, and no larger than a block should be.
fn chunks(records: &[Sealing]) -> Vec<&[Sealing]> {
    let mut chunks = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .enumerate()
            .take_while(|(index, record)| {
                bytes += record.payload.len() as u64;
                let follows = *index == 0 || rest[index - 1].last + 1 == record.first;
                let fits = bytes <= SEAL_BYTES && (*index as u64) < SEAL_RECORDS;
                *index == 0 || (follows && fits)
            })
            .count();
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}
