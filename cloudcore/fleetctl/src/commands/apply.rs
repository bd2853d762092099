//! `fleetctl apply`: documents to objects, created or updated.
//!
//! Everything is read and checked before anything is sent, so that a slip in the last document of
//! a file does not leave the first ones applied.

use std::collections::BTreeSet;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use fleet_api::{
    API_VERSION, JoinToken, Kind, Model, ModelDeployment, ModelVersion, Node, Pipeline, Resource,
    Rollout, Site,
};
use millwright_document::{DOCUMENT_BYTES_MAX, DocumentError};
use millwright_pipeline::PipelineError;
use millwright_proto::ids::{DeploymentName, ModelName, NodeName, PipelineName, SiteName};
use reqwest::StatusCode;
use serde::Deserialize;
use thiserror::Error;

use super::{DryRunArgs, mode_note};
use crate::client::{Client, ClientError, Mode};
use crate::kinds::KindName;

/// How often an update that lost a race is tried again.
const RACES_MAX: usize = 3;

/// Arguments of `apply`.
#[derive(Args, Debug)]
#[command(after_help = "\
A file may hold several documents, separated by lines of `---`. All of them are checked before the
first one is sent; an unknown key is refused with the nearest known one.

Examples:
  fleetctl apply -f fleet.yaml
  fleetctl apply -f site.yaml -f deployment.yaml --dry-run
  fleetctl get deployment faces -o yaml | fleetctl apply -f -")]
pub(crate) struct ApplyArgs {
    /// YAML or JSON file; - is stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Why documents are not sent.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    /// A document is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A pipeline cannot be meant.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A document is of another version.
    #[error("{origin}: apiVersion `{found}` is not known: use {API_VERSION}")]
    ApiVersion { origin: String, found: String },
    /// A name is wrong.
    #[error("{origin}: metadata.name of {kind}: {problem}")]
    Name {
        origin: String,
        kind: &'static str,
        problem: String,
    },
    /// An object twice.
    #[error("{origin}: {kind} `{name}` stands there twice: keep one of them")]
    Twice {
        origin: String,
        kind: &'static str,
        name: String,
    },
    /// Something that only cloudcore writes.
    #[error("{origin}: a Rollout is written by cloudcore: change the ModelDeployment instead")]
    ReadOnly { origin: String },
    /// There is no document.
    #[error("{0} holds no document")]
    Empty(String),
}

/// One checked document.
#[derive(Debug)]
pub(crate) enum Document {
    /// A factory.
    Site(Resource<Site>),
    /// A device.
    Node(Resource<Node>),
    /// A join token.
    JoinToken(Resource<JoinToken>),
    /// A model.
    Model(Resource<Model>),
    /// A version of a model.
    ModelVersion(Resource<ModelVersion>),
    /// What shall run where.
    ModelDeployment(Resource<ModelDeployment>),
    /// What feeds models.
    Pipeline(Box<Resource<Pipeline>>),
}

/// What every document begins with; the rest is read once the kind is known.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: KindName,
}

/// Reads and checks all documents of `files`.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let (origin, text) = text_of(file)?;
        documents.extend(parse(&text, &origin, &mut seen)?);
    }
    Ok(documents)
}

fn text_of(file: &Path) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    // One byte more than allowed, so that too much is seen as such.
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    if file == Path::new("-") {
        let read = std::io::stdin().take(limit).read_to_string(&mut text);
        read.context("cannot read documents from stdin")?;
        return Ok(("stdin".to_owned(), text));
    }
    let origin = file.display().to_string();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(limit).read_to_string(&mut text));
    read.with_context(|| format!("cannot read documents from {origin}"))?;
    Ok((origin, text))
}

