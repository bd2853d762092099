//! Uploads of package files.

use std::path::Path;

use bytes::BytesMut;
use futures_util::stream;
use millwright_proto::Digest;
use reqwest::{Body, Method, StatusCode, header};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::{Client, ClientError};

/// Bytes read and sent at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// One file to upload.
pub(crate) struct Upload {
    /// Opened for reading, at its beginning.
    pub(crate) file: File,
    /// What its content hashes to.
    pub(crate) digest: Digest,
    /// Its length.
    pub(crate) size_bytes: u64,
}

impl Upload {
    /// Opens the file at `path`.
    pub(crate) async fn open(
        path: &Path,
        digest: Digest,
        size_bytes: u64,
    ) -> std::io::Result<Self> {
        Ok(Self {
            file: File::open(path).await?,
            digest,
            size_bytes,
        })
    }
}

impl Client {
    /// Whether cloudcore has the blob already.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, ClientError> {
        let url = self.url(&["blobs", &digest.to_string()]);
        match self.send(self.request(Method::HEAD, url)).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads one blob; `sent` hears of every piece by its length in bytes.
    pub(crate) async fn put_blob(
        &self,
        upload: Upload,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        let url = self.url(&["blobs", &upload.digest.to_string()]);
        let pieces = stream::try_unfold((upload.file, sent), |(mut file, sent)| async move {
            let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
            let length = file.read_buf(&mut piece).await?;
            sent(length as u64);
            Ok::<_, std::io::Error>((length > 0).then(|| (piece.freeze(), (file, sent))))
        });
        let request = self
            .request(Method::PUT, url)
            .header(header::CONTENT_LENGTH, upload.size_bytes)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::wrap_stream(pieces));
        self.send(request).await.map(drop)
    }
}
