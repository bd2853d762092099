//! Lists and hashes what is in a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use millwright_package::{FILE_COUNT_MAX, FileEntry, FileList, PackagePath, UNSIGNED_NAMES};
use millwright_proto::Digest;
use millwright_proto::digest::Hasher;

use super::{FetchError, disk};

/// Bytes read at once while hashing: large enough that the system calls do not show.
const CHUNK_BYTES: usize = 128 * 1024;

/// The files of the package in `directory`, hashed. Blocks on the disk.
pub(crate) fn list_directory(directory: &Path) -> Result<FileList, FetchError> {
    let mut entries = Vec::new();
    collect(directory, "", &mut entries)?;
    FileList::new(entries).map_err(|source| FetchError::Files {
        directory: directory.to_owned(),
        source,
    })
}

fn collect(directory: &Path, prefix: &str, entries: &mut Vec<FileEntry>) -> Result<(), FetchError> {
    for entry in fs::read_dir(directory).map_err(disk("list", directory))? {
        let entry = entry.map_err(disk("list", directory))?;
        let path = entry.path();
        let refused = |problem: &str| FetchError::NotAPackage {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| refused("its name is not UTF-8"))?;
        if prefix.is_empty() && UNSIGNED_NAMES.contains(&name) {
            continue;
        }
        let inner = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(disk("look at", &path))?;
        if kind.is_dir() {
            // Bounded: a path that is too long is refused at its first file, so depth is too.
            if inner.len() > millwright_package::PATH_BYTES_MAX {
                return Err(refused("its path is too long"));
            }
            collect(&path, &format!("{inner}/"), entries)?;
        } else if kind.is_file() {
            if entries.len() >= FILE_COUNT_MAX {
                return Err(refused("there are too many files"));
            }
            let inner: PackagePath = inner
                .parse()
                .map_err(|error| refused(&format!("{error}")))?;
            let (digest, size_bytes) = hash_file(&path)?;
            entries.push(FileEntry {
                path: inner,
                digest,
                size_bytes,
            });
        } else {
            return Err(refused("it is neither a file nor a directory"));
        }
    }
    Ok(())
}

fn hash_file(path: &Path) -> Result<(Digest, u64), FetchError> {
    let mut hasher = Hasher::default();
    let size = hash_into(&mut hasher, path)?;
    Ok((hasher.finish(), size))
}

/// Adds the file's content to `hasher`; returns its size.
pub(super) fn hash_into(hasher: &mut Hasher, path: &Path) -> Result<u64, FetchError> {
    let mut file = File::open(path).map_err(disk("read", path))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk).map_err(disk("read", path))?;
        if read == 0 {
            return Ok(size);
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}
