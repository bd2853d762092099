//! Inputs that models found hard, fetched from a node by an operator.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// Examples of one `POST /api/v1/nodes/<name>/hard-examples/fetch`: the audit trail names each of them.
pub const HARD_EXAMPLES_FETCHED_MAX: usize = 256;

/// Answer of `GET /api/v1/nodes/<name>/hard-examples`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HardExampleList {
    /// By pipeline, the oldest first.
    pub items: Vec<HardExample>,
    /// Pass as `continue` to get the next page.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// One example on a node, as its description says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HardExample {
    /// Who kept it.
    pub pipeline: String,
    /// Unique within its pipeline.
    pub id: String,
    /// `model@version` that answered.
    pub model: String,
    /// `lowConfidence`, `disagreement`, `drift`.
    pub reason: String,
    /// When it was kept, by the clock of the node.
    pub kept: Timestamp,
    /// How sure the model was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Name of the file with the data; the description is `<id>.json`.
    pub file: String,
    /// Length of the data.
    pub bytes: u64,
    /// CRC-32C of the data.
    pub crc32c: u32,
}

/// Body of `POST /api/v1/nodes/<name>/hard-examples/fetch`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HardExampleFetch {
    /// At most [`HARD_EXAMPLES_FETCHED_MAX`].
    pub examples: Vec<HardExampleRef>,
}

/// Names one example of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HardExampleRef {
    /// Its pipeline.
    pub pipeline: String,
    /// Its id.
    pub id: String,
}

/// One line of the answer to a fetch. Each is JSON with a newline behind; the raw bytes of a `chunk` follow its line.
/// An answer that ends without `done` or `failed` was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum HardExamplePiece {
    /// The chunks of a file follow.
    File {
        /// The example's pipeline.
        pipeline: String,
        /// The example's id.
        id: String,
        /// Name of the file.
        name: String,
        /// Its length.
        bytes: u64,
        /// What its content hashes to: `sha256:<hex>`.
        digest: String,
    },
    /// Bytes of the last file that was named.
    Chunk {
        /// How many follow this line.
        bytes: u64,
    },
    /// An example does not come, or no more of it: it gave way to newer ones, or cannot be read.
    Missing {
        /// Its pipeline.
        pipeline: String,
        /// Its id.
        id: String,
        /// Why, for people.
        reason: String,
    },
    /// Nothing more comes.
    Failed(Problem),
    /// That was everything.
    Done {
        /// Files that came whole.
        files: u64,
        /// Bytes of them.
        bytes: u64,
    },
}
