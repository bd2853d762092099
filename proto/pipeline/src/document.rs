//! The document as a whole.

use std::collections::BTreeMap;

use millwright_proto::ids::{ModelName, PipelineName};
use serde::{Deserialize, Serialize};

use crate::{Decode, PipelineError, Preprocess, Region, Sink, Source};

/// One pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pipeline {
    /// Always `millwright/v1`.
    pub api_version: ApiVersion,
    /// Always `Pipeline`.
    pub kind: Kind,
    /// Its name.
    pub metadata: Metadata,
    /// What it does.
    pub spec: Spec,
}

/// The version of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "millwright/v1")]
    V1,
}

/// The kind of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The only one.
    Pipeline,
}

/// Name and words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique on its node.
    pub name: PipelineName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As every object of the cloud has them; a node does nothing with them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// As every object of the cloud has them; a node does nothing with them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// A name and nothing else.
    #[must_use]
    pub fn named(name: PipelineName) -> Self {
        Self {
            name,
            description: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// What a pipeline does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// In the cloud: which nodes run it. Default: every node. A file of a node runs where it is, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Where inputs come from.
    pub source: Source,
    /// What is done to them before the model. Default: nothing but what their form needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// The model that gets them, in the version that is active on the node.
    pub model: ModelName,
    /// Another model that sees some of the inputs, too: a candidate, before anybody trusts it. Default: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// What its outputs mean. Default: nothing is read into them, results have them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Decode>,
    /// Where results go. Default: nowhere but the agent's own page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// What gives way when inputs come faster than the model answers.
    #[serde(default)]
    pub back_pressure: BackPressure,
    /// Parts of every picture that are covered before it is shown, sent or kept; the model sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<Region>,
}

/// A model beside the one that answers. What it says goes nowhere; whether it agrees is counted, and an input on which it
/// does not is a hard example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Its name, in the version that is active on the node.
    pub model: ModelName,
    /// At most one input per so many milliseconds is given to it, and never one before it has answered the last; 0: every
    /// one that finds it free. Default 1000.
    #[serde(default = "shadow_every_ms")]
    pub every_ms: u32,
}

const fn shadow_every_ms() -> u32 {
    1000
}

/// Which nodes. Everything given must hold; nothing given selects every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Nodes with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Nodes at one of these sites; empty means every site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
}

/// What gives way when inputs come faster than the model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackPressure {
    /// What gives way. Default: `dropOldest` for cameras and video, `block` for everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Inputs that may wait, 1 to [`crate::QUEUE_MAX`]. Default 8.
    #[serde(default = "queue")]
    pub queue: u32,
    /// With `sample`: one input per this time is taken, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u32>,
}

/// What gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// The oldest input that waits is dropped, so that results are about now.
    DropOldest,
    /// One input per `everyMs` is taken; should even those be too many, the oldest is dropped.
    Sample,
    /// Nothing is dropped: the source waits (a broker keeps its messages, a push is told to come again).
    Block,
}

const fn queue() -> u32 {
    8
}

impl Default for BackPressure {
    fn default() -> Self {
        Self {
            policy: None,
            queue: queue(),
            every_ms: None,
        }
    }
}

impl Pipeline {
    /// Reads one pipeline; `origin` names it in errors, for example the path of the file.
    ///
    /// # Errors
    /// When it is not YAML, has an unknown key, or a value cannot be meant.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PipelineError> {
        let pipeline: Self = millwright_document::yaml(text, origin)?;
        pipeline.check(origin)?;
        Ok(pipeline)
    }

    /// Reads one pipeline from JSON; `origin` as for [`Pipeline::parse`].
    ///
    /// # Errors
    /// As [`Pipeline::parse`].
    pub fn parse_json(text: &str, origin: &str) -> Result<Self, PipelineError> {
        let pipeline: Self = millwright_document::json(text, origin)?;
        pipeline.check(origin)?;
        Ok(pipeline)
    }

    /// Reads every pipeline of a file, in which they are parted by `---`.
    ///
    /// # Errors
    /// The first one that cannot be read.
    pub fn parse_all(text: &str, origin: &str) -> Result<Vec<Self>, PipelineError> {
        let parts = millwright_document::split_yaml(text);
        parts.iter().map(|part| Self::parse(part, origin)).collect()
    }

    /// One that was not read but made; `origin` names it in errors.
    ///
    /// # Errors
    /// When a value cannot be meant.
    pub fn checked(self, origin: &str) -> Result<Self, PipelineError> {
        self.check(origin)?;
        Ok(self)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &PipelineName {
        &self.metadata.name
    }

    /// What gives way when inputs come too fast, with the default where nothing is said.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let by_source = match self.spec.source {
            Source::Camera(_) | Source::Video(_) => Policy::DropOldest,
            Source::Mqtt(_) | Source::Directory(_) | Source::Push(_) => Policy::Block,
        };
        self.spec.back_pressure.policy.unwrap_or(by_source)
    }
}
