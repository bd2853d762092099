//! The agent's directory: where everything lies, and who may write there.
//!
//! Owns the layout, the lock that keeps a second agent out, and the one way files beside the
//! stores are written: into a new file, synced, renamed over the old one, directory synced. So a
//! file is the old one or the new one after any crash, never half of both. A directory that an earlier
//! run made and that can only be read now (a card that went read-only) is no reason not to serve: it
//! is opened all the same, and [`DataDir::read_only`] says why nothing can be kept.
//!
//! ```text
//! lock  addresses.json  infer.sock  desired.a  desired.b  hold.json  networks  page-token
//! identity/{identity.key, tls.pem, root.pem, node.json, time-floor}   trust/*.pem
//! packages/<model>/<version>-<digest>/   packages/.incoming/<model>-<version>-<digest>/
//! hard-examples/<pipeline>/   secrets/                             (files that pipelines of the cloud may name)
//! state/  outbox/                                                    (sled)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// Mode of files that hold keys.
pub const PRIVATE: u32 = 0o600;

/// Mode of files that hold nothing secret.
pub const READABLE: u32 = 0o644;

/// Held while an agent runs.
const LOCK: &str = "lock";

/// Why the directory, or a file in it, cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error(
        "cannot write to the data directory {path}: give the user that runs edge-agent this directory, or choose another with --data-dir DIR"
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another agent uses it.
    #[error(
        "another edge-agent uses the data directory {path}: stop it first, or give this one its own with --data-dir DIR"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// One file could not be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The agent's directory, held by this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    layout: Layout,
    read_only: Option<String>,
    _lock: File,
}

/// Where things lie in a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// When it can be neither written nor, from an earlier run, read; or another agent holds it.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let refused = |source| DataDirError::NotWritable {
            path: root.to_owned(),
            source,
        };
        let (lock, read_only) = match open_lock(root) {
            Ok(lock) => (lock, None),
            Err(error) => match File::open(root.join(LOCK)) {
                Ok(lock) => (lock, Some(error.to_string())),
                Err(_never_written) => return Err(refused(error)),
            },
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let path = root.to_owned();
                return Err(DataDirError::InUse { path });
            }
            Err(error) => return Err(refused(error.into())),
        }
        // Workers have another working directory.
        let root = root.canonicalize().map_err(refused)?;
        Ok(Self {
            layout: Layout { root },
            read_only,
            _lock: lock,
        })
    }

    /// Why nothing can be written to it; `None` when it can.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Where things lie in it.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl Layout {
    /// The layout below `root`, without claiming it.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let root = root.to_owned();
        Self { root }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keys and certificates.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// Keys of an enrollment that has not been answered yet.
    #[must_use]
    pub fn identity_pending(&self) -> PathBuf {
        self.root.join("identity.pending")
    }

    /// Public keys whose package signatures count.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.root.join("trust")
    }

    /// The two copies of the desired state in force.
    #[must_use]
    pub fn desired(&self) -> [PathBuf; 2] {
        [self.root.join("desired.a"), self.root.join("desired.b")]
    }

    /// Verified packages.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// Packages in transit; no model can have this name.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.packages().join(".incoming")
    }

    /// Working state (sled).
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Records on their way to the cloud (sled).
    #[must_use]
    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }

    /// Inputs that models found hard.
    #[must_use]
    pub fn hard_examples(&self) -> PathBuf {
        self.root.join("hard-examples")
    }

    /// Passwords, tokens and certificates that pipelines of the cloud may name. Whoever owns the box puts them there.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// What worked on which network.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Held while an agent runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// Whether an agent runs on this directory.
    ///
    /// # Errors
    /// When the lock exists and cannot be tried.
    pub fn is_in_use(&self) -> io::Result<bool> {
        let lock = match File::open(self.lock()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The hold in force, while there is one.
    #[must_use]
    pub fn hold(&self) -> PathBuf {
        self.root.join("hold.json")
    }

    /// The token of the camera page, when none is configured.
    #[must_use]
    pub fn page_token(&self) -> PathBuf {
        self.root.join("page-token")
    }

    /// Where local clients are served.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("infer.sock")
    }

    /// Where this agent listens.
    #[must_use]
    pub fn addresses(&self) -> PathBuf {
        self.root.join("addresses.json")
    }
}

/// Makes the directory and opens its lock. Writing is tried: a full disk is told from a read-only one
/// when something is stored, and neither keeps the agent from running.
fn open_lock(root: &Path) -> io::Result<File> {
    make_private_dir(root)?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(root.join(LOCK))
}

/// Makes `path` and what is missing above it; only its owner may look inside.
///
/// # Errors
/// What the system says.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Replaces the file at `path` by `bytes`, atomically and durably.
///
/// # Errors
/// When a step of it fails; the old file is then still there.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
    write_and_rename(path, bytes, mode).map_err(|source| DataDirError::File {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

fn write_and_rename(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // A file left over from a crash may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Free bytes on the disk of `path`, or of the nearest directory above it that exists.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Makes the entry of `path` in its directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a file that may be missing.
///
/// # Errors
/// When it exists and cannot be read.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let second = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(second, DataDirError::InUse { .. }), "{second:?}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_says_how_to_choose_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(&file.path().join("data")).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_whatever_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(dir.path().join("key.new"), b"half").unwrap();
        replace_file(&path, b"one", READABLE).unwrap();
        replace_file(&path, b"two", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            PRIVATE
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
