//! What a record holds, whether it lies in a row or in a block.

use bytes::Bytes;
use edge_core::outbox::{Block, Content, Entry, Stream};
use millwright_proto::link::Event;
use millwright_summary::Window;
use prost::Message as _;

use super::Books;
use crate::store::StoreError;
use crate::store::database::Purpose;
use crate::store::outbox::blocks::Loaded;
use crate::store::outbox::contents;
use crate::store::schema::{Key, Row};

impl Books {
    /// The payload of the entry at `key`; `None` when it is gone or damaged since the start.
    pub(super) fn payload(
        &mut self,
        stream: Stream,
        key: u64,
        last: u64,
        content: Content,
    ) -> Result<Option<Bytes>, StoreError> {
        match content {
            Content::Record { .. } => self.row_payload(stream, key, Entry { last, content }),
            Content::Piece { block, index, .. } => Ok(self.load(stream, block)?.payload(index)),
            Content::Block(_) | Content::Gap(_) => Ok(None),
        }
    }

    fn row_payload(
        &self,
        stream: Stream,
        first: u64,
        expected: Entry,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = Key::Entry(stream, first).encode();
        let Some(value) = self.database.get(&key)? else {
            return Ok(None);
        };
        let sound = Row::decode(&value).filter(|row| {
            row.lineage == self.identity.lineage
                && contents::entry(row, stream, first) == Some(expected)
        });
        Ok(sound.map(|row| Bytes::copy_from_slice(row.payload)))
    }

    /// The block in memory.
    pub(super) fn load(&mut self, stream: Stream, block: Block) -> Result<&Loaded, StoreError> {
        let loaded = match self.loaded.take().filter(|loaded| loaded.id == block.id) {
            Some(loaded) => loaded,
            None => self.blocks.load(block.id, stream)?,
        };
        Ok(self.loaded.insert(loaded))
    }

    /// Takes the block at `first` apart into its records.
    pub(super) fn open_block(&mut self, stream: Stream, first: u64) -> Result<(), StoreError> {
        let entry = self.ledger.entries_between(stream, first, first).next();
        let Some((last, Content::Block(block))) = entry.map(|(_, e)| (e.last, e.content)) else {
            return Ok(());
        };
        let pieces = self.load(stream, block)?.pieces(first, last);
        let changes = self.ledger.open(stream, first, &pieces);
        if pieces.len() == block.records as usize {
            // Nothing changes on disk.
            changes.iter().for_each(|change| self.ledger.apply(change));
            return Ok(());
        }
        self.commit(&changes, &[], sled::Batch::default(), Purpose::Store)
    }

    /// When the oldest record that waits was measured or happened.
    pub(super) fn oldest_unix_ms(&mut self) -> Result<Option<u64>, StoreError> {
        let mut oldest = None;
        for stream in Stream::ALL {
            let first = self
                .ledger
                .waiting(stream)
                .find(|(_, entry)| !matches!(entry.content, Content::Gap(_)))
                .map(|(first, entry)| (first, *entry));
            let Some((first, entry)) = first else {
                continue;
            };
            let payload = match entry.content {
                Content::Block(block) => self.load(stream, block)?.payload(0),
                content => self.payload(stream, first, entry.last, content)?,
            };
            let time = payload.and_then(|payload| match stream {
                Stream::Summaries => Some(Window::decode(&payload).ok()?.time.wall_start_ms),
                Stream::Events => Some(Event::decode(payload).ok()?.wall_time_ms),
            });
            oldest = [oldest, time].into_iter().flatten().min();
        }
        Ok(oldest)
    }
}
