//! What an outbox store has on disk: rows, and the files of its blocks.
//!
//! As in the real store: records and gaps have rows of their own, a block has one row and a file, and a piece
//! of an opened block has neither, so that a restart reads it from the block again.

use fleet_core::ingest::secret::SECRET_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use edge_core::link::Transport;
use edge_core::outbox::{
    Block, BlockId, Change, Content, Entry, GapReason, Head, Ledger, Piece, Stream, Tally,
};

use crate::event::{LineageId, Payload};

/// How far a stream was confirmed, in a file of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// As in [`Head`].
    pub next: u64,
    /// As in [`Head`].
    pub offered_up_to: u64,
}

/// One record in the file of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// How many sequence numbers it covers.
    pub span: u64,
    /// The records in it.
    pub payload: Payload,
    /// Its length.
    pub bytes: u64,
    /// Whether it can still be read.
    pub read: Read,
}

/// Whether a record in a block's file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It can.
    Sound,
    /// Its bytes are damaged.
    Damaged,
}

/// What the outbox has on disk.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Which store it is.
    pub lineage: LineageId,
    /// From the last Welcome.
    pub secret: Option<[u8; SECRET_BYTES]>,
    /// The transport of the last session.
    pub worked: Option<Transport>,
    /// How far each stream is.
    pub heads: BTreeMap<Stream, Head>,
    /// Records and gaps, with what stands behind a record.
    pub entries: BTreeMap<(Stream, u64), (Entry, Option<Payload>)>,
    /// Where each block stands.
    pub blocks: BTreeMap<BlockId, (Stream, u64, u64, Block)>,
    /// What is in each block. A copy of a disk shares them until one of both is written.
    pub files: BTreeMap<BlockId, Rc<Vec<Sealed>>>,
    /// What was lost and merged.
    pub tally: Tally,
    /// How far each stream was confirmed.
    pub mark: BTreeMap<Stream, Mark>,
}

impl Rows {
    /// An empty store.
    #[must_use]
    pub(crate) fn fresh(lineage: LineageId) -> Self {
        Self {
            lineage,
            secret: None,
            worked: None,
            heads: BTreeMap::new(),
            entries: BTreeMap::new(),
            blocks: BTreeMap::new(),
            files: BTreeMap::new(),
            tally: Tally::default(),
            mark: BTreeMap::new(),
        }
    }

    /// The store that takes the place of an unreadable one: its first number says so.
    #[must_use]
    pub(crate) fn after_quarantine(lineage: LineageId) -> Self {
        let mut rows = Self::fresh(lineage);
        for stream in Stream::ALL {
            let entry = Entry {
                last: 1,
                content: Content::Gap(GapReason::Quarantined),
            };
            rows.entries.insert((stream, 1), (entry, None));
            let head = Head {
                next: 2,
                ..Head::default()
            };
            rows.heads.insert(stream, head);
        }
        rows
    }

    /// Reads everything back; returns the ledger and what must be written because rows are missing.
    #[must_use]
    pub(super) fn load(&mut self, quota_bytes: u64) -> Ledger {
        let mut heads = self.heads.clone();
        for (stream, mark) in &self.mark {
            let head = heads.entry(*stream).or_insert(Head::lost(mark.next));
            head.next = head.next.max(mark.next);
            head.offered_up_to = head.offered_up_to.max(mark.offered_up_to);
        }
        let rows = self.entries.iter();
        let mut stored: Vec<_> = rows
            .map(|((of, first), row)| (*of, *first, row.0))
            .collect();
        for &(stream, first, last, block) in self.blocks.values() {
            let taken = self.covered(stream, first, last);
            let head = heads.get(&stream).copied().unwrap_or_default();
            if taken.is_empty() && first > head.offered_up_to.max(head.acknowledged) {
                let content = Content::Block(block);
                stored.push((stream, first, Entry { last, content }));
                continue;
            }
            for piece in self.pieces(block.id, first) {
                if taken.range(piece.first..=piece.last).next().is_none() {
                    let content = Content::Piece {
                        block,
                        index: piece.index,
                        payload_bytes: piece.payload_bytes,
                    };
                    let last = piece.last;
                    stored.push((stream, piece.first, Entry { last, content }));
                }
            }
        }
        let (ledger, repairs) = Ledger::load(quota_bytes, self.tally, &heads, stored);
        self.write(None, &repairs, &[]);
        let held: BTreeSet<BlockId> = Stream::ALL
            .into_iter()
            .flat_map(|stream| ledger.entries(stream))
            .filter_map(|(_, entry)| block_of(entry.content))
            .collect();
        // Files that no row names are what a kill left behind, and rows without an entry what damage did.
        self.blocks.retain(|id, _| held.contains(id));
        self.files.retain(|id, _| held.contains(id));
        ledger
    }

