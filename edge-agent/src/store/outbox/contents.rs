//! What an outbox directory holds, read and checked row by row.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use edge_core::outbox::{BlockId, Content, Entry, Head, Standing, StoredBlock, Stream, Tally};
use millwright_proto::ids::Lineage;

use crate::store::StoreError;
use crate::store::database::Database;
use crate::store::mark::Mark;
use crate::store::schema::{
    Identity, Key, Kind, Row, decode_block, decode_gap_reason, decode_head, decode_tally,
    stream_code, stream_from_code,
};

/// Everything but the payloads.
#[derive(Default)]
pub(super) struct Contents {
    /// `None` in a fresh store.
    pub(super) identity: Option<Identity>,
    pub(super) heads: BTreeMap<Stream, Head>,
    pub(super) tally: Tally,
    /// Records and gaps in rows of their own.
    pub(super) entries: Vec<Standing>,
    /// Blocks as their rows tell of them.
    pub(super) blocks: Vec<StoredBlock>,
    /// Keys of rows that are damaged or foreign; to be removed.
    pub(super) damaged: Vec<Vec<u8>>,
}

/// Reads `database`. Damaged entries are only listed, for their numbers become gaps; without a sound
/// greeting and heads nothing else can be trusted, so that is an error.
pub(super) fn read(database: &Database) -> Result<Contents, StoreError> {
    let mut contents = Contents::default();
    let mut unsound = None;
    let mut rows = 0_u64;
    database.scan(|key, value| {
        rows += 1;
        match (Key::decode(key), Row::decode(value)) {
            (Some(Key::Greeting), _) => match Identity::decode(value) {
                Some(identity) => contents.identity = Some(identity),
                None => unsound = Some("greeting"),
            },
            (Some(Key::Head(stream)), row) => {
                match row.filter(|row| row.stream == stream_code(stream)) {
                    Some(row) if decode_head(&row).is_some() => {
                        contents
                            .heads
                            .extend(decode_head(&row).map(|head| (stream, head)));
                    }
                    Some(_) | None => unsound = Some("stream head"),
                }
            }
            (Some(Key::Entry(stream, first)), Some(row)) => {
                // The greeting has the lowest key, so it is known by now.
                let ours = contents
                    .identity
                    .as_ref()
                    .is_some_and(|i| i.lineage == row.lineage);
                match entry(&row, stream, first).filter(|_| ours) {
                    Some(entry) => contents.entries.push((stream, first, entry)),
                    None => contents.damaged.push(key.to_vec()),
                }
            }
            (Some(Key::Block(id)), Some(row)) => {
                match block(&row, id, contents.identity.as_ref()) {
                    Some(block) => contents.blocks.push(block),
                    None => contents.damaged.push(key.to_vec()),
                }
            }
            // People see a lower total then, and nothing else depends on it.
            (Some(Key::Tally), Some(row)) => {
                contents.tally = decode_tally(&row).unwrap_or_default();
            }
            (Some(Key::Entry(..) | Key::Block(_) | Key::Tally) | None, _) => {
                contents.damaged.push(key.to_vec());
            }
        }
    })?;
    if rows == 0 && Mark::exists(database.directory()) {
        // sled takes a damaged start of its log for an empty one.
        unsound = Some("log: it is empty");
    }
    let lineage = contents.identity.as_ref().map(|identity| identity.lineage);
    let complete = lineage.is_some() && contents.heads.len() == Stream::ALL.len();
    if unsound.is_none() && rows > 0 && !complete {
        unsound = Some("set of stream heads: rows are missing");
    }
    match unsound {
        Some(what) => Err(StoreError::Damaged {
            what,
            directory: database.directory().to_owned(),
        }),
        None => Ok(contents),
    }
}

/// The entry in `row`, if it is the one that belongs at `first` of `stream`.
pub(super) fn entry(row: &Row<'_>, stream: Stream, first: u64) -> Option<Entry> {
    if row.stream != stream_code(stream) || row.first != first || row.last < first || first == 0 {
        return None;
    }
    let content = match row.kind {
        Kind::Record => Content::Record {
            payload_bytes: row.payload.len() as u64,
        },
        Kind::Gap => Content::Gap(decode_gap_reason(row.payload)?),
        Kind::Head | Kind::Greeting | Kind::State | Kind::Block | Kind::Tally => return None,
    };
    Some(Entry {
        last: row.last,
        content,
    })
}

/// The block in `row`, if it is one of this store.
fn block(row: &Row<'_>, id: BlockId, identity: Option<&Identity>) -> Option<StoredBlock> {
    let ours = identity.is_some_and(|identity| identity.lineage == row.lineage);
    let stream = stream_from_code(row.stream)?;
    let block = decode_block(row, id).filter(|_| ours)?;
    Some(StoredBlock {
        stream,
        first: row.first,
        last: row.last,
        block,
    })
}

impl Contents {
    /// The blocks that have rows.
    pub(super) fn known_blocks(&self) -> BTreeSet<BlockId> {
        self.blocks.iter().map(|stored| stored.block.id).collect()
    }
}

/// A name for a fresh block.
pub(super) fn fresh_block() -> BlockId {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 8]>(&random)
        .expect("the kernel's random source does not fail once the system is up");
    BlockId(u64::from_be_bytes(bytes.expose()))
}

/// A lineage for a fresh store.
pub(super) fn fresh_lineage() -> Lineage {
    let random = ring::rand::SystemRandom::new();
    let bytes = ring::rand::generate::<[u8; 16]>(&random)
        .expect("the kernel's random source does not fail once the system is up");
    Lineage::from_bytes(bytes.expose())
}
