//! Block files: many records in one file that is written once and never changed.
//!
//! ```text
//! crc32c u32 | version u8 | stream u8 | lineage [16] | id u64 | records u32
//! then per record: crc32c u32 | span u32 | length u32 | payload
//! ```
//! All numbers are big-endian. A record's CRC covers lineage, block, stream and place as well, so that no record
//! can be taken for another. Where the block stands in its stream is told by its row, and only a row makes a
//! file count: a file without one is what a kill left behind and is removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edge_core::outbox::{Block, BlockId, Piece, Resolution, Stream};
use millwright_proto::ids::Lineage;

use crate::store::StoreError;
use crate::store::schema::stream_code;

/// Directory of the block files inside that of the outbox.
const DIRECTORY: &str = "blocks";

const VERSION: u8 = 1;

const HEADER_BYTES: usize = 4 + 1 + 1 + 16 + 8 + 4;

const RECORD_HEADER_BYTES: usize = 4 + 4 + 4;

/// File systems give space in pages.
const PAGE_BYTES: u64 = 4096;

/// A file longer than this is not a block: its records have [`edge_core::outbox::SEAL_BYTES`], and the last one may
/// have the longest payload there is.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One record on its way into a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealing {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) payload: Bytes,
}

/// A block in memory.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) id: BlockId,
    bytes: Bytes,
    records: Vec<Found>,
}

/// Index in the block, how many numbers it covers, and where its payload lies; `None` when it is damaged.
type Found = (u32, u64, Option<Range<usize>>);

/// The directory of the block files.
pub(super) struct Blocks {
    directory: PathBuf,
    lineage: Lineage,
}

impl Blocks {
    /// Opens the directory inside that of the outbox, and removes every file that is not in `known`.
    pub(super) fn open(
        outbox: &Path,
        lineage: Lineage,
        known: &BTreeSet<BlockId>,
    ) -> Result<Self, StoreError> {
        let directory = outbox.join(DIRECTORY);
        let blocks = Self { directory, lineage };
        let listed = match fs::read_dir(&blocks.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(blocks),
            listed => listed.map_err(|source| failed("list", &blocks.directory, source))?,
        };
        for entry in listed {
            let path = entry
                .map_err(|source| failed("list", &blocks.directory, source))?
                .path();
            let id = path
                .file_name()
                .and_then(|name| u64::from_str_radix(name.to_str()?, 16).ok());
            if !id.is_some_and(|id| known.contains(&BlockId(id))) {
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            }
        }
        Ok(blocks)
    }

    /// Writes a block; it is durable when this returns.
    pub(super) fn write(
        &self,
        id: BlockId,
        stream: Stream,
        resolution: Resolution,
        records: &[Sealing],
    ) -> Result<Block, StoreError> {
        let bytes = encode(self.lineage, id, stream, records)?;
        let path = self.path(id);
        let written = self.write_file(&path, &bytes);
        if written.is_err() {
            // Half a block is worth nothing, and the room is needed; the next start would remove it too.
            drop(fs::remove_file(&path));
        }
        written?;
        Ok(Block {
            id,
            records: u32::try_from(records.len()).unwrap_or(u32::MAX),
            payload_bytes: records.iter().map(|r| r.payload.len() as u64).sum(),
            disk_bytes: (bytes.len() as u64).next_multiple_of(PAGE_BYTES),
            resolution,
        })
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if !self.directory.exists() {
            fs::create_dir_all(&self.directory)
                .and_then(|()| sync_directory(self.directory.parent().unwrap_or(Path::new("."))))
                .map_err(|source| failed("create", &self.directory, source))?;
        }
        let mut file = File::create_new(path).map_err(|source| failed("create", path, source))?;
        file.write_all(bytes)
            .map_err(|source| failed("write", path, source))?;
        file.sync_data()
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|source| failed("sync", path, source))
    }

    /// Reads a block. One that is gone, or whose header is damaged, has no records.
    pub(super) fn load(&self, id: BlockId, stream: Stream) -> Result<Loaded, StoreError> {
        let path = self.path(id);
        let none = Loaded {
            id,
            bytes: Bytes::new(),
            records: Vec::new(),
        };
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(none),
            Err(source) => return Err(failed("read", &path, source)),
        };
        if length > FILE_BYTES_MAX {
            return Ok(none);
        }
        let bytes = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        let bytes = Bytes::from(bytes);
        let records = decode(self.lineage, id, stream, &bytes).unwrap_or_default();
        Ok(Loaded { id, bytes, records })
    }

    /// Removes the file of a block that no row names any more. A file that stays is removed at the next start.
    pub(super) fn remove(&self, id: BlockId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a block of the outbox");
        }
    }

    /// Bytes that the block files take on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        crate::store::database::disk_bytes(&self.directory)
    }

    fn path(&self, id: BlockId) -> PathBuf {
        self.directory.join(format!("{:016x}", id.0))
    }
}

