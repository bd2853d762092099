//! A desired document read as what is to run and where its bytes come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_core::desired::{Desired, DesiredSlot, Gap};
use edge_core::models::PackageId;
use millwright_package::{FileEntry, FileList, FileListError, PackagePathError};
use millwright_proto::digest::DigestError;
use millwright_proto::ids::{Generation, IdError, ModelName, ModelVersion};
use millwright_proto::link::DesiredDocument;
use prost::Message;
use thiserror::Error;

use crate::pipeline::cloud::{CloudPipeline, CloudPipelines};

/// Why a document cannot be read.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not a desired document.
    #[error("it does not decode: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A model or version has no valid name.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A file has no valid path.
    #[error(transparent)]
    Path(#[from] PackagePathError),
    /// A file has no valid digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A file has no digest at all.
    #[error("file `{0}` has no digest")]
    NoDigest(String),
    /// The files are not a package.
    #[error("{model}: {source}")]
    Files {
        /// The model version.
        model: ModelVersion,
        /// Why not.
        source: FileListError,
    },
    /// One model twice.
    #[error("it names model `{0}` twice")]
    Duplicate(ModelName),
}

/// What a desired document asks for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Per model: the package, and how its version replaces another.
    pub packages: BTreeMap<ModelName, (Package, Replacing)>,
    /// Pipelines; one that cannot be read says why and keeps no other from running.
    pub pipelines: CloudPipelines,
    /// Length of a summary window; `None`: the agent's own default.
    pub summary_window: Option<Duration>,
}

/// How a version replaces the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replacing {
    /// How long the replaced one stays warm.
    pub prove_for: Duration,
    /// Whether it may end first.
    pub gap: Gap,
}

/// A package that is to run, and where to get it.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its identity.
    pub id: PackageId,
    /// Where its bytes are.
    pub source: PackageSource,
}

/// Where the bytes of a package come from.
#[derive(Clone, Debug)]
pub enum PackageSource {
    /// Blobs of the cloud, signed.
    Cloud {
        /// Its files.
        files: FileList,
        /// The signature over them.
        bundle: String,
    },
    /// A directory on this machine, given by its owner.
    Directory(PathBuf),
}

impl Plan {
    /// Reads an encoded document.
    ///
    /// # Errors
    /// When any part of it is not what it should be; nothing of it is used then.
    pub fn read(bytes: Bytes) -> Result<Self, DocumentError> {
        let document = DesiredDocument::decode(bytes)?;
        let mut packages = BTreeMap::new();
        for slot in document.models {
            let version = ModelVersion {
                model: slot.model.parse()?,
                version: slot.version.parse()?,
            };
            let entries = slot
                .files
                .iter()
                .map(file_entry)
                .collect::<Result<_, _>>()?;
            let files = FileList::new(entries).map_err(|source| DocumentError::Files {
                model: version.clone(),
                source,
            })?;
            let model = version.model.clone();
            let package = Package {
                id: PackageId {
                    digest: list_digest(&files),
                    version,
                },
                source: PackageSource::Cloud {
                    files,
                    bundle: String::from_utf8_lossy(&slot.bundle).into_owned(),
                },
            };
            let replacing = Replacing {
                prove_for: Duration::from_millis(slot.prove_for_ms.into()),
                gap: if slot.allow_gap {
                    Gap::Allowed
                } else {
                    Gap::Refused
                },
            };
            if packages
                .insert(model.clone(), (package, replacing))
                .is_some()
            {
                return Err(DocumentError::Duplicate(model));
            }
        }
        let window = u64::from(document.summary_window_ms);
        let pipelines = document.pipelines.into_iter();
        Ok(Self {
            packages,
            pipelines: Arc::new(pipelines.filter_map(CloudPipeline::read).collect()),
            summary_window: (window > 0).then(|| Duration::from_millis(window)),
        })
    }

    /// The plan as edge-core sees it.
    #[must_use]
    pub fn desired(&self, generation: Generation) -> Desired {
        let slots = self.packages.iter().map(|(model, (package, replacing))| {
            let slot = DesiredSlot {
                package: package.id.clone(),
                prove_for: replacing.prove_for,
                gap: replacing.gap,
            };
            (model.clone(), slot)
        });
        Desired {
            generation,
            slots: slots.collect(),
        }
    }
}

fn file_entry(file: &millwright_proto::link::PackageFile) -> Result<FileEntry, DocumentError> {
    let digest = file
        .digest
        .as_ref()
        .ok_or_else(|| DocumentError::NoDigest(file.path.chars().take(80).collect()))?;
    Ok(FileEntry {
        path: file.path.parse()?,
        digest: digest.try_into()?,
        size_bytes: file.size_bytes,
    })
}

/// The digest that names a package's content: of one line `<digest> <path>` per file, in order.
#[must_use]
pub(crate) fn list_digest(files: &FileList) -> millwright_proto::Digest {
    let mut hasher = millwright_proto::digest::Hasher::default();
    for entry in files.entries() {
        hasher.update(format!("{} {}\n", entry.digest, entry.path).as_bytes());
    }
    hasher.finish()
}
