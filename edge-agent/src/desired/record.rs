//! One desired state as bytes in a file.
//!
//! ```text
//! "MWDESIRE" | version u8 = 1 | generation u64 | SHA-256 (32) | length u32 | document | CRC-32C u32
//! ```
//! Numbers are big-endian; the CRC covers everything before it.

use bytes::Bytes;
use millwright_proto::Digest;
use millwright_proto::frame::FRAME_BYTES_MAX;
use millwright_proto::ids::Generation;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"MWDESIRE";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8 + 1 + 8 + 32 + 4;
const CRC_BYTES: usize = 4;

/// Why bytes are no record.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum RecordError {
    #[error("it is cut off or not a desired state at all")]
    Form,
    #[error("it has version {0}; this agent reads {VERSION}")]
    Version(u8),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its content is not what its digest says")]
    Digest,
}

/// One desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) generation: Generation,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        debug_assert!(self.bytes.len() <= FRAME_BYTES_MAX, "it came in one frame");
        let length = u32::try_from(self.bytes.len()).expect("a document fits one frame");
        let mut out = Vec::with_capacity(HEADER_BYTES + self.bytes.len() + CRC_BYTES);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.generation.get().to_be_bytes());
        out.extend_from_slice(self.digest.as_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (covered, crc) = bytes
            .split_last_chunk::<CRC_BYTES>()
            .ok_or(RecordError::Form)?;
        let rest = covered.strip_prefix(MAGIC).ok_or(RecordError::Form)?;
        let (&version, rest) = rest.split_first().ok_or(RecordError::Form)?;
        if crc32c::crc32c(covered) != u32::from_be_bytes(*crc) {
            return Err(RecordError::Checksum);
        }
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let (generation, rest) = rest.split_first_chunk::<8>().ok_or(RecordError::Form)?;
        let (digest, rest) = rest.split_first_chunk::<32>().ok_or(RecordError::Form)?;
        let (length, document) = rest.split_first_chunk::<4>().ok_or(RecordError::Form)?;
        if usize::try_from(u32::from_be_bytes(*length)) != Ok(document.len()) {
            return Err(RecordError::Form);
        }
        let digest = Digest::from_sha256(*digest);
        if Digest::of(document) != digest {
            return Err(RecordError::Digest);
        }
        Ok(Self {
            generation: Generation::new(u64::from_be_bytes(*generation)),
            digest,
            bytes: Bytes::copy_from_slice(document),
        })
    }
}
