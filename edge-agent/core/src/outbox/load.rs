//! From what the store could read back to a ledger without holes.

use std::collections::BTreeMap;

use super::{Change, Content, Entry, GapReason, Head, Ledger, Stream, Tally, gap};

impl Ledger {
    /// Rebuilds the ledger from what the store could still read; blocks that begin at or below the offered
    /// numbers come opened. Holes become gaps with reason [`GapReason::Corrupt`]; the changes returned are
    /// already applied and must be made durable.
    #[must_use]
    pub fn load(
        quota_bytes: u64,
        tally: Tally,
        heads: &BTreeMap<Stream, Head>,
        stored: impl IntoIterator<Item = (Stream, u64, Entry)>,
    ) -> (Self, Vec<Change>) {
        let mut ledger = Self::new(quota_bytes);
        ledger.tally = tally;
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
        let lost = corrupt_numbers(&repairs);
        if lost > 0 {
            repairs.push(Change::Tally(ledger.tally.lost(GapReason::Corrupt, lost)));
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
}

/// Sequence numbers that `changes` declare as lost to damage.
#[must_use]
pub fn corrupt_numbers(changes: &[Change]) -> u64 {
    let lost = |change: &Change| match *change {
        Change::Put { first, entry, .. } if entry.content == Content::Gap(GapReason::Corrupt) => {
            entry.last - first + 1
        }
        Change::Put { .. }
        | Change::Drop { .. }
        | Change::Move { .. }
        | Change::Head { .. }
        | Change::Tally(_) => 0,
    };
    changes.iter().map(lost).sum()
}
