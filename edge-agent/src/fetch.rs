//! From a signed list to a package that may be loaded.
//!
//! ```text
//! blobs ─download─> .incoming/<package>/parts/<digest>   resumed where it stopped, bounded by the
//!                         │ digest right                 declared size
//!                         v
//!                   .incoming/<package>/files/<path>
//!                         │ verify: every digest, signature by a trust key, manifest
//!                         v rename
//!                   packages/<model>/<version>-<digest>/  verified again at every start
//! ```
//!
//! Owns what lies under `packages/`. It decides nothing: which package is fetched or checked, and
//! when again, is edge-core's; each failure carries the class that decides it. Invariant: a
//! directory in its final place was complete and verified when it was renamed there; nothing is
//! loaded that was not verified since this process started.

mod cloud;
mod download;
mod files;
mod survey;
mod verify;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use edge_core::models::{Failure, FailureClass, PackageId};
use millwright_package::{FileListError, ManifestError, PackagePath, VerifyError};
use millwright_proto::Digest;
use thiserror::Error;

use crate::data_dir::Layout;
use crate::desired::PackageSource;

pub use download::{BlobBody, BlobSource, NoCloud, download};
pub(crate) use files::list_directory;
pub use verify::{TrustPolicy, Verified, verify};

/// Hex digits of the list's digest in a directory name: enough that two contents of one version do
/// not meet on one node.
const DIGEST_HEX_IN_NAME: usize = 8;

/// Why a package is not there or may not be loaded.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A blob did not come.
    #[error("cannot fetch {path} of {package}: {problem}")]
    Blob {
        /// The package.
        package: PackageId,
        /// The file.
        path: PackagePath,
        /// What went wrong.
        problem: String,
    },
    /// A blob is not what it should be.
    #[error(
        "{path} of {package} has digest {found} instead of {expected}; it will be fetched again"
    )]
    BlobDigest {
        /// The package.
        package: PackageId,
        /// The file.
        path: PackagePath,
        /// As received.
        found: Digest,
        /// As listed.
        expected: Digest,
    },
    /// There is not enough room.
    #[error("{package} needs {needed_bytes} bytes and {free_bytes} are free on {}: make room there", directory.display())]
    NoRoom {
        /// The package.
        package: PackageId,
        /// Where.
        directory: PathBuf,
        /// What is still to be fetched, and the reserve.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The disk refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something in a package's directory cannot be part of a package.
    #[error("{} cannot be part of a package: {problem}", path.display())]
    NotAPackage {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The files on disk are not a package.
    #[error("{} is not a package: {source}", directory.display())]
    Files {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: FileListError,
    },
    /// The files on disk changed.
    #[error("the files of {package} in {} are not those that were listed", directory.display())]
    Changed {
        /// The package.
        package: PackageId,
        /// The directory.
        directory: PathBuf,
    },
    /// There is no signature.
    #[error("{package} has no signature ({} is missing)", path.display())]
    Unsigned {
        /// The package.
        package: PackageId,
        /// Where it would be.
        path: PathBuf,
    },
    /// The signature does not count.
    #[error("{package}: {source}{}", remedy(source))]
    Signature {
        /// The package.
        package: PackageId,
        /// Why not.
        source: VerifyError,
    },
    /// The manifest cannot be used.
    #[error("{package}: {source}")]
    Manifest {
        /// The package.
        package: PackageId,
        /// Why not.
        source: Box<ManifestError>,
    },
    /// The manifest is about something else.
    #[error(
        "the manifest of {package} says it is {found}: pack it again with the right name and version"
    )]
    OtherModel {
        /// The package.
        package: PackageId,
        /// What the manifest says.
        found: millwright_proto::ids::ModelVersion,
    },
}

fn remedy(error: &VerifyError) -> &'static str {
    if is_untrusted(error) {
        "; if the signer should be trusted, add its public key with `edge-agent enroll --trust-key FILE`, or put it into the trust/ directory of the data directory, and restart the agent"
    } else {
        ""
    }
}

fn is_untrusted(error: &VerifyError) -> bool {
    matches!(
        error,
        VerifyError::NoTrustKeys | VerifyError::UntrustedKey { .. }
    )
}

impl FetchError {
    /// The class that decides whether it is tried again.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Blob { .. } => FailureClass::Fetch,
            Self::BlobDigest { .. } | Self::Changed { .. } | Self::Files { .. } => {
                FailureClass::Digest
            }
            Self::NoRoom { .. } | Self::Disk { .. } => FailureClass::Storage,
            Self::Signature { source, .. } if is_untrusted(source) => {
                FailureClass::SignatureUntrusted
            }
            Self::Signature { .. } | Self::Unsigned { .. } => FailureClass::SignatureInvalid,
            Self::Manifest { .. } | Self::OtherModel { .. } | Self::NotAPackage { .. } => {
                FailureClass::Manifest
            }
        }
    }

    /// As edge-core takes it.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let class = self.class();
        let message = self.to_string();
        Failure { class, message }
    }
}

pub(crate) fn disk(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Disk {
        operation,
        path,
        source,
    }
}

/// Where packages lie.
#[derive(Clone, Debug)]
pub struct Shelf {
    packages: PathBuf,
    incoming: PathBuf,
}

impl Shelf {
    /// The shelf of a data directory.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            packages: layout.packages(),
            incoming: layout.incoming(),
        }
    }

    /// Where the package is once it is verified.
    #[must_use]
    pub fn place(&self, package: &PackageId, source: Option<&PackageSource>) -> PathBuf {
        match source {
            Some(PackageSource::Directory(directory)) => directory.clone(),
            Some(PackageSource::Cloud { .. }) | None => {
                let model = self.packages.join(package.version.model.as_str());
                model.join(directory_name(package))
            }
        }
    }

    /// Where its files are collected.
    fn incoming(&self, package: &PackageId) -> PathBuf {
        let model = &package.version.model;
        self.incoming
            .join(format!("{model}-{}", directory_name(package)))
    }

    /// Deletes everything of the package.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self, package: &PackageId) -> Result<(), FetchError> {
        remove_dir(&self.incoming(package))?;
        let place = self.place(package, None);
        remove_dir(&place)?;
        // The model's directory goes with its last version.
        if let Some(model) = place.parent() {
            match fs::remove_dir(model) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome.map_err(disk("delete", model))?,
            }
        }
        Ok(())
    }

    /// Deletes whatever belongs to none of `known`: what a crash or an older agent left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sweep(&self, known: &BTreeSet<PackageId>) -> Result<Vec<PathBuf>, FetchError> {
        let keep: BTreeSet<PathBuf> = known
            .iter()
            .flat_map(|package| [self.place(package, None), self.incoming(package)])
            .collect();
        let mut swept = Vec::new();
        for model in directories(&self.packages)? {
            for directory in directories(&model)? {
                if !keep.contains(&directory) {
                    remove_dir(&directory)?;
                    swept.push(directory);
                }
            }
        }
        Ok(swept)
    }
}

fn directory_name(package: &PackageId) -> String {
    let digest = package.digest.to_hex();
    format!(
        "{}-{}",
        package.version.version,
        &digest[..DIGEST_HEX_IN_NAME]
    )
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, FetchError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk("list", path)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(disk("list", path))?.path();
        if entry.is_dir() {
            found.push(entry);
        }
    }
    Ok(found)
}

fn remove_dir(path: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("delete", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
