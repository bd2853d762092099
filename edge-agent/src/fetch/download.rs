//! Brings the files of a package, blob by blob, and goes on where it stopped.

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edge_core::models::PackageId;
use millwright_package::{FileEntry, FileList};
use millwright_proto::Digest;
use millwright_proto::digest::Hasher;

use super::{FetchError, Shelf, disk, files};
use crate::data_dir::{make_private_dir, sync_parent};
use crate::desired::PackageSource;

/// Room left free beside a package: for the outbox, the log and the system.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Where blobs come from.
pub trait BlobSource: Clone + Send + Sync + 'static {
    /// The bytes of one answer.
    type Body: BlobBody;

    /// Asks for `length` bytes of a blob from `offset` on.
    fn fetch(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<Self::Body, String>> + Send;
}

/// The bytes of one answer, in pieces.
pub trait BlobBody: Send {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

/// The source of a node without a cloud: there is nothing to be had.
#[derive(Clone, Copy, Debug)]
pub struct NoCloud;

impl BlobSource for NoCloud {
    type Body = Self;

    async fn fetch(&self, _: Digest, _: u64, _: u64) -> Result<Self, String> {
        Err("this agent runs without a cloud".to_owned())
    }
}

impl BlobBody for NoCloud {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        Ok(None)
    }
}

/// Brings what is missing of `package`. A package in its final place, and one that lies in a
/// directory of this machine, is there already.
///
/// # Errors
/// When a blob does not come, is another one, or the disk refuses. What has come stays.
pub async fn download<B: BlobSource>(
    shelf: &Shelf,
    package: &PackageId,
    source: &PackageSource,
    blobs: &B,
) -> Result<(), FetchError> {
    let list = match source {
        PackageSource::Directory(_) => return Ok(()),
        PackageSource::Cloud { files, .. } => files,
    };
    if shelf.place(package, Some(source)).is_dir() {
        return Ok(());
    }
    let incoming = Incoming::new(shelf, package, list)?;
    for entry in list.entries() {
        incoming.bring(entry, blobs).await?;
    }
    Ok(())
}

/// The directory a package is collected in.
struct Incoming<'a> {
    package: &'a PackageId,
    parts: PathBuf,
    files: PathBuf,
}

impl<'a> Incoming<'a> {
    fn new(shelf: &Shelf, package: &'a PackageId, list: &FileList) -> Result<Self, FetchError> {
        let root = shelf.incoming(package);
        let incoming = Self {
            package,
            parts: root.join("parts"),
            files: root.join("files"),
        };
        for directory in [&incoming.parts, &incoming.files] {
            make_private_dir(directory).map_err(disk("create", directory))?;
        }
        incoming.check_room(&root, list)?;
        Ok(incoming)
    }

    fn check_room(&self, root: &Path, list: &FileList) -> Result<(), FetchError> {
        let missing = list.entries().iter().filter(|entry| !self.has(entry));
        let needed_bytes = missing.map(|entry| entry.size_bytes).sum::<u64>() + RESERVE_BYTES;
        let disk_state = rustix::fs::statvfs(root)
            .map_err(|error| disk("ask for the free room of", root)(error.into()))?;
        let free_bytes = disk_state.f_bavail.saturating_mul(disk_state.f_frsize);
        if free_bytes >= needed_bytes {
            return Ok(());
        }
        Err(FetchError::NoRoom {
            package: self.package.clone(),
            directory: root.to_owned(),
            needed_bytes,
            free_bytes,
        })
    }

    fn has(&self, entry: &FileEntry) -> bool {
        let path = self.files.join(entry.path.as_str());
        fs::metadata(path).is_ok_and(|found| found.len() == entry.size_bytes)
    }

    /// Brings one file. One that is complete was renamed there after its digest was right; the
    /// check of the whole package looks again.
    async fn bring<B: BlobSource>(&self, entry: &FileEntry, blobs: &B) -> Result<(), FetchError> {
        let part = self.parts.join(entry.digest.to_hex());
        if self.has(entry) && self.digest_is_right(entry)? {
            return Ok(());
        }
        let mut have = fs::metadata(&part).map_or(0, |found| found.len());
        if have > entry.size_bytes {
            fs::remove_file(&part).map_err(disk("delete", &part))?;
            have = 0;
        }
        let mut hasher = Hasher::default();
        if have > 0 {
            files::hash_into(&mut hasher, &part)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&part)
            .map_err(disk("write", &part))?;
        if have < entry.size_bytes {
            self.receive(entry, have, &part, &mut file, &mut hasher, blobs)
                .await?;
        }
        let found = hasher.finish();
        if found != entry.digest {
            fs::remove_file(&part).map_err(disk("delete", &part))?;
            return Err(FetchError::BlobDigest {
                package: self.package.clone(),
                path: entry.path.clone(),
                found,
                expected: entry.digest,
            });
        }
        file.sync_all().map_err(disk("sync", &part))?;
        self.settle(entry, &part)
    }

    fn digest_is_right(&self, entry: &FileEntry) -> Result<bool, FetchError> {
        let mut hasher = Hasher::default();
        files::hash_into(&mut hasher, &self.files.join(entry.path.as_str()))?;
        Ok(hasher.finish() == entry.digest)
    }

    async fn receive<B: BlobSource>(
        &self,
        entry: &FileEntry,
        offset: u64,
        part: &Path,
        file: &mut fs::File,
        hasher: &mut Hasher,
        blobs: &B,
    ) -> Result<(), FetchError> {
        let failed = |problem: String| FetchError::Blob {
            package: self.package.clone(),
            path: entry.path.clone(),
            problem,
        };
        let mut missing = entry.size_bytes - offset;
        let mut body = blobs
            .fetch(entry.digest, offset, missing)
            .await
            .map_err(failed)?;
        while let Some(piece) = body.next().await.map_err(failed)? {
            let length = piece.len() as u64;
            if length > missing {
                return Err(failed(format!(
                    "it is larger than the {} bytes declared",
                    entry.size_bytes
                )));
            }
            file.write_all(&piece).map_err(disk("write", part))?;
            hasher.update(&piece);
            missing -= length;
        }
        if missing == 0 {
            Ok(())
        } else {
            Err(failed(format!("it ended {missing} bytes early")))
        }
    }

    fn settle(&self, entry: &FileEntry, part: &Path) -> Result<(), FetchError> {
        let path = self.files.join(entry.path.as_str());
        if let Some(parent) = path.parent() {
            make_private_dir(parent).map_err(disk("create", parent))?;
        }
        fs::rename(part, &path).map_err(disk("put in place", &path))?;
        sync_parent(&path).map_err(disk("sync", &path))
    }
}
