//! Blocks: putting records together, and taking a block apart again before it is offered.

use std::collections::BTreeMap;

use super::{
    BlockId, Change, Content, Cursor, Entry, GapReason, Ledger, Stream, corrupt_numbers, gap,
};

/// What takes the place of a part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First sequence number covered.
    pub first: u64,
    /// The entry.
    pub entry: Entry,
}

/// One record of a block that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the block, from 0.
    pub index: u32,
    /// First sequence number covered.
    pub first: u64,
    /// Last sequence number covered.
    pub last: u64,
    /// Length of its payload.
    pub payload_bytes: u64,
}

impl Ledger {
    /// Puts `parts` in the place of everything from `first` to `last`; they must cover the same numbers.
    /// This seals and merges. What the parts leave out is declared as damaged.
    #[must_use]
    pub fn replace(&self, stream: Stream, first: u64, last: u64, parts: &[Part]) -> Vec<Change> {
        let mut changes: Vec<_> = self
            .entries_between(stream, first, last)
            .map(|(first, _)| Change::Drop { stream, first })
            .collect();
        let before: u64 = self
            .entries_between(stream, first, last)
            .map(|(_, entry)| entry.weight().records)
            .sum();
        let after: u64 = parts.iter().map(|part| part.entry.weight().records).sum();
        changes.extend(covering(
            stream,
            first,
            last,
            parts.iter().map(|part| (part.first, part.entry)),
        ));
        let lost = corrupt_numbers(&changes);
        let merged = before.saturating_sub(after).saturating_sub(lost);
        if lost > 0 || merged > 0 {
            let tally = self.tally().merged(merged);
            changes.push(Change::Tally(tally.lost(GapReason::Corrupt, lost)));
        }
        changes
    }

    /// The block that must be opened before [`Ledger::offer`] can go on from `cursor`.
    #[must_use]
    pub fn to_open(&self, cursor: &Cursor) -> Option<(Stream, u64)> {
        Stream::ALL.into_iter().find_map(|stream| {
            let (first, entry) = self
                .entries_between(stream, cursor.sent(stream) + 1, u64::MAX)
                .next()?;
            matches!(entry.content, Content::Block(_)).then_some((stream, first))
        })
    }

    /// Puts the records of the block at `first` in its place; what cannot be read of it is declared as damaged.
    #[must_use]
    pub fn open(&self, stream: Stream, first: u64, pieces: &[Piece]) -> Vec<Change> {
        let Some(Entry {
            last,
            content: Content::Block(block),
        }) = self.track(stream).entries.get(&first).copied()
        else {
            return Vec::new();
        };
        let entries = pieces.iter().map(|piece| {
            let content = Content::Piece {
                block,
                index: piece.index,
                payload_bytes: piece.payload_bytes,
            };
            let last = piece.last;
            (piece.first, Entry { last, content })
        });
        let mut changes = vec![Change::Drop { stream, first }];
        changes.extend(covering(stream, first, last, entries));
        let lost = corrupt_numbers(&changes);
        if lost > 0 {
            changes.push(Change::Tally(self.tally().lost(GapReason::Corrupt, lost)));
        }
        changes
    }

    /// Declares the entry at `first` as damaged: its record could not be read back.
    #[must_use]
    pub fn damaged(&self, stream: Stream, first: u64) -> Vec<Change> {
        let Some(entry) = self.track(stream).entries.get(&first) else {
            return Vec::new();
        };
        let numbers = entry.last - first + 1;
        vec![
            gap(stream, first, entry.last, GapReason::Corrupt),
            Change::Tally(self.tally().lost(GapReason::Corrupt, numbers)),
        ]
    }

    /// The blocks that nothing needs any more once `changes` are applied: their files may go then.
    #[must_use]
    pub fn emptied(&self, changes: &[Change]) -> Vec<BlockId> {
        let mut held: BTreeMap<BlockId, i64> = BTreeMap::new();
        let mut now: BTreeMap<(Stream, u64), Option<Entry>> = BTreeMap::new();
        let mut set = |stream, first, entry: Option<Entry>| {
            let stored = self.track(stream).entries.get(&first).copied();
            let old = now.insert((stream, first), entry).unwrap_or(stored);
            for (entry, step) in [(old, -1), (entry, 1)] {
                if let Some(block) = entry.and_then(|entry| entry.content.block()) {
                    let entries = self.blocks.get(&block.id);
                    let count = held
                        .entry(block.id)
                        .or_insert_with(|| entries.map_or(0, |held| i64::from(held.entries)));
                    *count += step;
                }
            }
        };
        for change in changes {
            match *change {
                Change::Put {
                    stream,
                    first,
                    entry,
                } => set(stream, first, Some(entry)),
                Change::Drop { stream, first } => set(stream, first, None),
                Change::Move {
                    stream,
                    from,
                    first,
                    entry,
                } => {
                    set(stream, from, None);
                    set(stream, first, Some(entry));
                }
                Change::Head { .. } | Change::Tally(_) => {}
            }
        }
        held.into_iter()
            .filter_map(|(id, count)| (count <= 0).then_some(id))
            .collect()
    }
}

/// Puts `entries` and, where they leave numbers from `first` to `last` out, damage.
fn covering(
    stream: Stream,
    first: u64,
    last: u64,
    entries: impl Iterator<Item = (u64, Entry)>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut expected = first;
    for (first, entry) in entries {
        if first > expected {
            changes.push(gap(stream, expected, first - 1, GapReason::Corrupt));
        }
        expected = entry.last + 1;
        changes.push(Change::Put {
            stream,
            first,
            entry,
        });
    }
    if expected <= last {
        changes.push(gap(stream, expected, last, GapReason::Corrupt));
    }
    changes
}
