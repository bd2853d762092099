//! One sled directory with what sled leaves out: a real fdatasync, room kept free, panics caught, stalled commits woken.

mod stall;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::StoreError;
use stall::Watch;

/// sled's page cache. The rows are read once, at start and when sent, so a large one only costs memory.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Name of sled's data file inside its directory.
const DATA_FILE: &str = "db";

/// An open sled directory.
pub(super) struct Database {
    /// Before the database it watches, so that it has let go of it when that closes.
    watch: Watch,
    db: sled::Db,
    data: File,
    directory: PathBuf,
    free_bytes_min: u64,
}

impl Database {
    /// Opens or makes `directory`. May take long or panic; see [`super::recovery`].
    pub(super) fn open(directory: &Path, free_bytes_min: u64) -> Result<Self, StoreError> {
        let fresh = !directory.join(DATA_FILE).exists();
        let file_error = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File {
                operation,
                path,
                source,
            }
        };
        std::fs::create_dir_all(directory).map_err(file_error("create", directory))?;
        let db = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES)
            // Commits flush themselves; a timer would only write at moments nobody waits for.
            .flush_every_ms(None)
            .open()
            .map_err(|source| StoreError::Database {
                operation: "open",
                directory: directory.to_owned(),
                source,
            })?;
        let data_path = directory.join(DATA_FILE);
        let data = File::options()
            .write(true)
            .open(&data_path)
            .map_err(file_error("open", &data_path))?;
        if fresh {
            // sled syncs neither its directory nor the entry of it.
            for path in [Some(directory), directory.parent()].into_iter().flatten() {
                File::open(path)
                    .and_then(|opened| opened.sync_all())
                    .map_err(file_error("sync", path))?;
            }
        }
        let watch =
            Watch::start(&db).map_err(file_error("start the thread that watches", directory))?;
        Ok(Self {
            watch,
            db,
            data,
            directory: directory.to_owned(),
            free_bytes_min,
        })
    }

    /// Where it lies.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every row in the order of its key, given to `visit`.
    pub(super) fn scan(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        for row in self.db.iter() {
            let (key, value) = row.map_err(|source| self.failed("read", source))?;
            visit(&key, &value);
        }
        Ok(())
    }

    /// One row.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.guarded("read", || self.db.get(key))
    }

    /// Makes `batch` durable, all or nothing.
    pub(super) fn commit(&self, batch: sled::Batch) -> Result<(), StoreError> {
        self.require_room()?;
        let _watched = self.watch.commit();
        self.guarded("write", || {
            self.db.apply_batch(batch)?;
            self.db.flush().map(drop)
        })?;
        // sled's flush only starts the write-back of the range it wrote.
        self.data.sync_data().map_err(|source| StoreError::File {
            operation: "sync",
            path: self.directory.join(DATA_FILE),
            source,
        })
    }

    /// sled does not come back from a failed write by itself, so the disk is never filled to the end.
    fn require_room(&self) -> Result<(), StoreError> {
        let free_bytes = free_bytes(&self.directory)?;
        if free_bytes < self.free_bytes_min {
            return Err(StoreError::DiskFull {
                directory: self.directory.clone(),
                free_bytes,
                needed_bytes: self.free_bytes_min,
            });
        }
        Ok(())
    }

    fn guarded<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|source| self.failed(operation, source)),
            Err(_panic) => Err(StoreError::Stuck {
                operation,
                directory: self.directory.clone(),
                how: "panicked",
            }),
        }
    }

    fn failed(&self, operation: &'static str, source: sled::Error) -> StoreError {
        StoreError::Database {
            operation,
            directory: self.directory.clone(),
            source,
        }
    }
}

/// What is left on the disk of `directory`.
pub(super) fn free_bytes(directory: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(directory).map_err(|errno| StoreError::File {
        operation: "measure the free space of",
        path: directory.to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
