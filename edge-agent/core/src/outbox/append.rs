//! New records, and when they are sealed into a block.

use std::collections::BTreeMap;

use super::{Backlog, Change, Content, Entry, Head, Ledger, Stream};

/// Unsent records of a stream are sealed into a block once there are so many. A row costs its store twice its
/// payload and more; half a thousand in one block cost 4 % more than their payload.
pub const SEAL_RECORDS: u64 = 512;

/// Or once they have so many bytes: two hours of one-minute windows, and a block is read in one go.
pub const SEAL_BYTES: u64 = 128 * 1024;

/// A run shorter than this part of a block is left alone: small blocks waste the end of their last page.
const SEAL_PART_MIN: u64 = 4;

/// What an append needs to become durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The sequence number of each record, in the order given.
    pub sequences: Vec<u64>,
    /// To be made durable together.
    pub changes: Vec<Change>,
}

impl Ledger {
    /// Decides on appending `records` (stream and payload length): their numbers. Room for them is made
    /// before, by [`Ledger::relief`].
    #[must_use]
    pub fn append(&self, records: &[(Stream, u64)]) -> Appended {
        let mut appended = Appended::default();
        let mut next: BTreeMap<Stream, u64> = BTreeMap::new();
        for &(stream, payload_bytes) in records {
            let number = next.entry(stream).or_insert(self.head(stream).next);
            let entry = Entry {
                last: *number,
                content: Content::Record { payload_bytes },
            };
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
        appended
    }

    /// The records of `stream`, from first to last, that should become a block now.
    #[must_use]
    pub fn sealable(&self, stream: Stream) -> Option<(u64, u64)> {
        let open = self.track(stream).open;
        if open.records < SEAL_RECORDS && open.bytes < SEAL_BYTES {
            return None;
        }
        let mut run: Option<(u64, u64)> = None;
        let mut size = Backlog::default();
        let unsent = self.head(stream).offered_up_to + 1;
        for (first, entry) in self.entries_between(stream, unsent, u64::MAX) {
            if matches!(entry.content, Content::Record { .. }) {
                run = Some((run.map_or(first, |(from, _)| from), entry.last));
                size.add(entry.weight());
                if size.records >= SEAL_RECORDS || size.bytes >= SEAL_BYTES {
                    break;
                }
            } else if worth_a_block(size) {
                break;
            } else {
                (run, size) = (None, Backlog::default());
            }
        }
        run.filter(|_| worth_a_block(size))
    }
}

fn worth_a_block(run: Backlog) -> bool {
    run.records >= SEAL_RECORDS / SEAL_PART_MIN || run.bytes >= SEAL_BYTES / SEAL_PART_MIN
}
