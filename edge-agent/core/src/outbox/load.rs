//! From what the store could read back to a ledger without holes.

use std::collections::BTreeMap;

use super::{Block, Change, Content, Entry, GapReason, Head, Ledger, Piece, Stream, Tally, gap};

/// An entry and where it stands.
pub type Standing = (Stream, u64, Entry);

/// A block as its row tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The stream.
    pub stream: Stream,
    /// First sequence number it was sealed with.
    pub first: u64,
    /// Last sequence number it was sealed with.
    pub last: u64,
    /// What it is.
    pub block: Block,
}

impl StoredBlock {
    /// Its record `piece` as an entry.
    fn standing(&self, piece: &Piece) -> Standing {
        let content = Content::Piece {
            block: self.block,
            index: piece.index,
            payload_bytes: piece.payload_bytes,
        };
        let last = piece.last;
        (self.stream, piece.first, Entry { last, content })
    }
}

/// Puts the blocks of a store beside its `rows`. A block whose numbers were offered, or are partly taken by a
/// row or by a coarser block that was merged from some of its records, is opened: `pieces` reads its records, and those
/// that nothing else stands for keep their place.
///
/// # Errors
/// What `pieces` returns.
pub fn place<E>(
    heads: &BTreeMap<Stream, Head>,
    rows: Vec<Standing>,
    mut blocks: Vec<StoredBlock>,
    mut pieces: impl FnMut(&StoredBlock) -> Result<Vec<Piece>, E>,
) -> Result<Vec<Standing>, E> {
    let mut standing = rows;
    let mut taken: BTreeMap<(Stream, u64), u64> = standing
        .iter()
        .map(|(stream, first, entry)| ((*stream, *first), entry.last))
        .collect();
    let is_taken = |taken: &BTreeMap<_, _>, stream, first, last| {
        let before = taken.range((stream, 0)..=(stream, last)).next_back();
        before.is_some_and(|(_, end)| *end >= first)
    };
    blocks.sort_by_key(|stored| std::cmp::Reverse(stored.block.resolution));
    for stored in &blocks {
        let &StoredBlock {
            stream,
            first,
            last,
            block,
        } = stored;
        let head = heads.get(&stream).copied().unwrap_or_default();
        let was_offered = first <= head.offered_up_to.max(head.acknowledged);
        let before = standing.len();
        if was_offered || is_taken(&taken, stream, first, last) {
            let pieces = pieces(stored)?;
            let free = |piece: &&Piece| !is_taken(&taken, stream, piece.first, piece.last);
            standing.extend(pieces.iter().filter(free).map(|p| stored.standing(p)));
        } else {
            let content = Content::Block(block);
            standing.push((stream, first, Entry { last, content }));
        }
        let placed = &standing[before..];
        taken.extend(placed.iter().map(|(of, first, e)| ((*of, *first), e.last)));
    }
    Ok(standing)
}

impl Ledger {
    /// Rebuilds the ledger from what the store could still read, its blocks in their places (see [`place`]). Holes become gaps with reason [`GapReason::Corrupt`]; the changes returned are
    /// already applied and must be made durable.
    #[must_use]
    pub fn load(
        quota_bytes: u64,
        tally: Tally,
        heads: &BTreeMap<Stream, Head>,
        stored: impl IntoIterator<Item = Standing>,
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
