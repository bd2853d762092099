//! Why a pipeline document is refused.

use millwright_document::DocumentError;
use thiserror::Error;

/// Why a pipeline document is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PipelineError {
    /// Not YAML, or with other keys or types than a pipeline has.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Well formed, but it cannot be meant.
    #[error("{origin}: {field} {problem}")]
    Field {
        /// Where it came from.
        origin: String,
        /// Path of the key at fault, for example `spec.source.mqtt.topics[0]`.
        field: String,
        /// What is wrong with it and what it should be.
        problem: String,
    },
}