impl Loaded {
    /// Its sound records as they lie in the stream when the block covers `first` to `last`.
    pub(super) fn pieces(&self, first: u64, last: u64) -> Vec<Piece> {
        let covered: u64 = self.records.iter().map(|(_, span, _)| span).sum();
        let whole = first + covered == last + 1;
        let mut next = first;
        let mut pieces = Vec::with_capacity(self.records.len());
        for (index, span, range) in &self.records {
            // What a damaged record says of its span is believed only if all spans together fit.
            if (range.is_none() && !whole) || next + span - 1 > last {
                break;
            }
            if let Some(range) = range {
                pieces.push(Piece {
                    index: *index,
                    first: next,
                    last: next + span - 1,
                    payload_bytes: range.len() as u64,
                });
            }
            next += span;
        }
        pieces
    }

    /// The payload of a record; `None` when it is damaged.
    pub(super) fn payload(&self, index: u32) -> Option<Bytes> {
        let record = self.records.get(usize::try_from(index).ok()?)?;
        Some(self.bytes.slice(record.2.clone()?))
    }
}

fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path).and_then(|opened| opened.sync_all())
}

/// CRC of a record over all that makes it this record.
fn record_crc(lineage: Lineage, id: BlockId, stream: Stream, index: u32, rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c(lineage.as_bytes());
    let crc = crc32c::crc32c_append(crc, &id.0.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &[stream_code(stream)]);
    let crc = crc32c::crc32c_append(crc, &index.to_be_bytes());
    crc32c::crc32c_append(crc, rest)
}

fn encode(
    lineage: Lineage,
    id: BlockId,
    stream: Stream,
    records: &[Sealing],
) -> Result<Vec<u8>, StoreError> {
    let small = |number: u64| {
        u32::try_from(number).map_err(|_| StoreError::TooLarge {
            length: usize::try_from(number).unwrap_or(usize::MAX),
            limit: u32::MAX as usize,
        })
    };
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&[VERSION, stream_code(stream)]);
    bytes.extend_from_slice(lineage.as_bytes());
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&small(records.len() as u64)?.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    for (index, record) in records.iter().enumerate() {
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&small(record.last - record.first + 1)?.to_be_bytes());
        bytes.extend_from_slice(&small(record.payload.len() as u64)?.to_be_bytes());
        bytes.extend_from_slice(&record.payload);
        let index = small(index as u64)?;
        let crc = record_crc(lineage, id, stream, index, &bytes[at + 4..]);
        bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    Ok(bytes)
}

/// `None` when the header is not the one that was written. Records behind a damaged header of one are lost with
/// it, for where they begin is not known.
fn decode(lineage: Lineage, id: BlockId, stream: Stream, bytes: &[u8]) -> Option<Vec<Found>> {
    let (crc, header) = bytes.get(..HEADER_BYTES)?.split_first_chunk::<4>()?;
    let mut expected = vec![VERSION, stream_code(stream)];
    expected.extend_from_slice(lineage.as_bytes());
    expected.extend_from_slice(&id.0.to_be_bytes());
    if crc32c::crc32c(header) != u32::from_be_bytes(*crc) || !header.starts_with(&expected) {
        return None;
    }
    let count = u32::from_be_bytes(header[expected.len()..].try_into().ok()?);
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    for index in 0..count {
        let Some(head) = bytes.get(at..at + RECORD_HEADER_BYTES) else {
            break;
        };
        let number = |range: Range<usize>| {
            let bytes = <[u8; 4]>::try_from(&head[range]).unwrap_or_default();
            u32::from_be_bytes(bytes)
        };
        let (crc, span, length) = (number(0..4), number(4..8), number(8..12));
        let start = at + RECORD_HEADER_BYTES;
        let end = start.saturating_add(length as usize);
        if end > bytes.len() || span == 0 {
            break;
        }
        let sound = record_crc(lineage, id, stream, index, &bytes[at + 4..end]) == crc;
        if !sound && !next_is_sound(lineage, id, stream, index, count, bytes, end) {
            break;
        }
        records.push((index, u64::from(span), sound.then_some(start..end)));
        at = end;
    }
    Some(records)
}

/// Whether what follows a damaged record is sound. Then its payload is damaged and not its length, so the records
/// behind it are where they should be.
fn next_is_sound(
    lineage: Lineage,
    id: BlockId,
    stream: Stream,
    index: u32,
    count: u32,
    bytes: &[u8],
    at: usize,
) -> bool {
    if index + 1 == count {
        return false;
    }
    let next = bytes.get(at..).unwrap_or_default();
    let Some((head, _)) = next.split_first_chunk::<RECORD_HEADER_BYTES>() else {
        return false;
    };
    let [c0, c1, c2, c3, _, _, _, _, l0, l1, l2, l3] = *head;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    next.get(4..RECORD_HEADER_BYTES.saturating_add(length))
        .is_some_and(|rest| {
            record_crc(lineage, id, stream, index + 1, rest) == u32::from_be_bytes([c0, c1, c2, c3])
        })
}
