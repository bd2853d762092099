//! What the outbox keeps, offers, merges, evicts and forgets.
//!
//! Owns the ledger of the outbox: which sequence numbers are stored, offered, acknowledged or lost.
//! It deliberately knows no disk and no payload: every decision is a list of [`Change`]s, which the
//! store makes durable first and only then gives to [`Ledger::apply`]. A write that fails leaves the
//! ledger as it was.
//!
//! ```text
//!   append -> record -> sealed into a block -> opened into pieces -> offered (persisted before it is sent)
//!               |           |                                          |-> acknowledged -> tail -> dropped
//!               |           '- merged, when the quota is full          '-> evicted when forced: gap fate_unknown
//!               '- evicted when nothing can be merged any more: gap evicted
//! ```
//!
//! A block is many records in one entry, so that a month of records costs a few hundred entries. It is opened,
//! into one piece per record, before any of it is offered: whatever was offered has an entry of its own.
//!
//! Invariant: the entries of a stream cover every sequence number from its oldest entry to `next - 1`
//! without a hole or an overlap; what is lost is an entry too, a gap. No block begins at or below
//! `offered_up_to`. Together with the cloud's contiguous watermark this counts each record exactly once; the
//! property tests in `outbox/tests` assert it across lost links, duplicates, restarts, merges,
//! evictions and restores.

mod append;
mod block;
mod entry;
mod load;
mod room;
mod settle;
mod wear;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use append::{Appended, SEAL_BYTES, SEAL_RECORDS};
pub use block::{Part, Piece};
pub use entry::{Block, BlockId, Content, Entry, GapReason, Resolution, Tally};
pub use load::{Standing, StoredBlock, corrupt_numbers, place};
pub use room::{MERGE_BYTES_MAX, Merge, Relief};
pub use settle::{Cursor, Offer, Room, SettleError};
pub use wear::{WINDOW_STRETCH, Wear};

/// Bytes a record or gap costs beside its payload: key, envelope and the store's own overhead.
pub const ENTRY_OVERHEAD_BYTES: u64 = 96;

/// Acknowledged records kept per stream for a cloud that is restored from a backup: an hour of
/// one-minute windows.
pub const ACKNOWLEDGED_TAIL: usize = 60;

/// A numbered sequence of records of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What happened: small, rare, sent first.
    Events,
    /// What was measured, one record per window.
    Summaries,
}

impl Stream {
    /// Every stream, in the order in which they are offered.
    pub const ALL: [Self; 2] = [Self::Events, Self::Summaries];
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::Summaries => "summaries",
        })
    }
}

/// How far a stream has come. The first sequence number is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Everything up to here is counted by the cloud, as far as is known.
    pub acknowledged: u64,
    /// The highest sequence number that may ever have been sent.
    pub offered_up_to: u64,
    /// The number of the next record.
    pub next: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            acknowledged: 0,
            offered_up_to: 0,
            next: 1,
        }
    }
}

impl Head {
    /// The head of a stream whose own record of it was lost: whatever is below `next` may have been sent,
    /// so that the next Welcome, which knows what is counted, is believed and nothing is counted twice.
    #[must_use]
    pub const fn lost(next: u64) -> Self {
        Self {
            acknowledged: 0,
            offered_up_to: next.saturating_sub(1),
            next,
        }
    }
}

/// One step of a decision, to be made durable together with its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Entry `first` is stored; a record's payload is with the caller.
    Put {
        /// The stream.
        stream: Stream,
        /// First sequence number, the key.
        first: u64,
        /// The entry.
        entry: Entry,
    },
    /// Entry `first` is removed.
    Drop {
        /// The stream.
        stream: Stream,
        /// First sequence number, the key.
        first: u64,
    },
    /// The record stored at `from` gets the key `first` (see [`Ledger::welcome`]).
    Move {
        /// The stream.
        stream: Stream,
        /// Its old key.
        from: u64,
        /// Its new key.
        first: u64,
        /// The entry at its new place.
        entry: Entry,
    },
    /// The stream's head.
    Head {
        /// The stream.
        stream: Stream,
        /// Its new value.
        head: Head,
    },
    /// The new totals of what was lost and merged.
    Tally(Tally),
}

/// How much waits to be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Records that are not acknowledged.
    pub records: u64,
    /// Their bytes; a gap that is not acknowledged counts with its overhead.
    pub bytes: u64,
}

impl Backlog {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.records -= other.records;
        self.bytes -= other.bytes;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track {
    head: Head,
    entries: BTreeMap<u64, Entry>,
    /// Of the entries above `head.acknowledged`.
    waiting: Backlog,
    /// Of the entries that are records in rows of their own.
    open: Backlog,
}

/// A block on disk: how many entries still need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    entries: u32,
    disk_bytes: u64,
}

/// The index of the outbox; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    tracks: BTreeMap<Stream, Track>,
    blocks: BTreeMap<BlockId, Held>,
    tally: Tally,
    quota_bytes: u64,
    used_bytes: u64,
}

impl Ledger {
    /// An empty outbox that may hold `quota_bytes`.
    #[must_use]
    pub fn new(quota_bytes: u64) -> Self {
        Self {
            tracks: Stream::ALL
                .into_iter()
                .map(|stream| (stream, Track::default()))
                .collect(),
            blocks: BTreeMap::new(),
            tally: Tally::default(),
            quota_bytes,
            used_bytes: 0,
        }
    }

