//! An open outbox: the ledger in memory and the rows on disk, moved together.

use bytes::Bytes;
use edge_core::link::Transport;
use edge_core::outbox::{
    Backlog, Change, Content, Cursor, Entry, GapReason, Head, Ledger, Offer, Room, Stream,
};
use millwright_proto::ids::Lineage;

use crate::store::database::Database;
use crate::store::mark::{Mark, Reached};
use crate::store::outbox::contents::{self, Contents};
use crate::store::outbox::{Greeting, Outgoing, OutgoingBody};
use crate::store::recovery::Opened;
use crate::store::schema::{Identity, Key, Kind, Row, encode_gap, encode_head, stream_code};
use crate::store::{RecoveryNote, StoreError};

/// See the module.
pub(super) struct Books {
    database: Database,
    ledger: Ledger,
    identity: Identity,
    mark: Mark,
}

impl Books {
    /// Takes over an opened store; `unconfirmed` numbers are removed from it, whatever else it holds.
    pub(super) fn open(
        opened: Opened<Contents>,
        quota_bytes: u64,
        unconfirmed: &[(Stream, u64)],
    ) -> Result<(Self, Vec<RecoveryNote>), StoreError> {
        let Opened {
            database,
            mut contents,
            note,
        } = opened;
        let mut notes: Vec<_> = note.into_iter().collect();
        let quarantined = matches!(notes.first(), Some(RecoveryNote::Quarantined { .. }));
        let mut batch = sled::Batch::default();
        let fresh = contents.identity.is_none();
        let identity = contents.identity.take().unwrap_or_else(|| {
            let identity = Identity::fresh(contents::fresh_lineage());
            batch.insert(Key::Greeting.encode(), identity.encode());
            if quarantined {
                declare_quarantine(&mut contents);
            }
            identity
        });
        forget(&mut contents, unconfirmed);
        let (mark, confirmed) = Mark::open(database.directory(), identity.lineage)?;
        for (stream, reached) in confirmed {
            let head = contents.heads.entry(stream).or_default();
            head.next = head.next.max(reached.next);
            head.offered_up_to = head.offered_up_to.max(reached.offered_up_to);
        }
        let known = contents.heads.clone();
        for key in &contents.damaged {
            batch.remove(&key[..]);
        }
        let (ledger, repairs) = Ledger::load(quota_bytes, &contents.heads, contents.entries);
        // Reading a sound store writes nothing, so that a full disk does not keep the agent from starting.
        let sound = contents.damaged.is_empty()
            && repairs.iter().all(|change| match change {
                Change::Head { stream, head } => known.get(stream) == Some(head),
                Change::Put { .. } | Change::Drop { .. } | Change::Move { .. } => false,
            });
        let lost = contents::corrupt_numbers(&repairs);
        if lost > 0 {
            notes.push(RecoveryNote::Lost {
                numbers: lost,
                directory: database.directory().to_owned(),
            });
        }
        let mut books = Self {
            database,
            ledger,
            identity,
            mark,
        };
        for change in &repairs {
            books.write(&mut batch, change, &[])?;
        }
        if quarantined {
            books.write_quarantine(&mut batch)?;
        }
        if fresh || !sound {
            books.database.commit(batch)?;
            books.write_mark();
        }
        Ok((books, notes))
    }

    /// Writes the gaps a quarantine declared, which are not among the repairs.
    fn write_quarantine(&self, batch: &mut sled::Batch) -> Result<(), StoreError> {
        for stream in Stream::ALL {
            for (first, entry) in self.ledger.entries(stream) {
                let change = Change::Put {
                    stream,
                    first,
                    entry: *entry,
                };
                self.write(batch, &change, &[])?;
            }
        }
        Ok(())
    }

    pub(super) fn lineage(&self) -> Lineage {
        self.identity.lineage
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.ledger.backlog()
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.ledger.cursor()
    }

    pub(super) fn greeting(&self) -> Greeting {
        let stream = |stream| (stream, self.ledger.oldest(stream), self.ledger.head(stream));
        Greeting {
            lineage: self.identity.lineage,
            secret: self.identity.secret.clone(),
            worked: self.identity.worked,
            streams: Stream::ALL.into_iter().map(stream).collect(),
        }
    }

    /// `tried` is filled with the numbers that a failed commit may have left on disk.
    pub(super) fn append(
        &mut self,
        records: &[(Stream, Bytes)],
        tried: &mut Vec<(Stream, u64)>,
    ) -> Result<Vec<u64>, StoreError> {
        let sizes: Vec<_> = records
            .iter()
            .map(|(stream, payload)| (*stream, payload.len() as u64))
            .collect();
        let appended = self.ledger.append(&sizes);
        let payloads: Vec<_> = records
            .iter()
            .zip(&appended.sequences)
            .map(|((stream, payload), sequence)| (*stream, *sequence, payload.clone()))
            .collect();
        tried.extend(
            payloads
                .iter()
                .map(|(stream, sequence, _)| (*stream, *sequence)),
        );
        self.commit(&appended.changes, &payloads, sled::Batch::default())?;
        self.write_mark();
        Ok(appended.sequences)
    }

