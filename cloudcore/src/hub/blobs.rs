//! Ranges of blobs for nodes: only what a node's own desired state names, only while it has a session.

use std::io::SeekFrom;

use bytes::Bytes;
use fleet_api::NodePhase;
use millwright_identity::NodeIdentity;
use millwright_proto::Digest;
use millwright_proto::link::{BlobRequest, DesiredDocument};
use prost::Message as _;
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Hub;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Read from disk and sent at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Why a range is not served.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// Malformed.
    #[error("the request is malformed: {0}")]
    Malformed(String),
    /// Not this node's business, or gone; the two look alike from outside.
    #[error("blob {0} is not part of this node's desired state")]
    NotDesired(Digest),
    /// Beyond the end.
    #[error("the range begins at {offset}, blob {digest} has {size_bytes} bytes")]
    Range {
        digest: Digest,
        offset: u64,
        size_bytes: u64,
    },
    /// The node has no session.
    #[error("blobs are served only beside a live session")]
    NoSession,
    /// Not the node's fault.
    #[error("cloudcore cannot read its store: {0}")]
    Store(#[from] StoreError),
    /// Not the node's fault.
    #[error("cloudcore cannot read the blob: {0}")]
    Registry(#[from] RegistryError),
    /// Not the node's fault.
    #[error("cloudcore cannot read the blob: {0}")]
    Disk(#[from] std::io::Error),
}

/// What a node asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) digest: Digest,
    pub(super) offset: u64,
    /// `None`: to the end.
    pub(super) length: Option<u64>,
}

impl Range {
    pub(super) fn of(request: &BlobRequest) -> Result<Self, Refused> {
        let digest = request
            .digest
            .as_ref()
            .ok_or_else(|| Refused::Malformed("no digest".to_owned()))?;
        let digest =
            Digest::try_from(digest).map_err(|error| Refused::Malformed(error.to_string()))?;
        Ok(Self {
            digest,
            offset: request.offset,
            length: (request.length > 0).then_some(request.length),
        })
    }

    /// From the value of a `Range` header: `bytes=<first>-` or `bytes=<first>-<last>`.
    pub(super) fn of_header(digest: Digest, header: &str) -> Result<Self, Refused> {
        let malformed = || Refused::Malformed(format!("`{header}` is not bytes=<first>-<last>"));
        let (first, last) = header
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .ok_or_else(malformed)?;
        let offset: u64 = first.parse().map_err(|_| malformed())?;
        let length = match last {
            "" => None,
            last => {
                let last: u64 = last.parse().map_err(|_| malformed())?;
                Some(
                    last.checked_sub(offset)
                        .and_then(|span| span.checked_add(1))
                        .ok_or_else(malformed)?,
                )
            }
        };
        Ok(Self {
            digest,
            offset,
            length,
        })
    }
}

/// A range being read.
pub(super) struct Blob {
    file: File,
    left_bytes: u64,
}

impl Blob {
    pub(super) const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// The next bytes; `None` after the last.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        if self.left_bytes == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left_bytes.min(CHUNK_BYTES)).expect("a chunk is small");
        let mut chunk = vec![0; wanted];
        self.file.read_exact(&mut chunk).await?;
        self.left_bytes -= chunk.len() as u64;
        Ok(Some(chunk.into()))
    }
}

/// Opens a range for the node, if it may have it.
pub(super) async fn open(
    hub: &Hub,
    identity: &NodeIdentity,
    range: Range,
) -> Result<Blob, Refused> {
    let Range {
        digest,
        offset,
        length,
    } = range;
    if !hub.is_live(identity.uid) {
        return Err(Refused::NoSession);
    }
    let node = hub.parts.store.registered_node(identity.uid).await?;
    if node.is_none_or(|node| node.phase != NodePhase::Enrolled) {
        return Err(Refused::NoSession);
    }
    let desired = hub.parts.store.desired(identity.uid).await?;
    if !desired.is_some_and(|desired| names(&desired.document, digest)) {
        return Err(Refused::NotDesired(digest));
    }
    let mut blob = hub.parts.registry.open_blob(digest).await?;
    if offset > blob.size_bytes {
        return Err(Refused::Range {
            digest,
            offset,
            size_bytes: blob.size_bytes,
        });
    }
    let rest = blob.size_bytes - offset;
    blob.file.seek(SeekFrom::Start(offset)).await?;
    Ok(Blob {
        file: blob.file,
        left_bytes: length.map_or(rest, |length| length.min(rest)),
    })
}

fn names(document: &[u8], digest: Digest) -> bool {
    // What does not decode names nothing; the planner wrote it, so it does.
    let document = DesiredDocument::decode(document).unwrap_or_default();
    document
        .models
        .iter()
        .flat_map(|slot| &slot.files)
        .filter_map(|file| file.digest.as_ref())
        .any(|named| Digest::try_from(named) == Ok(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers_are_read_as_rfc_9110_says() {
        let digest = Digest::of(b"x");
        let range = |header| {
            Range::of_header(digest, header)
                .map(|range| (range.offset, range.length))
                .ok()
        };
        assert_eq!(range("bytes=0-"), Some((0, None)));
        assert_eq!(range("bytes=5-9"), Some((5, Some(5))));
        for bad in [
            "bytes=-5",
            "bytes=9-5",
            "bytes=a-b",
            "0-5",
            "bytes=0-18446744073709551615",
            "",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
