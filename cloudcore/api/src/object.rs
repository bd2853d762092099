//! The envelope every kind shares.

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a kind is called, where it lives in the API, and the types of its two halves.
pub trait Kind: Clone + Debug + ToSchema + Send + Sync + 'static {
    /// `kind` in documents, for example `ModelDeployment`.
    const KIND: &'static str;
    /// Path segment under `/api/v1/`, for example `modeldeployments`.
    const PLURAL: &'static str;
    /// What people ask for.
    type Spec: Clone + Debug + Serialize + DeserializeOwned + ToSchema + Send + Sync + 'static;
    /// What cloudcore observed or decided.
    type Status: Clone
        + Debug
        + Default
        + Serialize
        + DeserializeOwned
        + ToSchema
        + Send
        + Sync
        + 'static;
}

/// One object of kind `K`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct Resource<K: Kind> {
    /// Always `millwright/v1`.
    pub api_version: String,
    /// The kind's name.
    pub kind: String,
    /// Name, labels, version counters.
    pub metadata: Metadata,
    /// What people ask for.
    pub spec: K::Spec,
    /// What cloudcore observed or decided; ignored in requests.
    #[serde(default)]
    pub status: K::Status,
}

impl<K: Kind> Resource<K> {
    /// A new object with `name` and `spec`, ready to be sent.
    pub fn new(name: impl Into<String>, spec: K::Spec) -> Self {
        Self {
            api_version: crate::API_VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            metadata: Metadata {
                name: name.into(),
                ..Metadata::default()
            },
            spec,
            status: K::Status::default(),
        }
    }
}

/// Name, labels and version counters of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique per tenant and kind.
    pub name: String,
    /// For selectors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For people and tools; never selected on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Counts changes of `spec`. Set by cloudcore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Changes with every write. Sent back on update it detects a lost race. Set by cloudcore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// When the object was first stored. Set by cloudcore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct List<K: Kind> {
    /// Always `millwright/v1`.
    pub api_version: String,
    /// The kind's name with `List` after it.
    pub kind: String,
    /// Where the next page starts.
    pub metadata: ListMetadata,
    /// The objects, ordered by name.
    pub items: Vec<Resource<K>>,
}

/// Where a list stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// Pass as `continue` to get the next page; absent on the last one.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// The store's version when the page was read; a watch can start here.
    pub resource_version: String,
}

/// One aspect of an object's state, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// For example `Ready`, `Connected`, `RuntimeMissing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Machine-readable, `CamelCase`.
    pub reason: String,
    /// For people: what, where, how to fix it.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows; a silent node is inconclusive.
    Unknown,
}

/// One event of a watch (`?watch=1`, server-sent events; the SSE id is the resource version).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(bound(serialize = "", deserialize = ""))]
pub struct WatchEvent<K: Kind> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WatchEventType,
    /// The object after it happened (before, when deleted).
    pub object: Resource<K>,
}

/// What happened to a watched object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WatchEventType {
    /// New since the watch began.
    Added,
    /// Changed.
    Modified,
    /// Gone.
    Deleted,
}
