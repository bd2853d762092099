//! New records, and what must go to make room for them.

use std::collections::BTreeMap;

use super::{Change, Content, Entry, GapReason, Head, Ledger, Stream, gap};

/// What an append needs to become durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The sequence number of each record, in the order given.
    pub sequences: Vec<u64>,
    /// To be made durable together.
    pub changes: Vec<Change>,
}

/// The order in which entries are given up when the quota is full: what costs nothing first, what
/// may be counted twice over in nobody's books last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Acknowledged,
    UnsentSummary,
    UnsentEvent,
    SentSummary,
    SentEvent,
}

impl Ledger {
    /// Decides on appending `records` (stream and payload length): their numbers, and the evictions
    /// that keep the outbox within its quota.
    #[must_use]
    pub fn append(&self, records: &[(Stream, u64)]) -> Appended {
        let mut appended = Appended::default();
        let mut incoming_bytes = 0;
        let mut next: BTreeMap<Stream, u64> = BTreeMap::new();
        for &(stream, payload_bytes) in records {
            let number = next.entry(stream).or_insert(self.head(stream).next);
            let entry = Entry {
                last: *number,
                content: Content::Record { payload_bytes },
            };
            incoming_bytes += entry.cost_bytes();
            appended.sequences.push(*number);
            appended.changes.push(Change::Put {
                stream,
                first: *number,
                entry,
            });
            *number += 1;
        }
        for (stream, next) in next {
            let head = Head {
                next,
                ..self.head(stream)
            };
            appended.changes.push(Change::Head { stream, head });
        }
        let mut changes = self.evict(incoming_bytes);
        changes.append(&mut appended.changes);
        appended.changes = changes;
        appended
    }

    /// Frees room for `incoming_bytes`, cheapest entries first.
    fn evict(&self, incoming_bytes: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.used_bytes + incoming_bytes <= self.quota_bytes {
            return changes;
        }
        let mut after = self.clone();
        for (_, stream, first) in self.victims() {
            if after.used_bytes + incoming_bytes <= self.quota_bytes {
                break;
            }
            for change in after.give_up(stream, first) {
                after.apply(&change);
                changes.push(change);
            }
        }
        changes
    }

    /// Everything that can be given up, in the order of [`Value`] and then of age.
    fn victims(&self) -> Vec<(Value, Stream, u64)> {
        let mut victims = Vec::new();
        for stream in Stream::ALL {
            let head = self.head(stream);
            for (first, entry) in self.entries(stream) {
                let sent = first <= head.offered_up_to;
                let value = match (entry.content, stream) {
                    _ if entry.last <= head.acknowledged => Value::Acknowledged,
                    (Content::Gap(_), _) => continue,
                    (Content::Record { .. }, Stream::Summaries) if sent => Value::SentSummary,
                    (Content::Record { .. }, Stream::Events) if sent => Value::SentEvent,
                    (Content::Record { .. }, Stream::Summaries) => Value::UnsentSummary,
                    (Content::Record { .. }, Stream::Events) => Value::UnsentEvent,
                };
                victims.push((value, stream, first));
            }
        }
        victims.sort_unstable();
        victims
    }

    /// Drops one entry: silently when it is acknowledged, else as a gap that is joined with its
    /// neighbours of the same reason, so that a long outage costs one gap and not thousands.
    fn give_up(&self, stream: Stream, first: u64) -> Vec<Change> {
        let track = self.track(stream);
        let Some(entry) = track.entries.get(&first) else {
            return Vec::new();
        };
        let mut changes = vec![Change::Drop { stream, first }];
        if entry.last <= track.head.acknowledged {
            return changes;
        }
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
        changes
    }
}
