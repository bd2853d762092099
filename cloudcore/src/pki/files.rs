//! Private files: mode 0600, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FlockOperation, flock};

use super::PkiError;

/// Writes `bytes` to `path` with mode 0600, replacing what is there in one step.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let written = |source| PkiError::Write {
        path: path.to_owned(),
        source,
    };
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(written)?;
    file.write_all(bytes).map_err(written)?;
    file.sync_all().map_err(written)?;
    std::fs::rename(&temporary, path).map_err(written)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(written)
}

/// Keeps others from changing the authority in `directory` as long as the answer lives: a server renews while a person
/// rotates.
pub(super) fn lock(directory: &Path) -> Result<File, PkiError> {
    let path = directory.join("lock");
    let failed = |source| PkiError::Write {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    Ok(file)
}

/// Deletes a file, durably.
pub(super) fn remove(path: &Path) -> Result<(), PkiError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::remove_file(path)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| PkiError::Write {
            path: path.to_owned(),
            source,
        })
}

/// What the file holds; `None` when there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The secret of `N` random bytes that `path` keeps, made when it is not there yet.
pub(crate) fn read_or_make_secret<const N: usize>(path: &Path) -> Result<[u8; N], PkiError> {
    if let Some(bytes) = read_if_there(path)? {
        return bytes.try_into().map_err(|_| PkiError::Damaged {
            path: path.to_owned(),
            expected: "a secret of the right length",
        });
    }
    let secret = random()?;
    write_private(path, &secret)?;
    Ok(secret)
}

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| PkiError::Random)?;
    Ok(bytes)
}
