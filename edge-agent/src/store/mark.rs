//! How far a store was ever confirmed, and what was written today, in a small file beside sled's own.
//!
//! sled forgets the end of its log without a word when that end is damaged; then this file knows
//! better: lost numbers become a declared gap, and what was offered is still known as offered, so that
//! it is not taken for new and counted twice. Two slots are written in turn, so that a torn
//! write leaves the other one. Written after the commit it describes, so it never runs ahead; made durable with
//! every block and at the end, so that an append costs one fdatasync and not two. A power cut may thus leave an
//! older mark, which only notices less.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use edge_core::outbox::{Stream, Wear};
use millwright_proto::ids::Lineage;

use super::StoreError;

const FILE_NAME: &str = "mark";

/// Distance of the two slots: a power cut may spoil the whole page that is being written, and the other
/// slot must not lie in it.
const SLOT_BYTES: u64 = 4096;

/// crc32c, turn, lineage, of both streams `next` and `offered_up_to`, day and bytes written on it.
const LENGTH: usize = 4 + 8 + 16 + 2 * 16 + 4 + 8;

/// The open file.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    turn: u64,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The number of the next record.
    pub(super) next: u64,
    /// The highest number that may ever have been sent.
    pub(super) offered_up_to: u64,
}

/// Per stream, as last confirmed.
pub(super) type Confirmed = BTreeMap<Stream, Reached>;

/// Turn, lineage, what was confirmed, what was written.
type Slot = (u64, Lineage, Confirmed, Wear);

impl Mark {
    /// Opens or makes the file and reads what it holds of `lineage`.
    pub(super) fn open(
        directory: &Path,
        lineage: Lineage,
    ) -> Result<(Self, Confirmed, Wear), StoreError> {
        let path = directory.join(FILE_NAME);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        let (turn, confirmed, wear) = match newest(&file) {
            Some((turn, of, confirmed, wear)) if of == lineage => (turn, confirmed, wear),
            Some((turn, _, _, wear)) => (turn, Confirmed::new(), wear),
            None => (0, Confirmed::new(), Wear::default()),
        };
        Ok((Self { path, file, turn }, confirmed, wear))
    }

    /// Whether a store in `directory` ever confirmed anything.
    pub(super) fn exists(directory: &Path) -> bool {
        File::open(directory.join(FILE_NAME)).is_ok_and(|file| newest(&file).is_some())
    }

    /// Notes `confirmed` and `wear`.
    pub(super) fn write(
        &mut self,
        lineage: Lineage,
        confirmed: &Confirmed,
        wear: Wear,
    ) -> Result<(), StoreError> {
        self.turn += 1;
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&self.turn.to_be_bytes());
        bytes.extend_from_slice(lineage.as_bytes());
        for stream in Stream::ALL {
            let reached = confirmed.get(&stream).copied().unwrap_or_default();
            bytes.extend_from_slice(&reached.next.to_be_bytes());
            bytes.extend_from_slice(&reached.offered_up_to.to_be_bytes());
        }
        let day = u32::try_from(wear.day).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&day.to_be_bytes());
        bytes.extend_from_slice(&wear.written_bytes.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_be_bytes());
        self.file
            .write_all_at(&bytes, (self.turn % 2) * SLOT_BYTES)
            .map_err(|source| failed("write", &self.path, source))
    }

    /// Makes what was noted durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|source| failed("sync", &self.path, source))
    }
}

fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// The sound slot that was written last.
fn newest(file: &File) -> Option<Slot> {
    let slot = |index: u64| {
        let mut bytes = [0; LENGTH];
        file.read_exact_at(&mut bytes, index * SLOT_BYTES).ok()?;
        decode(&bytes)
    };
    slot(0)
        .into_iter()
        .chain(slot(1))
        .max_by_key(|(turn, ..)| *turn)
}

fn decode(bytes: &[u8; LENGTH]) -> Option<Slot> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (turn, rest) = rest.split_first_chunk::<8>()?;
    let (lineage, mut rest) = rest.split_first_chunk::<16>()?;
    let mut confirmed = Confirmed::new();
    for stream in Stream::ALL {
        let (next, after) = rest.split_first_chunk::<8>()?;
        let (offered_up_to, after) = after.split_first_chunk::<8>()?;
        let reached = Reached {
            next: u64::from_be_bytes(*next),
            offered_up_to: u64::from_be_bytes(*offered_up_to),
        };
        confirmed.insert(stream, reached);
        rest = after;
    }
    let (day, written_bytes) = rest.split_first_chunk::<4>()?;
    let wear = Wear {
        day: u64::from(u32::from_be_bytes(*day)),
        written_bytes: u64::from_be_bytes(written_bytes.try_into().ok()?),
    };
    Some((
        u64::from_be_bytes(*turn),
        Lineage::from_bytes(*lineage),
        confirmed,
        wear,
    ))
}