    pub(super) fn welcomed(
        &mut self,
        transport: Transport,
        secret: Vec<u8>,
        watermarks: &[(Stream, u64)],
    ) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        for stream in Stream::ALL {
            let named = watermarks.iter().find(|(named, _)| *named == stream);
            let through = named.map_or(0, |(_, through)| *through);
            changes.extend(self.ledger.welcome(stream, through));
        }
        let identity = Identity {
            lineage: self.identity.lineage,
            secret,
            worked: Some(transport),
        };
        let mut batch = sled::Batch::default();
        batch.insert(Key::Greeting.encode(), identity.encode());
        self.commit(&changes, &[], batch)?;
        self.identity = identity;
        self.write_mark();
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, stream: Stream, through: u64) -> Result<(), StoreError> {
        let changes = self.ledger.acknowledge(stream, through)?;
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(&changes, &[], sled::Batch::default())
    }

    /// What was offered is marked too: a store that forgot it would take what the cloud counted for
    /// numbers used twice, and send it again under new ones.
    pub(super) fn offer(
        &mut self,
        cursor: &Cursor,
        room: Room,
    ) -> Result<(Vec<Outgoing>, Cursor), StoreError> {
        let (offers, mut changes, cursor) = self.ledger.offer(cursor, room);
        let mut outgoing = Vec::with_capacity(offers.len());
        for offer in offers {
            let body = match offer.content {
                Content::Gap(reason) => OutgoingBody::Gap(reason),
                Content::Record { .. } => match self.payload(&offer)? {
                    Some(payload) => OutgoingBody::Record(payload),
                    None => {
                        changes.push(corrupt(&offer));
                        OutgoingBody::Gap(GapReason::Corrupt)
                    }
                },
            };
            outgoing.push(Outgoing {
                stream: offer.stream,
                first: offer.first,
                last: offer.last,
                body,
            });
        }
        if !changes.is_empty() {
            self.commit(&changes, &[], sled::Batch::default())?;
            self.write_mark();
        }
        Ok((outgoing, cursor))
    }

    /// The payload of a record; `None` when the row is gone or damaged since the start.
    fn payload(&self, offer: &Offer) -> Result<Option<Bytes>, StoreError> {
        let key = Key::Entry(offer.stream, offer.key).encode();
        let Some(value) = self.database.get(&key)? else {
            return Ok(None);
        };
        let sound = Row::decode(&value).filter(|row| {
            let entry = contents::entry(row, offer.stream, offer.key);
            row.lineage == self.identity.lineage
                && entry.is_some_and(|e| e.last == offer.last && e.content == offer.content)
        });
        Ok(sound.map(|row| Bytes::copy_from_slice(row.payload)))
    }

    /// Makes `changes` durable together with `batch`, then takes them over.
    fn commit(
        &mut self,
        changes: &[Change],
        payloads: &[(Stream, u64, Bytes)],
        mut batch: sled::Batch,
    ) -> Result<(), StoreError> {
        for change in changes {
            self.write(&mut batch, change, payloads)?;
        }
        self.database.commit(batch)?;
        for change in changes {
            self.ledger.apply(change);
        }
        Ok(())
    }

    fn write(
        &self,
        batch: &mut sled::Batch,
        change: &Change,
        payloads: &[(Stream, u64, Bytes)],
    ) -> Result<(), StoreError> {
        match *change {
            Change::Put {
                stream,
                first,
                entry,
            } => {
                let payload = payloads
                    .iter()
                    .find(|(of, sequence, _)| *of == stream && *sequence == first);
                let payload = payload.map_or(&[][..], |(.., payload)| payload);
                self.write_entry(batch, stream, first, entry, payload);
            }
            Change::Drop { stream, first } => batch.remove(Key::Entry(stream, first).encode()),
            Change::Move {
                stream,
                from,
                first,
                entry,
            } => {
                let old = Key::Entry(stream, from).encode();
                let value = self.database.get(&old)?;
                let row = value.as_deref().and_then(Row::decode);
                let payload = row.ok_or_else(|| StoreError::Damaged {
                    what: "record that was to be renumbered",
                    directory: self.database.directory().to_owned(),
                })?;
                self.write_entry(batch, stream, first, entry, payload.payload);
                batch.remove(old);
            }
            Change::Head { stream, head } => {
                let row = encode_head(self.identity.lineage, stream, head);
                batch.insert(Key::Head(stream).encode(), row);
            }
        }
        Ok(())
    }

    fn write_entry(
        &self,
        batch: &mut sled::Batch,
        stream: Stream,
        first: u64,
        entry: Entry,
        payload: &[u8],
    ) {
        let lineage = self.identity.lineage;
        let row = match entry.content {
            Content::Gap(reason) => encode_gap(lineage, stream, first, entry.last, reason),
            Content::Record { .. } => Row {
                kind: Kind::Record,
                stream: stream_code(stream),
                lineage,
                first,
                last: entry.last,
                payload,
            }
            .encode(),
        };
        batch.insert(Key::Entry(stream, first).encode(), row);
    }

    /// The mark only helps to notice damage, and the commit before it is durable: a failure must not
    /// make a caller append again.
    fn write_mark(&mut self) {
        let reached = |stream| {
            let head = self.ledger.head(stream);
            let reached = Reached {
                next: head.next,
                offered_up_to: head.offered_up_to,
            };
            (stream, reached)
        };
        let confirmed = Stream::ALL.into_iter().map(reached).collect();
        if let Err(error) = self.mark.write(self.identity.lineage, &confirmed) {
            tracing::warn!(%error, "cannot note how far the outbox is");
        }
    }
}

fn corrupt(offer: &Offer) -> Change {
    Change::Put {
        stream: offer.stream,
        first: offer.key,
        entry: Entry {
            last: offer.last,
            content: Content::Gap(GapReason::Corrupt),
        },
    }
}

/// The first number of every stream of the fresh store says that an earlier store was lost.
fn declare_quarantine(contents: &mut Contents) {
    for stream in Stream::ALL {
        let entry = Entry {
            last: 1,
            content: Content::Gap(GapReason::Quarantined),
        };
        contents.entries.push((stream, 1, entry));
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