    /// Takes over a change that is durable.
    pub fn apply(&mut self, change: &Change) {
        match *change {
            Change::Put {
                stream,
                first,
                entry,
            } => self.put(stream, first, entry),
            Change::Drop { stream, first } => self.remove(stream, first),
            Change::Move {
                stream,
                from,
                first,
                entry,
            } => {
                self.remove(stream, from);
                self.put(stream, first, entry);
            }
            Change::Head { stream, head } => self.track_mut(stream).set_head(head),
            Change::Tally(tally) => self.tally = tally,
        }
    }

    fn put(&mut self, stream: Stream, first: u64, entry: Entry) {
        // Held before the old entry lets go, so that a block that stays is not counted as gone.
        if let Some(block) = entry.content.block() {
            let held = self.blocks.entry(block.id).or_insert_with(|| {
                self.used_bytes += block.cost_bytes();
                Held {
                    entries: 0,
                    disk_bytes: block.disk_bytes,
                }
            });
            held.entries += 1;
        }
        self.remove(stream, first);
        self.used_bytes += entry.own_cost_bytes();
        self.track_mut(stream).insert(first, entry);
    }

    fn remove(&mut self, stream: Stream, first: u64) {
        let Some(old) = self.track_mut(stream).remove(first) else {
            return;
        };
        self.used_bytes -= old.own_cost_bytes();
        if let Some(block) = old.content.block()
            && let Some(held) = self.blocks.get_mut(&block.id)
        {
            held.entries -= 1;
            if held.entries == 0 {
                self.blocks.remove(&block.id);
                self.used_bytes -= block.cost_bytes();
            }
        }
    }

    /// The head of `stream`.
    #[must_use]
    pub fn head(&self, stream: Stream) -> Head {
        self.track(stream).head
    }

    /// The lowest sequence number still stored; equals `next` when empty.
    #[must_use]
    pub fn oldest(&self, stream: Stream) -> u64 {
        let track = self.track(stream);
        let first = track.entries.first_key_value().map(|(first, _)| *first);
        first.unwrap_or(track.head.next)
    }

    /// The entries of `stream` in order.
    pub fn entries(&self, stream: Stream) -> impl Iterator<Item = (u64, &Entry)> {
        let entries = self.track(stream).entries.iter();
        entries.map(|(first, entry)| (*first, entry))
    }

    /// The entries of `stream` that begin from `first` to `last`, in order.
    pub fn entries_between(
        &self,
        stream: Stream,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = (u64, &Entry)> {
        // A range that ends before it begins is none, which a map would take for a mistake.
        let entries = self.track(stream).entries.range(first.min(last)..=last);
        let entries = entries.filter(move |(begin, _)| **begin >= first);
        entries.map(|(first, entry)| (*first, entry))
    }

    /// The entries of `stream` that are not acknowledged, in order.
    pub fn waiting(&self, stream: Stream) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries_between(stream, self.head(stream).acknowledged + 1, u64::MAX)
    }

    /// What everything stored costs.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// What may be stored.
    #[must_use]
    pub fn quota_bytes(&self) -> u64 {
        self.quota_bytes
    }

    /// Changes what may be stored, from the next append on: the store's own overhead takes part of it.
    pub fn set_quota_bytes(&mut self, quota_bytes: u64) {
        self.quota_bytes = quota_bytes;
    }

    /// What was lost and merged since the outbox was started.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What is not acknowledged.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        self.tracks
            .values()
            .for_each(|track| backlog.add(track.waiting));
        backlog
    }

    fn track(&self, stream: Stream) -> &Track {
        self.tracks
            .get(&stream)
            .expect("every stream has a track from `new` on")
    }

    fn track_mut(&mut self, stream: Stream) -> &mut Track {
        self.tracks.entry(stream).or_default()
    }
}

impl Track {
    fn insert(&mut self, first: u64, entry: Entry) {
        if first > self.head.acknowledged {
            self.waiting.add(entry.weight());
        }
        if matches!(entry.content, Content::Record { .. }) {
            self.open.add(entry.weight());
        }
        self.entries.insert(first, entry);
    }

    fn remove(&mut self, first: u64) -> Option<Entry> {
        let old = self.entries.remove(&first)?;
        if first > self.head.acknowledged {
            self.waiting.subtract(old.weight());
        }
        if matches!(old.content, Content::Record { .. }) {
            self.open.subtract(old.weight());
        }
        Some(old)
    }

    fn set_head(&mut self, head: Head) {
        let (before, after) = (self.head.acknowledged, head.acknowledged);
        let (low, high) = (before.min(after), before.max(after));
        let between = self.entries.range(low..=high);
        for (_, entry) in between.filter(|(first, _)| **first > low) {
            if after > before {
                self.waiting.subtract(entry.weight());
            } else {
                self.waiting.add(entry.weight());
            }
        }
        self.head = head;
    }
}

fn gap(stream: Stream, from: u64, to: u64, reason: GapReason) -> Change {
    Change::Put {
        stream,
        first: from,
        entry: Entry {
            last: to,
            content: Content::Gap(reason),
        },
    }
}
