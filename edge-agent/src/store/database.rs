//! One sled directory with what sled leaves out: a real fdatasync, room kept free, panics caught, stalled commits
//! woken, and a way to become small again.
//!
//! sled never shrinks its file, so a store that is written for years lies in a directory that is replaced:
//! `rows-<n>` inside its own, complete when it holds a file `complete`. The highest complete one counts.

mod stall;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::StoreError;
use stall::Watch;

/// sled's page cache. The rows are read once, at start and when sent, so a large one only costs memory.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;

/// Name of sled's data file inside its directory.
const DATA_FILE: &str = "db";

/// Name of the file that tells that a rotated directory was filled.
const COMPLETE_FILE: &str = "complete";

/// Rows copied in one batch when a directory is replaced.
const COPY_ROWS: usize = 256;

/// The unit in which `stat` counts what a file takes.
const BLOCK_BYTES: u64 = 512;

/// Part of the room kept free that may be used by writes that give room back.
const RESERVE_PART: u64 = 4;

/// Where sled lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the directory itself.
    Plain,
    /// In the highest complete `rows-<n>` inside it.
    Rotated,
}

impl Layout {
    /// sled's directory in `directory`, whether it is there or not.
    pub(super) fn rows(self, directory: &Path) -> PathBuf {
        match self {
            Self::Plain => directory.to_owned(),
            Self::Rotated => {
                let rotated = rotated(directory);
                let complete = rotated
                    .iter()
                    .filter(|number| numbered(directory, **number).join(COMPLETE_FILE).exists());
                numbered(directory, complete.max().copied().unwrap_or(1))
            }
        }
    }
}

fn numbered(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("rows-{number}"))
}

/// The numbers of the rotated directories there are.
fn rotated(directory: &Path) -> Vec<u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("rows-")?
                .parse()
                .ok()
        })
        .collect()
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To store something: the room kept free stays free.
    Store,
    /// To give room back: part of the room kept free may be used meanwhile.
    GiveBack,
}

/// An open sled directory.
pub(super) struct Database {
    /// Before the database it watches, so that it has let go of it when that closes.
    watch: Watch,
    db: sled::Db,
    data: File,
    directory: PathBuf,
    rows: PathBuf,
    free_bytes_min: u64,
}

impl Database {
    /// Opens or makes `directory`. May take long or panic; see [`super::recovery`].
    pub(super) fn open(
        directory: &Path,
        layout: Layout,
        free_bytes_min: u64,
    ) -> Result<Self, StoreError> {
        let rows = layout.rows(directory);
        if layout == Layout::Rotated {
            remove_others(directory, &rows)?;
        }
        let database = Self::open_rows(directory, rows, free_bytes_min)?;
        if layout == Layout::Rotated {
            database.complete()?;
        }
        Ok(database)
    }

    fn open_rows(directory: &Path, rows: PathBuf, free_bytes_min: u64) -> Result<Self, StoreError> {
        let fresh = !rows.join(DATA_FILE).exists();
        let file_error = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File {
                operation,
                path,
                source,
            }
        };
        fs::create_dir_all(&rows).map_err(file_error("create", &rows))?;
        let db = sled::Config::new()
            .path(&rows)
            .cache_capacity(CACHE_BYTES)
            // Commits flush themselves; a timer would only write at moments nobody waits for.
            .flush_every_ms(None)
            .open()
            .map_err(|source| StoreError::Database {
                operation: "open",
                directory: directory.to_owned(),
                source,
            })?;
        let data_path = rows.join(DATA_FILE);
        let data = File::options()
            .write(true)
            .open(&data_path)
            .map_err(file_error("open", &data_path))?;
        if fresh {
            // sled syncs neither its directory nor the entry of it.
            let outer = [Some(&*rows), rows.parent(), directory.parent()];
            for path in outer.into_iter().flatten() {
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
            rows,
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
    pub(super) fn commit(&self, batch: sled::Batch, purpose: Purpose) -> Result<(), StoreError> {
        self.require_room(purpose)?;
        let _watched = self.watch.commit();
        self.guarded("write", || {
            self.db.apply_batch(batch)?;
            self.db.flush().map(drop)
        })?;
        // sled's flush only starts the write-back of the range it wrote.
        self.data.sync_data().map_err(|source| StoreError::File {
            operation: "sync",
            path: self.rows.join(DATA_FILE),
            source,
        })
    }

    /// sled does not come back from a failed write by itself, so the disk is never filled to the end.
    pub(super) fn require_room(&self, purpose: Purpose) -> Result<(), StoreError> {
        let free_bytes = free_bytes(&self.directory)?;
        let needed_bytes = match purpose {
            Purpose::Store => self.free_bytes_min,
            Purpose::GiveBack => self.free_bytes_min / RESERVE_PART,
        };
        if free_bytes < needed_bytes {
            return Err(StoreError::DiskFull {
                directory: self.directory.clone(),
                free_bytes,
                needed_bytes,
            });
        }
        Ok(())
    }

    /// What sled's files take on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.rows)
    }

    /// Copies every row into a fresh directory and goes on there, which gives back what sled would keep. A kill
    /// in between leaves the old directory or a complete new one.
    pub(super) fn rotate(&mut self) -> Result<(), StoreError> {
        self.require_room(Purpose::GiveBack)?;
        let next = rotated(&self.directory).into_iter().max().unwrap_or(0) + 1;
        let rows = numbered(&self.directory, next);
        let fresh = Self::open_rows(&self.directory, rows, self.free_bytes_min)?;
        let mut batch = sled::Batch::default();
        let mut waiting = 0;
        for row in self.db.iter() {
            let (key, value) = row.map_err(|source| self.failed("read", source))?;
            batch.insert(key, value);
            waiting += 1;
            if waiting == COPY_ROWS {
                fresh.apply(std::mem::take(&mut batch))?;
                waiting = 0;
            }
        }
        fresh.commit(batch, Purpose::GiveBack)?;
        fresh.complete()?;
        let old = std::mem::replace(self, fresh).rows;
        // What stays is removed at the next start.
        if let Err(error) = fs::remove_dir_all(&old) {
            tracing::warn!(path = %old.display(), %error, "cannot remove old rows of the outbox");
        }
        Ok(())
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), StoreError> {
        self.guarded("write", || self.db.apply_batch(batch))
    }

    /// Marks the directory as the one that counts.
    fn complete(&self) -> Result<(), StoreError> {
        let path = self.rows.join(COMPLETE_FILE);
        if path.exists() {
            return Ok(());
        }
        File::create(&path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(&self.rows)?.sync_all())
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|source| StoreError::File {
                operation: "create",
                path,
                source,
            })
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

/// Removes rotated directories that do not count: older ones, and one that was not filled.
fn remove_others(directory: &Path, rows: &Path) -> Result<(), StoreError> {
    for number in rotated(directory) {
        let other = numbered(directory, number);
        let counts = other == rows && other.join(COMPLETE_FILE).exists();
        if !counts {
            fs::remove_dir_all(&other).map_err(|source| StoreError::File {
                operation: "remove",
                path: other,
                source,
            })?;
        }
    }
    Ok(())
}

/// What the files below `directory` take on disk; what cannot be read counts nothing.
pub(super) fn disk_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
            Err(_gone) => 0,
        })
        .sum()
}
