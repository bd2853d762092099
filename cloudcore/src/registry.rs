//! Blobs of model packages: files named by their digest, `<data-dir>/blobs/sha256/<2 hex>/<64 hex>`.
//!
//! Owns how bytes get to disk: streamed to a temporary file beside their place while the digest is
//! computed, synced, then renamed, so a file under its final name is always whole and right. It does
//! not know packages, signatures or who may read. A failed or cut upload leaves only a temporary
//! file, which the next start removes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use millwright_proto::Digest;
use millwright_proto::digest::Hasher;
use thiserror::Error;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

/// Largest blob. The largest vision models people put on small devices have 1 to 2 GiB.
pub(crate) const BLOB_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Uploads at the same time. Disks gain nothing from more, and each holds a file open.
const UPLOADS_MAX: usize = 16;

/// Prefix of files that are not whole yet.
const TEMPORARY_PREFIX: &str = "upload-";

/// The blobs. A cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    root: Arc<PathBuf>,
    uploads: Arc<Semaphore>,
    next: Arc<AtomicU64>,
}

/// One blob, opened for reading.
#[derive(Debug)]
pub(crate) struct Blob {
    /// At its first byte.
    pub(crate) file: File,
    /// All of it, in bytes.
    pub(crate) size_bytes: u64,
}

/// Why a blob could not be stored or read.
#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    /// No such blob.
    #[error("blob {0} is not here: upload it first")]
    Unknown(Digest),
    /// The bytes are not what they were announced to be.
    #[error(
        "the uploaded bytes have digest {actual}, not {announced}: was the file changed or cut?"
    )]
    Mismatch {
        /// Digest in the address.
        announced: Digest,
        /// Digest of the bytes.
        actual: Digest,
    },
    /// More than [`BLOB_BYTES_MAX`].
    #[error("blob {0} is over the limit of {BLOB_BYTES_MAX} bytes")]
    TooLarge(Digest),
    /// The client went away or sent rubbish.
    #[error("the upload of blob {digest} was cut off: {reason}")]
    Cut {
        /// Which.
        digest: Digest,
        /// What the connection said.
        reason: String,
    },
    /// The disk refused.
    #[error("cannot {operation} {path}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Registry {
    /// Opens the blobs under `data_dir` and removes what uploads left behind that were cut off.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, RegistryError> {
        let root = data_dir.join("blobs").join("sha256");
        let disk = |operation, source| RegistryError::Disk {
            operation,
            path: root.clone(),
            source,
        };
        fs::create_dir_all(&root)
            .await
            .map_err(|source| disk("make", source))?;
        let mut entries = fs::read_dir(&root)
            .await
            .map_err(|source| disk("list", source))?;
        while let Some(entry) = entries
            .next_entry()
            .await
            .map_err(|source| disk("list", source))?
        {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(TEMPORARY_PREFIX)
            {
                fs::remove_file(entry.path())
                    .await
                    .map_err(|source| disk("clean up", source))?;
            }
        }
        Ok(Self {
            root: Arc::new(root),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            next: Arc::default(),
        })
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], or when the disk refuses.
    pub(crate) async fn open_blob(&self, digest: Digest) -> Result<Blob, RegistryError> {
        let path = self.path(digest);
        let disk = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => RegistryError::Unknown(digest),
            _ => RegistryError::Disk {
                operation: "read",
                path: path.clone(),
                source,
            },
        };
        let file = File::open(&path).await.map_err(disk)?;
        let size_bytes = file.metadata().await.map_err(disk)?.len();
        Ok(Blob { file, size_bytes })
    }

    /// Size of a blob; `None` when it is not here.
    pub(crate) async fn size_bytes(&self, digest: Digest) -> Result<Option<u64>, RegistryError> {
        match self.open_blob(digest).await {
            Ok(blob) => Ok(Some(blob.size_bytes)),
            Err(RegistryError::Unknown(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The whole of a small blob; one larger than `bytes_max` is [`RegistryError::TooLarge`].
    pub(crate) async fn read_small(
        &self,
        digest: Digest,
        bytes_max: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        use tokio::io::AsyncReadExt as _;
        let mut blob = self.open_blob(digest).await?;
        if blob.size_bytes > bytes_max as u64 {
            return Err(RegistryError::TooLarge(digest));
        }
        let mut bytes = Vec::new();
        blob.file
            .read_to_end(&mut bytes)
            .await
            .map_err(|source| RegistryError::Disk {
                operation: "read",
                path: self.path(digest),
                source,
            })?;
        Ok(bytes)
    }

    /// Stores the bytes of `body` under `digest`; returns their number. A blob that is already here
    /// is left as it is and the body is not read.
    ///
    /// # Errors
    /// When the bytes do not have that digest, are too many, are cut off, or the disk refuses.
    pub(crate) async fn store<S, E>(&self, digest: Digest, body: S) -> Result<u64, RegistryError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        if let Some(size_bytes) = self.size_bytes(digest).await? {
            return Ok(size_bytes);
        }
        let _permit = self
            .uploads
            .acquire()
            .await
            .map_err(|_| RegistryError::Cut {
                digest,
                reason: "cloudcore is ending".to_owned(),
            })?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id());
        let temporary = self.root.join(name);
        let stored = self.receive(digest, body, &temporary).await;
        if stored.is_err() {
            // Best effort: the next start removes what stays.
            let _ = fs::remove_file(&temporary).await;
        }
        stored
    }

    async fn receive<S, E>(
        &self,
        digest: Digest,
        mut body: S,
        temporary: &Path,
    ) -> Result<u64, RegistryError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: std::fmt::Display + Send,
    {
        let disk = |operation, source| RegistryError::Disk {
            operation,
            path: temporary.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .open(temporary)
            .await
            .map_err(|source| disk("make", source))?;
        let mut hasher = Hasher::default();
        let mut size_bytes = 0_u64;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|fault| RegistryError::Cut {
                digest,
                reason: fault.to_string(),
            })?;
            size_bytes += chunk.len() as u64;
            if size_bytes > BLOB_BYTES_MAX {
                return Err(RegistryError::TooLarge(digest));
            }
            hasher.update(&chunk);
            file.write_all(&chunk)
                .await
                .map_err(|source| disk("write", source))?;
        }
        let actual = hasher.finish();
        if actual != digest {
            return Err(RegistryError::Mismatch {
                announced: digest,
                actual,
            });
        }
        file.flush().await.map_err(|source| disk("write", source))?;
        file.sync_all()
            .await
            .map_err(|source| disk("sync", source))?;
        self.place(digest, temporary)
            .await
            .map_err(|source| disk("put in place", source))?;
        Ok(size_bytes)
    }

    /// Renames a whole file to its final name, durably.
    async fn place(&self, digest: Digest, temporary: &Path) -> std::io::Result<()> {
        let path = self.path(digest);
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory).await?;
        fs::rename(temporary, &path).await?;
        File::open(directory).await?.sync_all().await?;
        File::open(self.root.as_path()).await?.sync_all().await
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join(&hex[..2]).join(hex)
    }
}

#[cfg(test)]
mod tests;
