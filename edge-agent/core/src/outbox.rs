//! What the outbox keeps, offers, evicts and forgets.
//!
//! Owns the ledger of the outbox: which sequence numbers are stored, offered, acknowledged or lost.
//! It deliberately knows no disk and no payload: every decision is a list of [`Change`]s, which the
//! store makes durable first and only then gives to [`Ledger::apply`]. A write that fails leaves the
//! ledger as it was.
//!
//! ```text
//!   append -> stored -> offered (persisted before it is sent) -> acknowledged -> tail -> dropped
//!               |           '- evicted only when forced -> gap fate_unknown
//!               '- evicted first, when the quota is full -> gap evicted
//! ```
//!
//! Invariant: the entries of a stream cover every sequence number from its oldest entry to `next - 1`
//! without a hole or an overlap; what is lost is an entry too, a gap. Together with the
//! cloud's contiguous watermark this counts each record exactly once; the property test in
//! `outbox/tests.rs` asserts it across lost links, duplicates, restarts, evictions and restores.

mod append;
mod settle;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use append::Appended;
pub use settle::{Cursor, Offer, Room, SettleError};

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

/// Why sequence numbers will never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// Dropped unsent because the quota was full.
    Evicted,
    /// The store gave back damaged bytes or none.
    Corrupt,
    /// Dropped after it was sent and before its fate was known.
    FateUnknown,
    /// An earlier store had to be set aside; how much it held is not known.
    Quarantined,
}

/// What stands at a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A record.
    Record {
        /// Length of its payload.
        payload_bytes: u64,
    },
    /// A declared loss.
    Gap(GapReason),
}

/// One stored entry; its first sequence number is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Last sequence number covered.
    pub last: u64,
    /// What it is.
    pub content: Content,
}

impl Entry {
    fn cost_bytes(&self) -> u64 {
        match self.content {
            Content::Record { payload_bytes } => payload_bytes + ENTRY_OVERHEAD_BYTES,
            Content::Gap(_) => ENTRY_OVERHEAD_BYTES,
        }
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
}

/// How much waits to be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Records that are not acknowledged.
    pub records: u64,
    /// What they cost in bytes.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Track {
    head: Head,
    entries: BTreeMap<u64, Entry>,
}

/// The index of the outbox; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    tracks: BTreeMap<Stream, Track>,
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
            quota_bytes,
            used_bytes: 0,
        }
    }

    /// Rebuilds the ledger from what the store could still read. Holes become gaps with reason
    /// [`GapReason::Corrupt`]; the changes returned are already applied and must be made durable.
    #[must_use]
    pub fn load(
        quota_bytes: u64,
        heads: &BTreeMap<Stream, Head>,
        stored: impl IntoIterator<Item = (Stream, u64, Entry)>,
    ) -> (Self, Vec<Change>) {
        let mut ledger = Self::new(quota_bytes);
        let mut repairs = Vec::new();
        for (stream, first, entry) in stored {
            ledger.apply(&Change::Put {
                stream,
                first,
                entry,
            });
        }
        for stream in Stream::ALL {
            let head = heads.get(&stream).copied().unwrap_or_default();
            repairs.extend(ledger.repair(stream, head));
        }
        for change in &repairs {
            ledger.apply(change);
        }
        (ledger, repairs)
    }

    fn repair(&self, stream: Stream, head: Head) -> Vec<Change> {
        let entries = &self.track(stream).entries;
        let mut changes = Vec::new();
        let end = entries.values().map(|entry| entry.last + 1).max();
        let next = head.next.max(end.unwrap_or(1));
        // Entries beyond the head: it is older than they, or lost.
        let head = match next > head.next {
            true => Head {
                offered_up_to: next - 1,
                ..head
            },
            false => head,
        };
        // Below the oldest entry everything acknowledged was dropped on purpose.
        let mut expected = match entries.first_key_value() {
            Some((&first, _)) => first.min(head.acknowledged + 1),
            None => head.acknowledged + 1,
        };
        for (&first, entry) in entries {
            if first < expected {
                changes.push(Change::Drop { stream, first });
                continue;
            }
            if first > expected {
                changes.push(gap(stream, expected, first - 1, GapReason::Corrupt));
            }
            expected = entry.last + 1;
        }
        if expected < next {
            changes.push(gap(stream, expected, next - 1, GapReason::Corrupt));
        }
        changes.push(Change::Head {
            stream,
            head: Head { next, ..head },
        });
        changes
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
            Change::Head { stream, head } => self.track_mut(stream).head = head,
        }
    }

    fn put(&mut self, stream: Stream, first: u64, entry: Entry) {
        self.remove(stream, first);
        self.used_bytes += entry.cost_bytes();
        self.track_mut(stream).entries.insert(first, entry);
    }

    fn remove(&mut self, stream: Stream, first: u64) {
        if let Some(old) = self.track_mut(stream).entries.remove(&first) {
            self.used_bytes -= old.cost_bytes();
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

    /// What everything stored costs.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// What is not acknowledged.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for track in self.tracks.values() {
            for entry in track
                .entries
                .range(track.head.acknowledged + 1..)
                .map(|(_, e)| e)
            {
                backlog.records += u64::from(matches!(entry.content, Content::Record { .. }));
                backlog.bytes += entry.cost_bytes();
            }
        }
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
