//! Making room and sealing, as the real store does: what the ledger decides, with blocks in place of rows.

use std::rc::Rc;

use edge_core::outbox::{
    Block, BlockId, Change, Content, Entry, Merge, Part, Relief, Resolution, SEAL_BYTES,
    SEAL_RECORDS, Stream,
};

use super::is_gap;
use super::rows::{Read, Sealed, Standing};
use crate::books::Cause;
use crate::node::{Killed, Machine};
use crate::shared::Shared;

/// What a block costs on disk beside its payloads.
const BLOCK_BYTES: u64 = 50;

/// Windows of a minute in the longest merged one.
fn windows_max(to: Resolution) -> u64 {
    (to.window_ms_max() / 60_000).max(1)
}

impl Machine {
    /// Makes room for `incoming_bytes`.
    pub(super) fn make_room(
        &mut self,
        incoming_bytes: u64,
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        loop {
            let Some(agent) = &self.agent else {
                return Ok(());
            };
            match agent.outbox.ledger.relief(incoming_bytes) {
                None => return Ok(()),
                Some(Relief::Merge(merge)) => self.merge(merge, shared)?,
                Some(Relief::GiveUp(changes)) => {
                    self.check_given_up(&changes, incoming_bytes, shared);
                    let declared = self.declared(changes, shared);
                    self.commit(&declared, &[], shared)?;
                }
            }
        }
    }

    /// What is given up must have been in the way, and be worth less than what stays.
    fn check_given_up(&self, changes: &[Change], incoming_bytes: u64, shared: &mut Shared) {
        let Some(agent) = &self.agent else { return };
        let ledger = &agent.outbox.ledger;
        if !changes.iter().any(is_gap) {
            return;
        }
        shared.books.cause(self.device, Cause::Quota);
        let (used, quota) = (ledger.used_bytes(), ledger.quota_bytes());
        if used + incoming_bytes <= quota {
            let text = format!(
                "records were given up in an outbox with room: {used} + {incoming_bytes} of {quota}"
            );
            shared.fail(Some(self.device), text);
        }
        let is_event = |change: &Change| {
            matches!(change, Change::Drop { stream: Stream::Events, first }
                if *first > ledger.head(Stream::Events).acknowledged)
        };
        let unsent = ledger.head(Stream::Summaries).offered_up_to + 1;
        let spare = ledger
            .entries_between(Stream::Summaries, unsent, u64::MAX)
            .any(|(_, entry)| !matches!(entry.content, Content::Gap(_)));
        if spare && changes.iter().any(is_event) {
            let text = "an event was given up while windows wait that were never sent".to_owned();
            shared.fail(Some(self.device), text);
        }
    }

    /// Puts records into blocks once there are enough of them.
    pub(super) fn seal(&mut self, shared: &mut Shared) -> Result<(), Killed> {
        for stream in Stream::ALL {
            while let Some(agent) = &self.agent
                && let Some((first, last)) = agent.outbox.ledger.sealable(stream)
            {
                let records = self.records(stream, first, last);
                self.replace(
                    stream,
                    (first, last),
                    Resolution::Recorded,
                    &records,
                    shared,
                )?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, merge: Merge, shared: &mut Shared) -> Result<(), Killed> {
        let records = self.records(Stream::Summaries, merge.first, merge.last);
        let most = windows_max(merge.to);
        let mut merged: Vec<Standing> = Vec::new();
        for record in records {
            let fits = |last: &&mut Standing| {
                last.last + 1 == record.first
                    // Only windows that follow each other in time become one.
                    && last.payload.device == record.payload.device
                    && last.payload.last + 1 == record.payload.first
                    && record.payload.last - last.payload.first < most
            };
            match merged.last_mut().filter(fits) {
                Some(last) => {
                    last.last = record.last;
                    last.payload.last = record.payload.last;
                    last.bytes = last.bytes.max(record.bytes);
                }
                None => merged.push(record),
            }
        }
        shared.note(self.device, "windows merged", merge.first, merge.last);
        let range = (merge.first, merge.last);
        self.replace(Stream::Summaries, range, merge.to, &merged, shared)
    }

    /// What can be read of the entries that begin from `first` to `last`.
    fn records(&self, stream: Stream, first: u64, last: u64) -> Vec<Standing> {
        let Some(agent) = &self.agent else {
            return Vec::new();
        };
        let entries = agent.outbox.ledger.entries_between(stream, first, last);
        let rows = &self.disk.outbox;
        entries
            .flat_map(|(first, entry)| rows.behind(stream, first, *entry))
            .collect()
    }

    fn replace(
        &mut self,
        stream: Stream,
        (first, last): (u64, u64),
        resolution: Resolution,
        records: &[Standing],
        shared: &mut Shared,
    ) -> Result<(), Killed> {
        let mut parts = Vec::new();
        for chunk in chunks(records) {
            // The file comes before the row that names it: a kill between leaves a file for nobody.
            let block = self.write_block(chunk, resolution, shared);
            self.step()?;
            if let (Some(front), Some(back)) = (chunk.first(), chunk.last()) {
                let content = Content::Block(block);
                let entry = Entry {
                    last: back.last,
                    content,
                };
                let first = front.first;
                parts.push(Part { first, entry });
            }
        }
        let Some(agent) = &self.agent else {
            return Ok(());
        };
        let changes = agent.outbox.ledger.replace(stream, first, last, &parts);
        let declared = self.declared(changes, shared);
        self.commit(&declared, &[], shared)?;
        self.write_mark()
    }

    fn write_block(
        &mut self,
        records: &[Standing],
        resolution: Resolution,
        shared: &mut Shared,
    ) -> Block {
        let payload_bytes: u64 = records.iter().map(|record| record.bytes).sum();
        let block = Block {
            id: BlockId(shared.fresh()),
            records: u32::try_from(records.len()).unwrap_or(u32::MAX),
            payload_bytes,
            disk_bytes: payload_bytes + BLOCK_BYTES,
            resolution,
        };
        let sealed = records.iter().map(|record| Sealed {
            span: record.last - record.first + 1,
            payload: record.payload,
            bytes: record.bytes,
            read: Read::Sound,
        });
        let file = Rc::new(sealed.collect());
        self.disk.outbox.files.insert(block.id, file);
        block
    }
}

/// Splits records into blocks: each without a hole, and no larger than a block should be.
fn chunks(records: &[Standing]) -> Vec<&[Standing]> {
    let mut chunks = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut count = 0;
        for (index, record) in rest.iter().enumerate() {
            bytes += record.bytes;
            let follows = index == 0 || rest[index - 1].last + 1 == record.first;
            let fits = bytes <= SEAL_BYTES && (index as u64) < SEAL_RECORDS;
            if index > 0 && !(follows && fits) {
                break;
            }
            count += 1;
        }
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}
