//! What must go, or become coarser, to make room.
//!
//! In this order, and the oldest first: unsent windows are merged one resolution up (what is finest first, so
//! that nothing becomes hourly while minutes are left); the acknowledged tail goes; unsent daily windows are dropped;
//! then unsent events; and only then what was offered, whose fate is not known. What is dropped unacknowledged is a
//! counted gap.

use super::{Change, Content, GapReason, Ledger, Resolution, Stream, gap};

/// Payload that is merged in one go: a day of one-minute windows, so that making room is rare and an append
/// that has to wait for it waits for a fraction of a second.
pub const MERGE_BYTES_MAX: u64 = 1024 * 1024;

/// One step towards room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Merge windows, then [`Ledger::replace`] them.
    Merge(Merge),
    /// Give entries up.
    GiveUp(Vec<Change>),
}

/// Windows of one resolution that follow each other, none of them offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// First sequence number covered.
    pub first: u64,
    /// Last sequence number covered.
    pub last: u64,
    /// What they become.
    pub to: Resolution,
}

/// The order in which entries are given up when nothing can be merged any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    UnsentSummary,
    UnsentEvent,
    SentSummary,
    SentEvent,
}

impl Ledger {
    /// The next step that makes room for `incoming_bytes`; `None` when there is room, or nothing is left to give.
    #[must_use]
    pub fn relief(&self, incoming_bytes: u64) -> Option<Relief> {
        if self.used_bytes() + incoming_bytes <= self.quota_bytes() {
            return None;
        }
        if let Some(merge) = self.mergeable() {
            return Some(Relief::Merge(merge));
        }
        let acknowledged = self.drop_acknowledged();
        if !acknowledged.is_empty() {
            return Some(Relief::GiveUp(acknowledged));
        }
        let (_, stream, first) = self.victim()?;
        Some(Relief::GiveUp(self.give_up(stream, first)))
    }

    /// The oldest unsent windows of the finest resolution there is.
    #[must_use]
    pub fn mergeable(&self) -> Option<Merge> {
        let unsent = self.head(Stream::Summaries).offered_up_to + 1;
        let blocks = || {
            self.entries_between(Stream::Summaries, unsent, u64::MAX)
                .map(|(first, entry)| {
                    (
                        first,
                        entry.last,
                        entry.weight().bytes,
                        entry.content.block(),
                    )
                })
        };
        let finest = blocks()
            .filter_map(|(.., block)| block.map(|block| block.resolution))
            .min()?;
        let to = finest.coarser()?;
        let is_finest =
            |block: &Option<super::Block>| block.is_some_and(|b| b.resolution == finest);
        let mut bytes = 0;
        let mut run = blocks()
            .skip_while(|(.., block)| !is_finest(block))
            .take_while(|(_, _, own_bytes, block)| {
                let first = bytes == 0;
                bytes += own_bytes;
                is_finest(block) && (first || bytes <= MERGE_BYTES_MAX)
            });
        let (first, last, ..) = run.next()?;
        let last = run.last().map_or(last, |(_, last, ..)| last);
        Some(Merge { first, last, to })
    }

    pub(super) fn drop_acknowledged(&self) -> Vec<Change> {
        let drop = |stream| {
            let acknowledged = self.head(stream).acknowledged;
            self.entries_between(stream, 0, acknowledged)
                .take_while(move |(_, entry)| entry.last <= acknowledged)
                .map(move |(first, _)| Change::Drop { stream, first })
        };
        Stream::ALL.into_iter().flat_map(drop).collect()
    }

    /// What is worth least, by [`Value`] and then by age.
    fn victim(&self) -> Option<(Value, Stream, u64)> {
        let mut victim = None;
        for stream in Stream::ALL {
            let head = self.head(stream);
            let record = |(first, entry): (u64, &super::Entry)| {
                (!matches!(entry.content, Content::Gap(_))).then_some(first)
            };
            let unsent = match stream {
                Stream::Summaries => Value::UnsentSummary,
                Stream::Events => Value::UnsentEvent,
            };
            let sent = match stream {
                Stream::Summaries => Value::SentSummary,
                Stream::Events => Value::SentEvent,
            };
            let found = self
                .entries_between(stream, head.offered_up_to + 1, u64::MAX)
                .find_map(record)
                .map(|first| (unsent, stream, first))
                .or_else(|| {
                    let first = self.waiting(stream).find_map(record)?;
                    Some((sent, stream, first))
                });
            victim = [victim, found].into_iter().flatten().min();
        }
        victim
    }

    /// Drops one unacknowledged entry as a gap that is joined with its neighbours of the same reason, so
    /// that a long outage costs one gap and not thousands.
    fn give_up(&self, stream: Stream, first: u64) -> Vec<Change> {
        let track = self.track(stream);
        let Some(entry) = track.entries.get(&first) else {
            return Vec::new();
        };
        let mut changes = vec![Change::Drop { stream, first }];
        let reason = if first <= track.head.offered_up_to {
            GapReason::FateUnknown
        } else {
            GapReason::Evicted
        };
        let (mut from, mut to) = (first, entry.last);
        if let Some((&before, neighbour)) = track.entries.range(..first).next_back()
            && neighbour.content == Content::Gap(reason)
            && neighbour.last > track.head.acknowledged
        {
            from = before;
        }
        if let Some((&after, neighbour)) = track.entries.range(first + 1..).next()
            && neighbour.content == Content::Gap(reason)
        {
            changes.push(Change::Drop {
                stream,
                first: after,
            });
            to = neighbour.last;
        }
        changes.push(gap(stream, from, to, reason));
        let numbers = entry.last - first + 1;
        changes.push(Change::Tally(self.tally().lost(reason, numbers)));
        changes
    }
}
