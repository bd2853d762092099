//! Model versions: signed, complete, immutable.
//!
//! Cloudcore checks that a package is whole and says what it claims to be, so that a mistake shows
//! at the push and not on a device. It holds no trust keys: whether the signer is trusted is for
//! every device to decide.

use fleet_api::{Model, ModelDeployment, ModelSpec, ModelVersion, ModelVersionSpec, Resource};
use millwright_package::{
    BUNDLE_BYTES_MAX, FileEntry, FileList, MANIFEST_BYTES_MAX, MANIFEST_FILE, Manifest,
    claimed_signer,
};
use millwright_proto::ids::{self, ModelName, Version};

use super::{Attempt, Rules, Verb, parse, same_spec};
use crate::api::failure::{Failure, ProblemType};
use crate::api::telemetry::profiles;
use crate::app::App;
use crate::store::{AuditEntry, Outcome};

impl Rules for ModelVersion {
    const VERBS: &'static [Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
    const FIELDS: &'static [&'static str] = &["metadata.name", "spec.model", "spec.version"];

    fn check(resource: &Resource<Self>) -> Result<(), Failure> {
        let spec = &resource.spec;
        let id = ids::ModelVersion {
            model: parse::<ModelName>("spec.model", &spec.model)?,
            version: parse::<Version>("spec.version", &spec.version)?,
        };
        if resource.metadata.name != id.to_string() {
            let detail = format!("the name must be `{id}`, as spec.model and spec.version say");
            return Err(Failure::invalid("metadata.name", detail));
        }
        if spec.bundle.len() > BUNDLE_BYTES_MAX {
            let detail = format!("at most {BUNDLE_BYTES_MAX} bytes");
            return Err(Failure::invalid("spec.bundle", detail));
        }
        file_list(spec).map(drop)
    }

    async fn create(
        attempt: Attempt<'_>,
        mut resource: Resource<Self>,
    ) -> Result<Resource<Self>, Failure> {
        let Attempt {
            app,
            actor,
            write,
            now,
        } = attempt;
        let files = file_list(&resource.spec)?;
        let signer = claimed_signer(&resource.spec.bundle, &files)
            .map_err(|fault| bad_package(fault).at("spec.bundle"))?;
        let manifest = read_manifest(app, &actor.tenant, &files).await?;
        if manifest.model_version().to_string() != resource.metadata.name {
            let detail = format!(
                "{MANIFEST_FILE} says `{}`, the request `{}`",
                manifest.model_version(),
                resource.metadata.name
            );
            return Err(bad_package(detail).at("metadata.name"));
        }
        resource.status.description = manifest.description.clone();
        resource.status.license = manifest.license.clone();
        resource.status.size_bytes = files.size_bytes();
        resource.status.signed_by = signer.map(|hint| hint.to_string()).unwrap_or_default();
        let model = resource.spec.model.clone();
        if write.find::<Model>(&actor.tenant, &model).await?.is_none() {
            let fresh = Resource::<Model>::new(&model, ModelSpec::default());
            write.insert(&actor.tenant, fresh, now).await?;
            let entry = AuditEntry {
                actor,
                action: "create",
                object: &format!("Model/{model}"),
                outcome: Outcome::Allowed,
                detail: "with its first version",
            };
            write.audit(&entry, now).await?;
        }
        let resource = write.insert(&actor.tenant, resource, now).await?;
        write
            .change_status::<Model>(&actor.tenant, &model, |status| status.versions += 1)
            .await?;
        Ok(resource)
    }

    fn may_update(old: &Resource<Self>, new: &Resource<Self>) -> Result<(), Failure> {
        if same_spec(old, new) {
            return Ok(());
        }
        Err(
            Failure::new(ProblemType::Immutable, "a model version does not change")
                .at("spec")
                .hint("push another version"),
        )
    }

    async fn before_delete(attempt: Attempt<'_>, old: &Resource<Self>) -> Result<(), Failure> {
        let Attempt { actor, write, .. } = attempt;
        let deployments = write.all::<ModelDeployment>(&actor.tenant).await?;
        let uses = |deployment: &&Resource<ModelDeployment>| {
            deployment.spec.model == old.spec.model && deployment.spec.version == old.spec.version
        };
        if let Some(deployment) = deployments.iter().find(uses) {
            let name = &deployment.metadata.name;
            let detail = format!("model deployment `{name}` wants this version");
            return Err(Failure::new(ProblemType::InUse, detail)
                .hint("point the deployment at another version, or delete it, first"));
        }
        write
            .change_status::<Model>(&actor.tenant, &old.spec.model, |status| {
                status.versions = status.versions.saturating_sub(1);
            })
            .await?;
        Ok(())
    }
}

fn bad_package(detail: impl std::fmt::Display) -> Failure {
    Failure::new(ProblemType::BadPackage, detail.to_string())
}

fn file_list(spec: &ModelVersionSpec) -> Result<FileList, Failure> {
    let entries = spec.files.iter().enumerate().map(|(index, file)| {
        let field = |part: &str| format!("spec.files[{index}].{part}");
        Ok(FileEntry {
            path: parse(&field("path"), &file.path)?,
            digest: parse(&field("digest"), &file.digest)?,
            size_bytes: file.size_bytes,
        })
    });
    FileList::new(entries.collect::<Result<_, Failure>>()?)
        .map_err(|fault| Failure::invalid("spec.files", fault))
}

/// The manifest, once every file of the package is here with the size the list says.
async fn read_manifest(app: &App, tenant: &str, files: &FileList) -> Result<Manifest, Failure> {
    for (index, entry) in files.entries().iter().enumerate() {
        let size = app.store.blob_size_bytes(tenant, entry.digest).await?;
        if size != Some(entry.size_bytes) {
            let detail = match size {
                None => format!("`{}` ({}) was not uploaded", entry.path, entry.digest),
                Some(size) => format!(
                    "`{}` has {size} bytes, the list says {}",
                    entry.path, entry.size_bytes
                ),
            };
            return Err(bad_package(detail).at(format!("spec.files[{index}]")).hint(
                "upload every file first: PUT /api/v1/blobs/<digest>; fleetctl model push does",
            ));
        }
    }
    let digest = files.manifest().digest;
    let text = app.registry.read_small(digest, MANIFEST_BYTES_MAX).await?;
    let text = String::from_utf8(text)
        .map_err(|_| bad_package(format!("{MANIFEST_FILE} is not UTF-8 text")))?;
    let manifest = Manifest::parse(&text, MANIFEST_FILE).map_err(bad_package)?;
    manifest.check_files(files).map_err(bad_package)?;
    if let Some(profile) = manifest.profile.as_ref().and_then(|path| files.get(path)) {
        let read = profiles::read(&app.registry, &manifest, profile.digest).await;
        read.map_err(|error| bad_package(error).at("spec.profile"))?;
    }
    Ok(manifest)
}
