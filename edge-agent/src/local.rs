//! `edge-agent run --model DIR`: one package from a directory of this machine as the desired state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_core::models::PackageId;
use millwright_package::{MANIFEST_FILE, Manifest, ManifestError};
use thiserror::Error;

use crate::desired::{Package, PackageSource, Plan, Replacing, list_digest};
use crate::fetch::{FetchError, TrustPolicy, list_directory};
use crate::identity::trust::{self, TrustError};

/// Why a directory cannot be served.
#[derive(Debug, Error)]
pub enum LocalError {
    /// There is no manifest.
    #[error(
        "{path} is not there: --model takes the directory of a model package, with {MANIFEST_FILE} in it"
    )]
    NoManifest {
        /// Where it would be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The directory holds something that cannot be part of a package.
    #[error(transparent)]
    Files(#[from] FetchError),
    /// A trust key cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// The package in `directory` as all that is wanted, and whether its signature must be by one of
/// `trust_keys`. Without keys a signature is not looked at: who names a directory of this machine
/// may run what is in it.
///
/// # Errors
/// When the directory holds no package, or a key cannot be used.
pub fn plan(directory: &Path, trust_keys: &[PathBuf]) -> Result<(Plan, TrustPolicy), LocalError> {
    // Workers have another working directory.
    let directory = &directory
        .canonicalize()
        .map_err(|source| missing(directory, source))?;
    let path = directory.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| missing(directory, source))?;
    let manifest = Manifest::parse(&text, &path.display().to_string())?;
    let list = list_directory(directory)?;
    manifest.check_files(&list)?;
    let trust = if trust_keys.is_empty() {
        tracing::warn!(
            package = %directory.display(),
            "the signature of the package is not checked: name a public key with --trust-key"
        );
        TrustPolicy::Owner
    } else {
        TrustPolicy::Keys(trust::read(trust_keys)?)
    };
    let version = manifest.model_version();
    let model = version.model.clone();
    let package = Package {
        id: PackageId {
            version,
            digest: list_digest(&list),
        },
        source: PackageSource::Directory(directory.to_owned()),
    };
    let packages = BTreeMap::from([(model, (package, Replacing::default()))]);
    Ok((
        Plan {
            packages,
            pipelines: Arc::default(),
            summary_window: None,
        },
        trust,
    ))
}

fn missing(directory: &Path, source: std::io::Error) -> LocalError {
    let path = directory.join(MANIFEST_FILE);
    LocalError::NoManifest { path, source }
}
