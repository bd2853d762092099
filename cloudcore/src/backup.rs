//! `cloudcore backup` and `cloudcore restore`.
//!
//! A backup is a directory: the store, the certificate authority with its private keys, the blobs, and
//! `checksums` (in the format of `sha256sum`), written last, so that a backup that was cut off is no
//! backup. It is taken while the server runs: the store is copied at one moment, then the blobs that
//! copy names, which are never changed once they are there.
//!
//! A restore checks every file, refuses a directory that holds anything, and puts its result in place
//! in one step. The restored store is another life of the old one (a new incarnation): nodes that are
//! ahead of it are told apart, and planning for them holds.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use millwright_proto::Digest;
use millwright_proto::digest::Hasher;
use millwright_proto::ids::Incarnation;
use thiserror::Error;

use crate::pki::{self, PkiError};
use crate::revocations::{self, RevocationsError};
use crate::store::{self, Store, StoreError};

/// Lists every file of a backup with its digest.
const CHECKSUMS_FILE: &str = "checksums";

/// Directory of the certificate authority, in a data directory and in a backup.
const PKI: &str = "pki";

/// Bytes copied at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a backup or restore was not done.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    /// Something is there already.
    #[error("{0} is not empty: choose a directory that does not exist yet")]
    NotEmpty(PathBuf),
    /// Nothing to copy.
    #[error("{0} is no data directory: it has no `{store}`; name the one that cloudcore serves", store = store::FILE_NAME)]
    NoDataDir(PathBuf),
    /// It would be lost together with what it is a copy of.
    #[error("{0} is inside the data directory: choose a place that is not lost with it")]
    Inside(PathBuf),
    /// A file or directory cannot be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No checksums: not a backup, or one that was cut off.
    #[error("{0} is no complete backup: it has no readable `{CHECKSUMS_FILE}`")]
    NoBackup(PathBuf),
    /// A file is not what was backed up.
    #[error("{0} is damaged: its checksum does not agree; use another backup")]
    Damaged(PathBuf),
    /// A file that the checksums do not name, or one they name that is not there.
    #[error("{0} and `{CHECKSUMS_FILE}` do not agree; use another backup")]
    Incomplete(PathBuf),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whom operators revoked.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    /// Random bytes.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// Copies the data directory `data_dir` to the new directory `to`.
pub(crate) async fn backup(data_dir: &Path, to: &Path) -> Result<(), BackupError> {
    if !data_dir.join(store::FILE_NAME).is_file() {
        return Err(BackupError::NoDataDir(data_dir.to_owned()));
    }
    if is_inside(to, data_dir)? {
        return Err(BackupError::Inside(to.to_owned()));
    }
    make_empty(to)?;
    let digests = store::snapshot::copy(data_dir, &to.join(store::FILE_NAME)).await?;
    let mut paths: Vec<PathBuf> = digests.into_iter().map(blob_path).collect();
    for entry in list(&data_dir.join(PKI))? {
        paths.push(Path::new(PKI).join(entry));
    }
    let mut sums = BTreeMap::new();
    for path in paths {
        sums.insert(path.clone(), copy(&data_dir.join(&path), &to.join(&path))?);
    }
    let store = PathBuf::from(store::FILE_NAME);
    sums.insert(store.clone(), digest_of(&to.join(&store))?);
    let mut text = String::new();
    for (path, digest) in &sums {
        text.push_str(&format!("{}  {}\n", digest.to_hex(), path.display()));
    }
    pki::write_private(&to.join(CHECKSUMS_FILE), text.as_bytes())?;
    Ok(())
}

/// Whether `to`, which need not be there yet, is `data_dir` or below it.
fn is_inside(to: &Path, data_dir: &Path) -> Result<bool, BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        let operation = "find";
        move |source| BackupError::File {
            operation,
            path,
            source,
        }
    };
    let to = std::path::absolute(to).map_err(failed(to))?;
    let existing = to.ancestors().find(|path| path.exists()).unwrap_or(&to);
    let existing = existing.canonicalize().map_err(failed(existing))?;
    let data_dir = data_dir.canonicalize().map_err(failed(data_dir))?;
    Ok(existing.starts_with(data_dir))
}