    /// Numbers from `first` to `last` that stand in rows of their own.
    fn covered(&self, stream: Stream, first: u64, last: u64) -> BTreeSet<u64> {
        let rows = self.entries.range((stream, 0)..=(stream, last));
        rows.filter(|(_, (entry, _))| entry.last >= first)
            .flat_map(|((_, from), (entry, _))| (*from).max(first)..=entry.last.min(last))
            .collect()
    }

    /// What can be read of the block that begins at `first`.
    #[must_use]
    pub(super) fn pieces(&self, id: BlockId, first: u64) -> Vec<Piece> {
        let mut next = first;
        let sealed = self.files.get(&id).map_or(&[][..], |file| file.as_slice());
        let pieces = (0..).zip(sealed).filter_map(|(index, sealed)| {
            let first = next;
            next += sealed.span;
            (sealed.read == Read::Sound).then_some(Piece {
                index,
                first,
                last: next - 1,
                payload_bytes: sealed.bytes,
            })
        });
        pieces.collect()
    }

    /// The records behind the entry at `first`, each with its first number and its last.
    #[must_use]
    pub(super) fn behind(&self, stream: Stream, first: u64, entry: Entry) -> Vec<Standing> {
        let sealed = |id: BlockId, index: u32| {
            let file = self.files.get(&id)?;
            file.get(usize::try_from(index).ok()?).copied()
        };
        match entry.content {
            Content::Gap(_) => Vec::new(),
            Content::Record { payload_bytes } => {
                let row = self.entries.get(&(stream, first));
                let payload = row.and_then(|(_, payload)| *payload);
                let standing = |payload| Standing {
                    first,
                    last: entry.last,
                    payload,
                    bytes: payload_bytes,
                };
                payload.map(standing).into_iter().collect()
            }
            Content::Piece { block, index, .. } => {
                let sealed = sealed(block.id, index).filter(|sealed| sealed.read == Read::Sound);
                let standing = |sealed: Sealed| Standing {
                    first,
                    last: entry.last,
                    payload: sealed.payload,
                    bytes: sealed.bytes,
                };
                sealed.map(standing).into_iter().collect()
            }
            Content::Block(block) => {
                let pieces = self.pieces(block.id, first).into_iter();
                let standing = |piece: Piece| {
                    Some(Standing {
                        first: piece.first,
                        last: piece.last,
                        payload: sealed(block.id, piece.index)?.payload,
                        bytes: piece.payload_bytes,
                    })
                };
                pieces.filter_map(standing).collect()
            }
        }
    }

    /// Writes `changes` that `ledger` decided on and has not taken over yet.
    pub(super) fn write(
        &mut self,
        ledger: Option<&Ledger>,
        changes: &[Change],
        fresh: &[(Stream, u64, Payload)],
    ) {
        for change in changes {
            match *change {
                Change::Put {
                    stream,
                    first,
                    entry,
                } => {
                    let new = fresh
                        .iter()
                        .find(|(of, sequence, _)| *of == stream && *sequence == first);
                    self.put(stream, first, entry, new.map(|(.., payload)| *payload));
                }
                Change::Drop { stream, first } => {
                    self.entries.remove(&(stream, first));
                }
                Change::Move {
                    stream,
                    from,
                    first,
                    entry,
                } => {
                    let old = ledger
                        .and_then(|ledger| ledger.entries_between(stream, from, from).next())
                        .map(|(_, entry)| *entry);
                    let payload = old.and_then(|old| {
                        let behind = self.behind(stream, from, old);
                        behind.first().map(|standing| standing.payload)
                    });
                    self.entries.remove(&(stream, from));
                    self.put(stream, first, entry, payload);
                }
                Change::Head { stream, head } => {
                    self.heads.insert(stream, head);
                }
                Change::Tally(tally) => self.tally = tally,
            }
        }
        for id in ledger.map_or_else(Vec::new, |ledger| ledger.emptied(changes)) {
            self.blocks.remove(&id);
            self.files.remove(&id);
        }
    }

    fn put(&mut self, stream: Stream, first: u64, entry: Entry, payload: Option<Payload>) {
        match entry.content {
            Content::Record { .. } => {
                self.entries.insert((stream, first), (entry, payload));
            }
            Content::Gap(_) => {
                self.entries.insert((stream, first), (entry, None));
            }
            Content::Block(block) => {
                let place = (stream, first, entry.last, block);
                self.blocks.insert(block.id, place);
            }
            Content::Piece { .. } => {}
        }
    }
}

/// Records of one payload and where they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    /// The records.
    pub payload: Payload,
    /// Length.
    pub bytes: u64,
}

fn block_of(content: Content) -> Option<BlockId> {
    match content {
        Content::Block(block) | Content::Piece { block, .. } => Some(block.id),
        Content::Record { .. } | Content::Gap(_) => None,
    }
}
