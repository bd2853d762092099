//! Baseline profiles of model versions, read from the packages in the registry.
//!
//! A version is immutable, and so is its profile; one that is gone, or was never in this registry, only means that nothing
//! is said about drift.

use std::collections::{BTreeMap, BTreeSet};

use fleet_api::ModelVersion;
use millwright_package::profile::{PROFILE_BYTES_MAX, ProfileError};
use millwright_package::{MANIFEST_BYTES_MAX, MANIFEST_FILE, Manifest, Profile};
use millwright_proto::Digest;
use millwright_summary::ModelLabel;
use thiserror::Error;

use crate::app::App;
use crate::registry::{Registry, RegistryError};

/// Model versions in one answer whose profile is looked at: two small files each. A fleet runs a few dozen.
const PROFILES_MAX: usize = 256;

/// Why a file of a package is no profile.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// It is not in the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is no text.
    #[error("the baseline profile is not UTF-8 text: make the package anew")]
    Text,
    /// It is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// It is the profile of another model.
    #[error("the baseline profile is of {found}, not of {expected}: make the package anew")]
    Other {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

/// The profile a manifest names, whose file has that digest.
pub(crate) async fn read(
    registry: &Registry,
    manifest: &Manifest,
    digest: Digest,
) -> Result<Profile, ReadError> {
    let text = registry.read_small(digest, PROFILE_BYTES_MAX).await?;
    let text = String::from_utf8(text).map_err(|_| ReadError::Text)?;
    let origin = manifest.profile.as_ref().map_or("", |path| path.as_str());
    let profile = Profile::parse(&text, origin)?;
    let expected = manifest.model_version();
    if *profile.model() != expected {
        return Err(ReadError::Other {
            found: profile.model().to_string(),
            expected: expected.to_string(),
        });
    }
    Ok(profile)
}

/// Profiles of those `wanted` that have one.
pub(super) async fn of_versions(
    app: &App,
    tenant: &str,
    wanted: BTreeSet<ModelLabel>,
) -> BTreeMap<ModelLabel, Profile> {
    let mut found = BTreeMap::new();
    for label in wanted.into_iter().take(PROFILES_MAX) {
        if let Some(profile) = of_version(app, tenant, &label).await {
            found.insert(label, profile);
        }
    }
    found
}

async fn of_version(app: &App, tenant: &str, label: &ModelLabel) -> Option<Profile> {
    let name = format!("{}@{}", label.model, label.version);
    let version = app.store.find::<ModelVersion>(tenant, &name).await;
    let files = version.ok().flatten()?.spec.files;
    let digest = |path: &str| -> Option<Digest> {
        let file = files.iter().find(|file| file.path == path)?;
        file.digest.parse().ok()
    };
    let manifest = digest(MANIFEST_FILE)?;
    let text = app.registry.read_small(manifest, MANIFEST_BYTES_MAX).await;
    let text = String::from_utf8(text.ok()?).ok()?;
    let manifest = Manifest::parse(&text, MANIFEST_FILE).ok()?;
    let profile = digest(manifest.profile.as_ref()?.as_str())?;
    match read(&app.registry, &manifest, profile).await {
        Ok(profile) => Some(profile),
        Err(error) => {
            tracing::warn!(model = name, %error, "drift of this version cannot be told");
            None
        }
    }
}
