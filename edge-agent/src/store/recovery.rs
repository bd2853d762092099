//! Opening a store that may be damaged: open, repair, or set aside and start afresh, never silently.
//!
//! sled 0.34 leaves half-written `snap.*` files behind a `kill -9` that it then refuses to load; without
//! them it finds everything, from the snapshot before or by replaying its log. So the ladder is: open; copy aside,
//! drop half-written snapshots, open again; drop all snapshots, open again; move the directory aside and start afresh. Each attempt runs on a thread of its
//! own under a timeout, because damaged input can make sled panic or loop. A disk that fails or is full is no damage: what
//! waits for the cloud stays where it is until the disk works again.

pub(super) mod aside;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::StoreError;
use super::database::{Database, Layout, free_bytes};

/// An attempt to open and read a store may take this long: a store at its quota on an SD card takes
/// a few seconds, and a node must not wait for minutes before it serves.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a store closed by this process may take to let go of its file, and how often to look.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(5);
const UNLOCK_POLL: Duration = Duration::from_millis(20);

/// sled writes a little while it opens, so with less than this free a sound store may not open either.
const OPEN_BYTES: u64 = 1024 * 1024;

/// Something that happened while a store was opened and that must be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryNote {
    /// The store opened only after its snapshot was dropped. Nothing is lost.
    Repaired {
        /// Why it did not open.
        cause: String,
        /// A copy of the directory as it was; `None` when the disk had no room for one.
        copy: Option<PathBuf>,
    },
    /// The store could not be read and a fresh one took its place.
    Quarantined {
        /// Why it did not open.
        cause: String,
        /// Where it lies now.
        moved_to: PathBuf,
    },
    /// Records could not be read back; they are declared as gaps.
    Lost {
        /// How many sequence numbers.
        numbers: u64,
        /// The store.
        directory: PathBuf,
    },
}

impl fmt::Display for RecoveryNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repaired { cause, copy } => {
                write!(f, "a store was repaired without loss ({cause})")?;
                match copy {
                    Some(copy) => write!(f, "; as it was it lies in {}", copy.display()),
                    None => Ok(()),
                }
            }
            Self::Quarantined { cause, moved_to } => write!(
                f,
                "a store could not be read ({cause}) and was set aside as {}; a fresh one was started",
                moved_to.display()
            ),
            Self::Lost { numbers, directory } => write!(
                f,
                "{numbers} records in {} could not be read back and are declared lost",
                directory.display()
            ),
        }
    }
}

/// Reads a whole store; an error means that it cannot be used as it is.
pub(super) type Inspect<T> = fn(&Database) -> Result<T, StoreError>;

/// A store that could be opened.
pub(super) struct Opened<T> {
    pub(super) database: Database,
    pub(super) contents: T,
    pub(super) note: Option<RecoveryNote>,
}

/// Climbs the ladder for `directory`.
pub(super) fn open<T: Send + 'static>(
    directory: &Path,
    layout: Layout,
    free_bytes_min: u64,
    inspect: Inspect<T>,
) -> Result<Opened<T>, StoreError> {
    let first = match attempt(directory, layout, free_bytes_min, inspect) {
        Ok((database, contents)) => {
            let note = aside::undeclared(directory)?.map(|moved_to| RecoveryNote::Quarantined {
                cause: "an earlier start ended before it could say why".to_owned(),
                moved_to,
            });
            return Ok(Opened {
                database,
                contents,
                note,
            });
        }
        Err(error) if !is_damage(&error) => return Err(error),
        Err(error) => error,
    };
    let free_bytes = free_bytes(directory)?;
    let needed_bytes = free_bytes_min.max(OPEN_BYTES);
    if free_bytes < needed_bytes {
        return Err(StoreError::DiskFull {
            directory: directory.to_owned(),
            free_bytes,
            needed_bytes,
        });
    }
    repair(directory, layout, free_bytes_min, inspect, &first)
}

