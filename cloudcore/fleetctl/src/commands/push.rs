//! `fleetctl model push`: blobs first, then the model, then the version that names them.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use fleet_api::{Model, ModelSpec, ModelVersion, ModelVersionSpec, PackageFile, Resource};
use millwright_package::{FileEntry, KeyHint, signer_hint};
use thiserror::Error;

use super::model::trust_keys;
use crate::client::{Client, ClientError, Mode, Upload};
use crate::exit::Exit;
use crate::output::bytes;
use crate::output::progress::transfer;
use crate::package::PackageDirectory;

/// Arguments of `model push`.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The package's directory, signed by `model sign`
    directory: PathBuf,
    /// Also check who signed it, against this public key
    #[arg(long = "trust-key", value_name = "FILE")]
    trust_keys: Vec<PathBuf>,
}

/// Why a version cannot be published, beside refusals of cloudcore.
#[derive(Debug, Error)]
pub(crate) enum PushError {
    /// Another content has the name.
    #[error(
        "{version} was already published with other content ({difference}): versions are immutable, so raise metadata.version in model.yaml, pack and push again"
    )]
    OtherContent { version: String, difference: String },
    /// The same content, signed by somebody else.
    #[error(
        "{version} was already published with the same content but signed by {published}, not by {here}: raise metadata.version in model.yaml, pack and push again"
    )]
    OtherSigner {
        version: String,
        published: String,
        here: String,
    },
}

impl PushError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OtherContent { .. } | Self::OtherSigner { .. } => Exit::Conflict,
        }
    }
}

pub(super) async fn run(
    args: &PushArgs,
    connect: impl Fn() -> anyhow::Result<Client>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let package = PackageDirectory::read(&args.directory)?;
    let bundle = package.bundle()?;
    let checked = if args.trust_keys.is_empty() {
        millwright_package::claimed_signer(&bundle, &package.files)
    } else {
        let keys = trust_keys(&args.trust_keys)?;
        millwright_package::verify(&bundle, &package.files, &keys).map(Some)
    };
    let signer = checked.map_err(|problem| package.signature_error(problem))?;
    push(&package, bundle, signer, &connect()?, out).await
}

/// Publishes a checked package.
pub(super) async fn push(
    package: &PackageDirectory,
    bundle: String,
    signer: Option<KeyHint>,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = package.manifest.model_version().to_string();
    let version = Resource::<ModelVersion>::new(&name, spec(package, bundle));
    if let Some(published) = client.find::<ModelVersion>(&name).await? {
        check_same(&published, &version, signer)?;
        writeln!(out, "ModelVersion/{name} unchanged")?;
        return Ok(());
    }
    upload_missing(package, client).await?;
    create_model(package, client, out).await?;
    client.create(&version, Mode::Do).await?;
    writeln!(out, "ModelVersion/{name} created")?;
    Ok(())
}

fn spec(package: &PackageDirectory, bundle: String) -> ModelVersionSpec {
    let file = |entry: &FileEntry| PackageFile {
        path: entry.path.to_string(),
        digest: entry.digest.to_string(),
        size_bytes: entry.size_bytes,
    };
    ModelVersionSpec {
        model: package.manifest.model.to_string(),
        version: package.manifest.version.to_string(),
        files: package.files.entries().iter().map(file).collect(),
        bundle,
    }
}

/// Whether what is published is what would be. ECDSA signatures differ each time they are made, so
/// files and signer are compared, not bundles.
fn check_same(
    published: &Resource<ModelVersion>,
    here: &Resource<ModelVersion>,
    signer: Option<KeyHint>,
) -> Result<(), PushError> {
    let version = here.metadata.name.clone();
    if let Some(difference) = difference(&published.spec.files, &here.spec.files) {
        return Err(PushError::OtherContent {
            version,
            difference,
        });
    }
    let published = signer_hint(&published.spec.bundle).ok().flatten();
    if published == signer {
        return Ok(());
    }
    let text =
        |hint: Option<KeyHint>| hint.map_or_else(|| "an unnamed key".to_owned(), |h| h.to_string());
    Err(PushError::OtherSigner {
        version,
        published: text(published),
        here: text(signer),
    })
}

/// The first file that is not the same in both.
fn difference(published: &[PackageFile], here: &[PackageFile]) -> Option<String> {
    let digest = |files: &[PackageFile], path: &str| {
        files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.digest.clone())
    };
    for file in here {
        match digest(published, &file.path) {
            Some(other) if other == file.digest => {}
            Some(_) => return Some(format!("{} differs", file.path)),
            None => return Some(format!("{} is new", file.path)),
        }
    }
    let gone = published
        .iter()
        .find(|file| digest(here, &file.path).is_none());
    gone.map(|file| format!("{} is missing here", file.path))
}

async fn upload_missing(package: &PackageDirectory, client: &Client) -> anyhow::Result<()> {
    let mut missing: Vec<&FileEntry> = Vec::new();
    for entry in package.files.entries() {
        let twice = missing.iter().any(|other| other.digest == entry.digest);
        if !twice && !client.has_blob(&entry.digest).await? {
            missing.push(entry);
        }
    }
    let total: u64 = missing.iter().map(|entry| entry.size_bytes).sum();
    let progress = transfer(total);
    for entry in &missing {
        progress.set_message(entry.path.to_string());
        let path = package.path_of(&entry.path);
        let upload = Upload::open(&path, entry.digest, entry.size_bytes)
            .await
            .with_context(|| format!("cannot read {}", path.display()))?;
        let bar = progress.clone();
        client
            .put_blob(upload, move |length| bar.inc(length))
            .await
            .with_context(|| format!("cannot upload {}", path.display()))?;
    }
    progress.finish_and_clear();
    let known = package.files.entries().len() - missing.len();
    eprintln!(
        "Uploaded {} file(s), {}; {known} were there already",
        missing.len(),
        bytes(total)
    );
    Ok(())
}

async fn create_model(
    package: &PackageDirectory,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = package.manifest.model.as_str();
    if client.find::<Model>(name).await?.is_some() {
        return Ok(());
    }
    let spec = ModelSpec {
        description: package.manifest.description.clone(),
    };
    match client
        .create(&Resource::<Model>::new(name, spec), Mode::Do)
        .await
    {
        Ok(_) => writeln!(out, "Model/{name} created")?,
        // Somebody else pushed a first version at the same time.
        Err(ClientError::Refused(problem)) if problem.status == 409 => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
