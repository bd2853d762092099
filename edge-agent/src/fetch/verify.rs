//! Checks a package that is on disk, and puts it into its final place.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use edge_core::models::{FailureClass, PackageId};
use millwright_package::{FileList, MANIFEST_FILE, Manifest, SIGNATURE_FILE, TrustKeys};

use super::{FetchError, Shelf, disk, files, remove_dir};
use crate::data_dir::{READABLE, make_private_dir, replace_file, sync_parent};
use crate::desired::{PackageSource, list_digest};

/// Whose packages may run.
#[derive(Clone, Debug)]
pub enum TrustPolicy {
    /// Those signed by one of these keys.
    Keys(TrustKeys),
    /// Those in a directory that the owner of this machine named, signed or not.
    Owner,
}

/// A package that may be loaded.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
}

/// Checks digests, signature and manifest of `package`, wherever it lies, and moves it into its
/// final place. `source` is known for what is desired; for what was, the signature kept beside the
/// files is used. Blocks on the disk.
///
/// # Errors
/// What is wrong with it. Files in the final place that turn out to be damaged go back to the
/// incoming ones, so that fetching mends them.
pub fn verify(
    shelf: &Shelf,
    package: &PackageId,
    source: Option<&PackageSource>,
    trust: &TrustPolicy,
) -> Result<Verified, FetchError> {
    let place = shelf.place(package, source);
    if place.is_dir() {
        let checked = check(&place, package, None, trust);
        let damaged = matches!(&checked, Err(error) if error.class() == FailureClass::Digest);
        if damaged && !matches!(source, Some(PackageSource::Directory(_))) {
            take_back(shelf, package, &place)?;
        }
        return checked;
    }
    let incoming = shelf.incoming(package);
    let collected = incoming.join("files");
    let bundle = match source {
        Some(PackageSource::Cloud { bundle, .. }) => Some(bundle.as_str()),
        Some(PackageSource::Directory(_)) | None => None,
    };
    let verified = check(&collected, package, bundle, trust)?;
    if let Some(bundle) = bundle {
        let path = collected.join(SIGNATURE_FILE);
        replace_file(&path, bundle.as_bytes(), READABLE).map_err(|error| {
            FetchError::NotAPackage {
                path,
                problem: error.to_string(),
            }
        })?;
    }
    put_in_place(&collected, &place)?;
    remove_dir(&incoming)?;
    Ok(verified)
}

fn check(
    directory: &Path,
    package: &PackageId,
    bundle: Option<&str>,
    trust: &TrustPolicy,
) -> Result<Verified, FetchError> {
    let list = files::list_directory(directory)?;
    if list_digest(&list) != package.digest {
        return Err(FetchError::Changed {
            package: package.clone(),
            directory: directory.to_owned(),
        });
    }
    match trust {
        TrustPolicy::Owner => {}
        TrustPolicy::Keys(keys) => check_signature(directory, package, bundle, &list, keys)?,
    }
    let manifest = read_manifest(directory, package, &list)?;
    Ok(Verified {
        manifest: Arc::new(manifest),
    })
}

fn check_signature(
    directory: &Path,
    package: &PackageId,
    bundle: Option<&str>,
    list: &FileList,
    keys: &TrustKeys,
) -> Result<(), FetchError> {
    let stored;
    let bundle = match bundle {
        Some(bundle) => bundle,
        None => {
            let path = directory.join(SIGNATURE_FILE);
            if !path.is_file() {
                let package = package.clone();
                return Err(FetchError::Unsigned { package, path });
            }
            stored = fs::read_to_string(&path).map_err(disk("read", &path))?;
            &stored
        }
    };
    match millwright_package::verify(bundle, list, keys) {
        Ok(signer) => {
            tracing::info!(%package, %signer, "package verified");
            Ok(())
        }
        Err(source) => Err(FetchError::Signature {
            package: package.clone(),
            source,
        }),
    }
}

fn read_manifest(
    directory: &Path,
    package: &PackageId,
    list: &FileList,
) -> Result<Manifest, FetchError> {
    let refused = |source| FetchError::Manifest {
        package: package.clone(),
        source: Box::new(source),
    };
    let path = directory.join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).map_err(disk("read", &path))?;
    let manifest = Manifest::parse(&text, MANIFEST_FILE).map_err(refused)?;
    manifest.check_files(list).map_err(refused)?;
    let found = manifest.model_version();
    if found == package.version {
        Ok(manifest)
    } else {
        let package = package.clone();
        Err(FetchError::OtherModel { package, found })
    }
}

fn put_in_place(collected: &Path, place: &Path) -> Result<(), FetchError> {
    if let Some(model) = place.parent() {
        make_private_dir(model).map_err(disk("create", model))?;
        sync_parent(model).map_err(disk("sync", model))?;
    }
    File::open(collected)
        .and_then(|directory| directory.sync_all())
        .map_err(disk("sync", collected))?;
    fs::rename(collected, place).map_err(disk("put in place", place))?;
    sync_parent(place).map_err(disk("sync", place))
}

fn take_back(shelf: &Shelf, package: &PackageId, place: &Path) -> Result<(), FetchError> {
    let incoming = shelf.incoming(package);
    remove_dir(&incoming)?;
    make_private_dir(&incoming).map_err(disk("create", &incoming))?;
    fs::rename(place, incoming.join("files")).map_err(disk("take back", place))
}
