//! From what a directory holds to open books.

use edge_core::outbox::{
    self, Change, Content, Entry, GapReason, Head, Ledger, Standing, StoredBlock, Stream,
    corrupt_numbers,
};

use super::{Books, commit};
use crate::store::database::Purpose;
use crate::store::mark::Mark;
use crate::store::outbox::OutboxLimits;
use crate::store::outbox::blocks::Blocks;
use crate::store::outbox::contents::{self, Contents};
use crate::store::recovery::{Opened, aside};
use crate::store::schema::{Identity, Key};
use crate::store::{RecoveryNote, StoreError};

impl Books {
    /// Takes over an opened store; `unconfirmed` numbers are removed from it, whatever else it holds.
    pub(in crate::store::outbox::writer) fn open(
        opened: Opened<Contents>,
        limits: OutboxLimits,
        unconfirmed: &[(Stream, u64)],
    ) -> Result<(Self, Vec<RecoveryNote>), StoreError> {
        let Opened {
            database,
            mut contents,
            note,
        } = opened;
        let mut batch = sled::Batch::default();
        let fresh = contents.identity.is_none();
        let set_aside = match &note {
            Some(RecoveryNote::Quarantined { moved_to, .. }) => Some(moved_to.clone()),
            Some(RecoveryNote::Repaired { .. } | RecoveryNote::Lost { .. }) | None => None,
        };
        // A store that has its identity has declared what it replaced in the same commit.
        let quarantined = fresh && set_aside.is_some();
        let mut notes: Vec<_> = note
            .into_iter()
            .filter(|_| quarantined || set_aside.is_none())
            .collect();
        let identity = contents.identity.take().unwrap_or_else(|| {
            let identity = Identity::fresh(contents::fresh_lineage());
            batch.insert(Key::Greeting.encode(), identity.encode());
            if quarantined {
                declare_quarantine(&mut contents);
            }
            identity
        });
        forget(&mut contents, unconfirmed);
        let (mark, confirmed, wear) = Mark::open(database.directory(), identity.lineage)?;
        let known = contents.heads.clone();
        for (stream, reached) in confirmed {
            let head = contents.heads.entry(stream);
            let head = head.or_insert(Head::lost(reached.next));
            head.next = head.next.max(reached.next);
            head.offered_up_to = head.offered_up_to.max(reached.offered_up_to);
        }
        for key in &contents.damaged {
            batch.remove(&key[..]);
        }
        let blocks = Blocks::open(
            database.directory(),
            identity.lineage,
            &contents.known_blocks(),
        )?;
        let (entries, unread) = entries(&contents, &blocks)?;
        let (ledger, mut repairs) =
            Ledger::load(limits.quota_bytes, contents.tally, &contents.heads, entries);
        // Reading a sound store writes nothing, so that a full disk does not keep the agent from starting.
        let sound = contents.damaged.is_empty()
            && unread == 0
            && repairs.iter().all(|change| match change {
                Change::Head { stream, head } => known.get(stream) == Some(head),
                Change::Put { .. }
                | Change::Drop { .. }
                | Change::Move { .. }
                | Change::Tally(_) => false,
            });
        let lost = corrupt_numbers(&repairs);
        if lost > 0 {
            notes.push(RecoveryNote::Lost {
                numbers: lost,
                directory: database.directory().to_owned(),
            });
        }
        if quarantined {
            repairs.extend(quarantine_gaps(&ledger));
        }
        let mut books = Self {
            database,
            blocks,
            loaded: None,
            ledger,
            identity,
            mark,
            wear,
            limits,
            rotate_at_bytes: commit::ROTATE_BYTES_MIN,
        };
        books.set_quota();
        if fresh || !sound {
            books.write_changes(&repairs, &[], batch, Purpose::Store)?;
            books.write_mark();
            books.sync_mark();
        }
        if let Some(path) = set_aside {
            aside::declared(&path);
        }
        Ok((books, notes))
    }
}

/// Everything that stands in the streams, and how many records of opened blocks could not be read.
fn entries(contents: &Contents, blocks: &Blocks) -> Result<(Vec<Standing>, usize), StoreError> {
    let mut unread = 0;
    let pieces = |stored: &StoredBlock| {
        let loaded = blocks.load(stored.block.id, stored.stream)?;
        let pieces = loaded.pieces(stored.first, stored.last);
        unread += usize::try_from(stored.block.records)
            .unwrap_or(usize::MAX)
            .saturating_sub(pieces.len());
        Ok::<_, StoreError>(pieces)
    };
    let rows = contents.entries.clone();
    let placed = outbox::place(&contents.heads, rows, contents.blocks.clone(), pieces);
    Ok((placed?, unread))
}

/// The gaps that a quarantine declared, which are not among the repairs.
fn quarantine_gaps(ledger: &Ledger) -> Vec<Change> {
    let puts = Stream::ALL.into_iter().flat_map(|stream| {
        ledger
            .entries(stream)
            .map(move |(first, entry)| Change::Put {
                stream,
                first,
                entry: *entry,
            })
    });
    puts.chain([Change::Tally(ledger.tally())]).collect()
}

/// The first number of every stream of the fresh store says that an earlier store was lost.
fn declare_quarantine(contents: &mut Contents) {
    for stream in Stream::ALL {
        let entry = Entry {
            last: 1,
            content: Content::Gap(GapReason::Quarantined),
        };
        contents.entries.push((stream, 1, entry));
        contents.tally.lost[3] += 1;
        let head = Head {
            next: 2,
            ..Head::default()
        };
        contents.heads.insert(stream, head);
    }
}

/// Removes records whose append was answered with an error. They are the highest numbers of their
/// streams, because nothing was written after them.
fn forget(contents: &mut Contents, unconfirmed: &[(Stream, u64)]) {
    for &(stream, sequence) in unconfirmed {
        let before = contents.entries.len();
        contents
            .entries
            .retain(|(of, first, _)| !(*of == stream && *first == sequence));
        if contents.entries.len() < before {
            contents.damaged.push(Key::Entry(stream, sequence).encode());
            if let Some(head) = contents.heads.get_mut(&stream) {
                head.next = head.next.min(sequence);
            }
        }
    }
}