/// Checks every document of one text; `seen` is what earlier texts held.
fn parse(
    text: &str,
    origin: &str,
    seen: &mut BTreeSet<(&'static str, String)>,
) -> Result<Vec<Document>, ApplyError> {
    let mut documents = Vec::new();
    for part in millwright_document::split_yaml(text) {
        let document = Document::parse(&part, origin)?;
        let (kind, name) = document.identity();
        if !seen.insert((kind, name.to_owned())) {
            let (origin, name) = (origin.to_owned(), name.to_owned());
            return Err(ApplyError::Twice { origin, kind, name });
        }
        documents.push(document);
    }
    if documents.is_empty() {
        Err(ApplyError::Empty(origin.to_owned()))
    } else {
        Ok(documents)
    }
}

impl Document {
    fn parse(text: &str, origin: &str) -> Result<Self, ApplyError> {
        let head: Head = millwright_document::yaml(text, origin)?;
        if head.api_version != API_VERSION {
            return Err(ApplyError::ApiVersion {
                origin: origin.to_owned(),
                found: head.api_version,
            });
        }
        Ok(match head.kind {
            KindName::Site => Self::Site(typed::<Site, SiteName>(text, origin)?),
            KindName::Node => Self::Node(typed::<Node, NodeName>(text, origin)?),
            KindName::JoinToken => Self::JoinToken(typed::<JoinToken, NodeName>(text, origin)?),
            KindName::Model => Self::Model(typed::<Model, ModelName>(text, origin)?),
            KindName::ModelVersion => Self::ModelVersion(typed::<
                ModelVersion,
                millwright_proto::ids::ModelVersion,
            >(text, origin)?),
            KindName::ModelDeployment => {
                Self::ModelDeployment(typed::<ModelDeployment, DeploymentName>(text, origin)?)
            }
            KindName::Pipeline => {
                let pipeline = typed::<Pipeline, PipelineName>(text, origin)?;
                check_pipeline(&pipeline, origin)?;
                Self::Pipeline(Box::new(pipeline))
            }
            KindName::Rollout => {
                typed::<Rollout, String>(text, origin)?;
                return Err(ApplyError::ReadOnly {
                    origin: origin.to_owned(),
                });
            }
        })
    }

    fn identity(&self) -> (&'static str, &str) {
        match self {
            Self::Site(object) => (Site::KIND, &object.metadata.name),
            Self::Node(object) => (Node::KIND, &object.metadata.name),
            Self::JoinToken(object) => (JoinToken::KIND, &object.metadata.name),
            Self::Model(object) => (Model::KIND, &object.metadata.name),
            Self::ModelVersion(object) => (ModelVersion::KIND, &object.metadata.name),
            Self::ModelDeployment(object) => (ModelDeployment::KIND, &object.metadata.name),
            Self::Pipeline(object) => (Pipeline::KIND, &object.metadata.name),
        }
    }

    async fn apply(&self, client: &Client, mode: Mode) -> Result<Outcome, ClientError> {
        match self {
            Self::Site(object) => apply(object, client, mode).await,
            Self::Node(object) => apply(object, client, mode).await,
            Self::JoinToken(object) => apply(object, client, mode).await,
            Self::Model(object) => apply(object, client, mode).await,
            Self::ModelVersion(object) => apply(object, client, mode).await,
            Self::ModelDeployment(object) => apply(object, client, mode).await,
            Self::Pipeline(object) => apply(object.as_ref(), client, mode).await,
        }
    }
}

/// Reads an object of kind `K` whose name has the form `N`.
fn typed<K: Kind, N: std::str::FromStr>(text: &str, origin: &str) -> Result<Resource<K>, ApplyError>
where
    N::Err: std::fmt::Display,
{
    let object: Resource<K> = millwright_document::yaml(text, origin)?;
    match object.metadata.name.parse::<N>() {
        Ok(_) => Ok(object),
        Err(problem) => Err(ApplyError::Name {
            origin: origin.to_owned(),
            kind: K::KIND,
            problem: problem.to_string(),
        }),
    }
}

/// Says what is wrong with a pipeline in the words of `edge-agent pipeline check`.
fn check_pipeline(pipeline: &Resource<Pipeline>, origin: &str) -> Result<(), ApplyError> {
    let name = &pipeline.metadata.name;
    if let Ok(name) = name.parse::<PipelineName>() {
        pipeline.spec.on_node(name).checked(origin)?;
    }
    Ok(())
}

/// What became of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is new.
    Created,
    /// It replaced another spec, other labels or other annotations.
    Updated,
    /// It was there already.
    Unchanged,
}

pub(super) async fn run(
    args: &ApplyArgs,
    documents: Vec<Document>,
    client: &Client,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mode = args.dry_run.mode();
    for (done, document) in documents.iter().enumerate() {
        let (kind, name) = document.identity();
        let outcome = document.apply(client, mode).await.with_context(|| {
            format!(
                "{kind}/{name} was not applied ({done} of {} were)",
                documents.len()
            )
        })?;
        let outcome = match outcome {
            Outcome::Created => "created",
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
        };
        writeln!(out, "{kind}/{name} {outcome}{}", mode_note(mode))?;
    }
    Ok(())
}

async fn apply<K: Kind>(
    wanted: &Resource<K>,
    client: &Client,
    mode: Mode,
) -> Result<Outcome, ClientError> {
    let mut races = 0;
    loop {
        let Some(found) = client.find::<K>(&wanted.metadata.name).await? else {
            client.create(wanted, mode).await?;
            return Ok(Outcome::Created);
        };
        if is_same(wanted, &found) {
            return Ok(Outcome::Unchanged);
        }
        let mut next = wanted.clone();
        next.status = K::Status::default();
        // A version in the document means: only if nobody changed it since I read it.
        let pinned = next.metadata.resource_version.is_some();
        if !pinned {
            next.metadata.resource_version = found.metadata.resource_version;
        }
        match client.update(&next, mode).await {
            Ok(_) => return Ok(Outcome::Updated),
            Err(error) if is_race(&error) && !pinned && races < RACES_MAX => races += 1,
            Err(error) => return Err(error),
        }
    }
}

fn is_race(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(problem) => {
            problem.status == StatusCode::CONFLICT.as_u16() && problem.kind.ends_with(":conflict")
        }
        _ => false,
    }
}

/// Whether what people write is the same in both.
fn is_same<K: Kind>(one: &Resource<K>, other: &Resource<K>) -> bool {
    // As text: the fields of a row are a map whose order counts.
    let spec = |object: &Resource<K>| serde_json::to_string(&object.spec).ok();
    one.metadata.labels == other.metadata.labels
        && one.metadata.annotations == other.metadata.annotations
        && spec(one) == spec(other)
}

#[cfg(test)]
mod tests;
