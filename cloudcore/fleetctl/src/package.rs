//! A package directory: reads and hashes its files and checks what can be checked without a device.
//!
//! Symbolic links and special files are refused, since a blob has no such thing. Hashing streams, so
//! a model may be larger than memory.

mod golden;
pub(crate) mod onnx;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use millwright_package::{
    FILE_COUNT_MAX, FileEntry, FileList, FileListError, MANIFEST_FILE, Manifest, ManifestError,
    PackagePath, PackagePathError, SIGNATURE_FILE, UNSIGNED_NAMES, VerifyError,
};
use millwright_proto::digest::Hasher;
use thiserror::Error;

pub(crate) use self::golden::{GOLDEN_BYTES_MAX, GoldenError};
pub(crate) use self::onnx::OnnxError;

/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Directories below each other: more than [`millwright_package::PATH_BYTES_MAX`] could name.
const DEPTH_MAX: usize = 128;

/// Why a directory is not a package that can be signed or pushed.
#[derive(Debug, Error)]
pub(crate) enum PackageError {
    /// Something cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A link, a socket, a device.
    #[error("{} is neither a file nor a directory: replace it by a copy", .0.display())]
    Special(PathBuf),
    /// A name no package may have.
    #[error("{}: {problem}: rename it", path.display())]
    Name {
        path: PathBuf,
        problem: PackagePathError,
    },
    /// A name that is not text.
    #[error("{} has a name that is not UTF-8: rename it", .0.display())]
    NotText(PathBuf),
    /// Too many files, or too many directories below each other.
    #[error("{} has more than {FILE_COUNT_MAX} files: is it the package's own directory?", .0.display())]
    TooMany(PathBuf),
    /// The files are no package.
    #[error("{} is not a package", directory.display())]
    Files {
        directory: PathBuf,
        source: FileListError,
    },
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The model is not ONNX.
    #[error("{} cannot be the model", path.display())]
    Onnx { path: PathBuf, source: OnnxError },
    /// A golden set does not fit the manifest.
    #[error("{} cannot be a golden set of this model", path.display())]
    Golden { path: PathBuf, source: GoldenError },
    /// The signature is for other content.
    #[error("{}: {problem}: sign the package again with `fleetctl model sign {} --key KEY`", path.display(), directory.display())]
    Signature {
        path: PathBuf,
        directory: PathBuf,
        problem: Box<VerifyError>,
    },
    /// There is no signature.
    #[error("{0} is not signed: run `fleetctl model sign {0} --key KEY` first", path.display())]
    Unsigned { path: PathBuf },
}

/// A directory whose files were read and hashed, and whose manifest fits them.
#[derive(Debug)]
pub(crate) struct PackageDirectory {
    /// Where it is.
    pub(crate) root: PathBuf,
    /// `model.yaml`.
    pub(crate) manifest: Manifest,
    /// Every file that is or will be signed.
    pub(crate) files: FileList,
}

impl PackageDirectory {
    /// Reads and checks the directory at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, PackageError> {
        let manifest_path = root.join(MANIFEST_FILE);
        let text = fs::read_to_string(&manifest_path).map_err(|source| PackageError::Read {
            path: manifest_path.clone(),
            source,
        })?;
        let manifest = Manifest::parse(&text, &manifest_path.display().to_string())?;
        let mut walk = Walk {
            root,
            entries: Vec::new(),
        };
        walk.directory(root, "", 0)?;
        let files = FileList::new(walk.entries).map_err(|source| PackageError::Files {
            directory: root.to_owned(),
            source,
        })?;
        manifest.check_files(&files)?;
        let package = Self {
            root: root.to_owned(),
            manifest,
            files,
        };
        package.check_model()?;
        package.check_golden()?;
        Ok(package)
    }

    /// Where a file of the package is on disk.
    pub(crate) fn path_of(&self, path: &PackagePath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// Where the signature is.
    pub(crate) fn signature_path(&self) -> PathBuf {
        self.root.join(SIGNATURE_FILE)
    }

    /// The signature's text.
    pub(crate) fn bundle(&self) -> Result<String, PackageError> {
        let path = self.signature_path();
        fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => PackageError::Unsigned {
                path: self.root.clone(),
            },
            _ => PackageError::Read { path, source },
        })
    }

    /// What a failed check of the signature means for this directory.
    pub(crate) fn signature_error(&self, problem: VerifyError) -> PackageError {
        PackageError::Signature {
            path: self.signature_path(),
            directory: self.root.clone(),
            problem: Box::new(problem),
        }
    }

    fn check_model(&self) -> Result<(), PackageError> {
        let path = self.path_of(&self.manifest.file);
        let file = File::open(&path).map_err(|source| PackageError::Read {
            path: path.clone(),
            source,
        })?;
        onnx::check(file).map_err(|source| PackageError::Onnx { path, source })
    }

    fn check_golden(&self) -> Result<(), PackageError> {
        for set in &self.manifest.golden {
            let path = self.path_of(&set.file);
            golden::check(&path, &self.manifest)
                .map_err(|source| PackageError::Golden { path, source })?;
        }
        Ok(())
    }
}

/// One pass over the directory.
struct Walk<'a> {
    root: &'a Path,
    entries: Vec<FileEntry>,
}

impl Walk<'_> {
    /// Takes in `directory`, which is `prefix` (empty, or ending in `/`) inside the package.
    fn directory(
        &mut self,
        directory: &Path,
        prefix: &str,
        depth: usize,
    ) -> Result<(), PackageError> {
        if depth > DEPTH_MAX {
            return Err(PackageError::TooMany(self.root.to_owned()));
        }
        let unreadable = |source| PackageError::Read {
            path: directory.to_owned(),
            source,
        };
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(unreadable)?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| PackageError::NotText(path.clone()))?;
            if prefix.is_empty() && UNSIGNED_NAMES.contains(&name) {
                continue;
            }
            if kind.is_dir() {
                self.directory(&path, &format!("{prefix}{name}/"), depth + 1)?;
            } else if kind.is_file() {
                self.file(&path, &format!("{prefix}{name}"))?;
            } else {
                return Err(PackageError::Special(path));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str) -> Result<(), PackageError> {
        if self.entries.len() == FILE_COUNT_MAX {
            return Err(PackageError::TooMany(self.root.to_owned()));
        }
        let package_path = name.parse().map_err(|problem| PackageError::Name {
            path: path.to_owned(),
            problem,
        })?;
        let entry = hashed(path, package_path).map_err(|source| PackageError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.entries.push(entry);
        Ok(())
    }
}

fn hashed(path: &Path, package_path: PackagePath) -> io::Result<FileEntry> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size_bytes = 0;
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(FileEntry {
                path: package_path,
                digest: hasher.finish(),
                size_bytes,
            });
        }
        hasher.update(&chunk[..length]);
        size_bytes += length as u64;
    }
}
