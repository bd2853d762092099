//! What is on the shelf when nobody remembers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use edge_core::models::PackageId;
use millwright_package::{MANIFEST_FILE, Manifest};
use millwright_proto::ids::ModelName;

use super::{FetchError, Shelf, directories, disk, list_directory};
use crate::desired::list_digest;

impl Shelf {
    /// Every package in its final place, per model, oldest first. What cannot be read is left out.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the shelf itself cannot be read.
    pub fn survey(&self) -> Result<BTreeMap<ModelName, Vec<PackageId>>, FetchError> {
        let mut found: BTreeMap<ModelName, Vec<(SystemTime, PackageId)>> = BTreeMap::new();
        for model in directories(&self.packages)? {
            if model == self.incoming {
                continue;
            }
            for directory in directories(&model)? {
                let since = fs::metadata(&directory)
                    .and_then(|metadata| metadata.modified())
                    .map_err(disk("look at", &directory))?;
                if let Some(package) = identify(&directory) {
                    let model = package.version.model.clone();
                    found.entry(model).or_default().push((since, package));
                }
            }
        }
        Ok(found
            .into_iter()
            .map(|(model, mut packages)| {
                packages.sort();
                (
                    model,
                    packages.into_iter().map(|(_, package)| package).collect(),
                )
            })
            .collect())
    }
}

fn identify(directory: &Path) -> Option<PackageId> {
    let list = list_directory(directory).ok()?;
    let text = fs::read_to_string(directory.join(MANIFEST_FILE)).ok()?;
    let manifest = Manifest::parse(&text, MANIFEST_FILE).ok()?;
    Some(PackageId {
        version: manifest.model_version(),
        digest: list_digest(&list),
    })
}