/// The rungs below: without snapshots, else afresh. `first` is why the store does not open.
fn repair<T: Send + 'static>(
    directory: &Path,
    layout: Layout,
    free_bytes_min: u64,
    inspect: Inspect<T>,
    first: &StoreError,
) -> Result<Opened<T>, StoreError> {
    let set_aside = aside::name(directory)?;
    let rows = layout.rows(directory);
    let copied = match copy_directory(&rows, &set_aside) {
        Ok(()) => true,
        Err(_no_room) => {
            // Half a copy helps nobody, and the room is needed.
            drop(fs::remove_dir_all(&set_aside));
            false
        }
    };
    let mut cause = describe(first);
    for snapshots in [Snapshots::Unfinished, Snapshots::All] {
        drop_snapshots(&rows, snapshots)?;
        match attempt(directory, layout, free_bytes_min, inspect) {
            Ok((database, contents)) => {
                let copy = copied.then_some(set_aside);
                let note = Some(RecoveryNote::Repaired { cause, copy });
                return Ok(Opened {
                    database,
                    contents,
                    note,
                });
            }
            Err(error) if !is_damage(&error) => return Err(error),
            Err(error) => cause = format!("{cause}; without snapshots: {}", describe(&error)),
        }
    }
    let moved_to = aside::quarantine(directory, set_aside, copied)?;
    let (database, contents) = attempt(directory, layout, free_bytes_min, inspect)?;
    let note = Some(RecoveryNote::Quarantined { cause, moved_to });
    Ok(Opened {
        database,
        contents,
        note,
    })
}

/// Whether the store may be damaged, and not the disk failing or full, which a fresh store would meet too.
fn is_damage(error: &StoreError) -> bool {
    const DISK: [Errno; 9] = [
        Errno::IO,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::NOMEM,
        Errno::MFILE,
        Errno::NFILE,
        Errno::ACCESS,
        Errno::PERM,
    ];
    match error {
        StoreError::File { .. } => false,
        StoreError::Database {
            source: sled::Error::Io(source),
            ..
        } => {
            let of_disk = |code| DISK.contains(&Errno::from_raw_os_error(code));
            !source.raw_os_error().is_some_and(of_disk) && !is_locked(source)
        }
        _ => true,
    }
}

/// sled has no kind of its own for this.
fn is_locked(error: &std::io::Error) -> bool {
    error.to_string().contains("lock")
}

fn attempt<T: Send + 'static>(
    directory: &Path,
    layout: Layout,
    free_bytes_min: u64,
    inspect: Inspect<T>,
) -> Result<(Database, T), StoreError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = directory.to_owned();
    std::thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            let opened = open_patiently(&path, layout, free_bytes_min)
                .and_then(|database| inspect(&database).map(|contents| (database, contents)));
            // Nobody listens after the timeout; the store is closed again by dropping it.
            drop(sender.send(opened));
        })
        .map_err(file_error("start a thread to open", directory))?;
    let stuck = |how| StoreError::Stuck {
        operation: "open",
        directory: directory.to_owned(),
        how,
    };
    match receiver.recv_timeout(OPEN_TIMEOUT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(stuck("took too long")),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(stuck("panicked")),
    }
}

/// sled closes its file in the background, so right after a store was closed its lock may still be held.
/// Our own lock ([`DirectoryLock`]) has already told that nobody else uses the directory.
fn open_patiently(
    directory: &Path,
    layout: Layout,
    free_bytes_min: u64,
) -> Result<Database, StoreError> {
    let deadline = Instant::now() + UNLOCK_TIMEOUT;
    loop {
        match Database::open(directory, layout, free_bytes_min) {
            Err(StoreError::Database {
                source: sled::Error::Io(error),
                ..
            }) if is_locked(&error) && Instant::now() < deadline => {
                std::thread::sleep(UNLOCK_POLL);
            }
            result => return result,
        }
    }
}

/// Held while a store is in use, across repairs that replace its directory: a second agent on the same
/// data directory must not take a store in use for a damaged one.
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "holds the lock until dropped")] File);

impl DirectoryLock {
    /// # Errors
    /// [`StoreError::InUse`] when another process has it.
    pub(super) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.with_extension("lock");
        let parent = directory.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(file_error("create", parent))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(file_error("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse {
                directory: directory.to_owned(),
            }),
            Err(errno) => Err(file_error("lock", &path)(errno.into())),
        }
    }
}

fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File {
        operation,
        path,
        source,
    }
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(to).map_err(file_error("create", to))?;
    for entry in fs::read_dir(from).map_err(file_error("list", from))? {
        let entry = entry.map_err(file_error("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy_directory(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(file_error("copy", &source))?;
        }
    }
    Ok(())
}

/// Which of sled's snapshots go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshots {
    /// Those a kill left half-written. A finished one beside them is needed where sled has written over parts of
    /// its log that only the snapshot still tells of.
    Unfinished,
    /// All: then sled replays its whole log.
    All,
}

fn drop_snapshots(directory: &Path, which: Snapshots) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(file_error("list", directory))? {
        let path = entry.map_err(file_error("list", directory))?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let goes = match which {
            Snapshots::Unfinished => name.ends_with(b".generating"),
            Snapshots::All => true,
        };
        if name.starts_with(b"snap.") && goes {
            fs::remove_file(&path).map_err(file_error("remove", &path))?;
        }
    }
    Ok(())
}
