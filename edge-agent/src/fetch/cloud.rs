//! The cloud as a source of blobs, over whichever transport is up.

use bytes::Bytes;
use millwright_proto::Digest;

use super::download::{BlobBody, BlobSource};
use crate::link;

impl BlobSource for link::BlobClient {
    type Body = link::BlobBody;

    async fn fetch(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
    ) -> Result<link::BlobBody, String> {
        Self::fetch(self, digest, offset, length)
            .await
            .map_err(|error| error.to_string())
    }
}

impl BlobBody for link::BlobBody {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        Self::next(self).await.map_err(|error| error.to_string())
    }
}