/// Makes the data directory `data_dir` out of the backup `from`. `revoked` is the file of the directory that
/// it replaces which says whom operators revoked.
pub(crate) async fn restore(
    from: &Path,
    data_dir: &Path,
    revoked: Option<&Path>,
) -> Result<(), BackupError> {
    if fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(data_dir.to_owned()));
    }
    let sums = read_checksums(from)?;
    check_complete(from, &sums)?;
    let revoked = revoked.map(revocations::carried_over).transpose()?;
    let name = data_dir.file_name().unwrap_or_default().to_string_lossy();
    let building = data_dir.with_file_name(format!("{name}.restoring"));
    make_empty(&building)?;
    if let Err(fault) = build(from, &sums, revoked, &building).await {
        // Best effort: what stays is in nobody's way but the next restore's, which says so.
        let _ = fs::remove_dir_all(&building);
        return Err(fault);
    }
    fs::rename(&building, data_dir).map_err(|source| BackupError::File {
        operation: "put the restored directory at",
        path: data_dir.to_owned(),
        source,
    })
}

/// Copies and checks every file, then makes the store another life of the old one.
async fn build(
    from: &Path,
    sums: &BTreeMap<PathBuf, Digest>,
    revoked: Option<String>,
    building: &Path,
) -> Result<(), BackupError> {
    for (path, digest) in sums {
        if copy(&from.join(path), &building.join(path))? != *digest {
            return Err(BackupError::Damaged(from.join(path)));
        }
    }
    let store = Store::open(building).await?;
    let incarnation = Incarnation::from_bytes(pki::random()?);
    store.begin_new_life(incarnation).await?;
    store.close().await;
    if let Some(revoked) = revoked {
        pki::write_private(&building.join(revocations::FILE_NAME), revoked.as_bytes())?;
    }
    Ok(())
}

fn read_checksums(from: &Path) -> Result<BTreeMap<PathBuf, Digest>, BackupError> {
    let no_backup = || BackupError::NoBackup(from.to_owned());
    let text = fs::read_to_string(from.join(CHECKSUMS_FILE)).map_err(|_| no_backup())?;
    let sums = text.lines().map(|line| {
        let (digest, path) = line.split_once("  ").ok_or_else(no_backup)?;
        let digest = format!("sha256:{digest}")
            .parse()
            .map_err(|_| no_backup())?;
        let path = PathBuf::from(path);
        let inside = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if inside {
            Ok((path, digest))
        } else {
            Err(no_backup())
        }
    });
    sums.collect()
}

/// Whether the files of the backup are exactly those the checksums name.
fn check_complete(from: &Path, sums: &BTreeMap<PathBuf, Digest>) -> Result<(), BackupError> {
    let mut found = Vec::new();
    walk(from, Path::new(""), &mut found)?;
    for path in &found {
        if path != Path::new(CHECKSUMS_FILE) && !sums.contains_key(path) {
            return Err(BackupError::Incomplete(from.join(path)));
        }
    }
    let needed = [
        PathBuf::from(store::FILE_NAME),
        Path::new(PKI).join("root.key.pem"),
    ];
    for path in sums.keys().chain(&needed) {
        if !found.contains(path) || !sums.contains_key(path) {
            return Err(BackupError::Incomplete(from.join(path)));
        }
    }
    Ok(())
}

/// Collects all files below `root/below`, relative to `root`.
fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    for name in list(&root.join(below))? {
        let path = below.join(name);
        if root.join(&path).is_dir() {
            walk(root, &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<std::ffi::OsString>, BackupError> {
    let failed = |source| BackupError::File {
        operation: "list",
        path: directory.to_owned(),
        source,
    };
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries
        .map(|entry| Ok(entry.map_err(failed)?.file_name()))
        .collect()
}

fn make_empty(directory: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::File {
        operation: "make",
        path: directory.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    // It will hold private keys.
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    match list(directory)?.is_empty() {
        true => Ok(()),
        false => Err(BackupError::NotEmpty(directory.to_owned())),
    }
}

/// Copies one file durably, keeping its mode; returns the digest of what was written.
fn copy(from: &Path, to: &Path) -> Result<Digest, BackupError> {
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File {
            operation,
            path,
            source,
        }
    };
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
    }
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mode = source
        .metadata()
        .map_err(failed("read", from))?
        .permissions()
        .mode();
    let mut target = File::create_new(to).map_err(failed("make", to))?;
    let permissions = fs::Permissions::from_mode(mode & 0o777);
    target
        .set_permissions(permissions)
        .map_err(failed("make", to))?;
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut chunk).map_err(failed("read", from))?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        io::Write::write_all(&mut target, &chunk[..read]).map_err(failed("write", to))?;
    }
    target.sync_all().map_err(failed("write", to))?;
    Ok(hasher.finish())
}

fn digest_of(path: &Path) -> Result<Digest, BackupError> {
    let mut hasher = Hasher::default();
    let failed = |source| BackupError::File {
        operation: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

fn blob_path(digest: Digest) -> PathBuf {
    let hex = digest.to_hex();
    Path::new("blobs").join("sha256").join(&hex[..2]).join(hex)
}

#[cfg(test)]
mod tests;
