//! Tensors as they pass between a client and a worker, and why a request was not answered.

use std::time::Duration;

use bytes::Bytes;
use millwright_package::Datatype;
use millwright_proto::ids::{ModelName, ModelVersion, Version};
use millwright_summary::ErrorClass;
use thiserror::Error;

/// A named array of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// As in the model.
    pub name: String,
    /// Type of one element.
    pub datatype: Datatype,
    /// Lengths, outermost dimension first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements in row-major order, little-endian.
    pub data: Bytes,
}

/// Which outputs a request wants back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutputSelection {
    /// Every output of the manifest, in its order.
    #[default]
    All,
    /// These, in this order.
    Named(Vec<String>),
}

/// One request.
#[derive(Clone, Debug)]
pub struct InferInput {
    /// Every input of the model once, in any order.
    pub tensors: Vec<Tensor>,
    /// What to return.
    pub outputs: OutputSelection,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct InferOutput {
    /// The version that answered.
    pub model: ModelVersion,
    /// The outputs asked for, in the order asked for.
    pub tensors: Vec<Tensor>,
    /// The number the manifest's `confidence` makes of one output.
    pub confidence: Option<f64>,
    /// Where its time went.
    pub timing: Timing,
}

/// How long a request spent where between the call and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for a free slot of the worker.
    pub queue: Duration,
    /// From then on until the outputs were copied back.
    pub infer: Duration,
}

impl InferOutput {
    /// The output called `name`, if it was asked for.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// Why a request was not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InferError {
    /// No such model is wanted on this node.
    #[error("model `{0}` is not on this node")]
    UnknownModel(ModelName),
    /// The model is here in another version.
    #[error("model `{model}` has no ready version {version} on this node; {active} is active")]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// The version asked for.
        version: Version,
        /// The version that answers requests.
        active: Version,
    },
    /// The model is wanted here, but no worker holds it at the moment.
    #[error("model `{0}` has no ready worker at the moment: try again")]
    NotReady(ModelName),
    /// Too many requests wait for this worker.
    #[error(
        "model `{model}` has {waiting} requests waiting already: send fewer at a time or try again"
    )]
    Busy {
        /// The model.
        model: ModelName,
        /// Requests waiting or running.
        waiting: usize,
    },
    /// An input the model does not have.
    #[error("model `{model}` has no input `{input}`; its inputs are {known}")]
    UnknownInput {
        /// The model version.
        model: ModelVersion,
        /// The name as sent.
        input: String,
        /// The names it knows.
        known: String,
    },
    /// An input that was not sent.
    #[error("input `{input}` of model `{model}` is missing")]
    MissingInput {
        /// The model version.
        model: ModelVersion,
        /// The missing one.
        input: String,
    },
    /// An input that was sent twice.
    #[error("input `{0}` is given twice")]
    DuplicateInput(String),
    /// An output the model does not have.
    #[error("model `{model}` has no output `{output}`; its outputs are {known}")]
    UnknownOutput {
        /// The model version.
        model: ModelVersion,
        /// The name as asked for.
        output: String,
        /// The names it knows.
        known: String,
    },
    /// Elements of another type.
    #[error("input `{input}` must have datatype {expected}, got {found}")]
    Datatype {
        /// The input.
        input: String,
        /// As in the manifest.
        expected: Datatype,
        /// As sent.
        found: Datatype,
    },
    /// Dimensions that do not fit.
    #[error("input `{input}` must have shape {expected} (-1: any length), got {found}")]
    Shape {
        /// The input.
        input: String,
        /// As in the manifest, for example `[1, 3, -1, -1]`.
        expected: String,
        /// As sent.
        found: String,
    },
    /// More or fewer bytes than shape and datatype say.
    #[error("input `{input}` needs {expected} bytes for its shape and datatype, got {found}")]
    Size {
        /// The input.
        input: String,
        /// Elements times their size.
        expected: u64,
        /// Bytes sent.
        found: u64,
    },
    /// More than one request may carry.
    #[error("the inputs have {bytes} bytes together; one request may carry {limit}")]
    TooLarge {
        /// Bytes of all inputs.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The model itself refused the inputs, which the manifest allowed.
    #[error("model `{model}` refused the inputs: {message}")]
    Refused {
        /// The model version.
        model: ModelVersion,
        /// What ONNX Runtime said.
        message: String,
    },
    /// The model failed on inputs it accepted.
    #[error("model `{model}` failed: {message}")]
    Failed {
        /// The model version.
        model: ModelVersion,
        /// What ONNX Runtime said, or what was wrong with the answer.
        message: String,
    },
    /// The worker ended before it answered.
    #[error("the worker of model `{0}` ended before it answered: try again")]
    WorkerEnded(ModelVersion),
    /// No answer in time.
    #[error("model `{model}` did not answer within {limit_ms} ms")]
    Timeout {
        /// The model version.
        model: ModelVersion,
        /// The bound.
        limit_ms: u64,
    },
}

impl InferError {
    /// The class it is counted under in the summary.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Shape { .. } | Self::UnknownInput { .. } | Self::MissingInput { .. } => {
                ErrorClass::Shape
            }
            Self::DuplicateInput(_) | Self::UnknownOutput { .. } | Self::Refused { .. } => {
                ErrorClass::Shape
            }
            Self::Datatype { .. } => ErrorClass::Datatype,
            Self::Size { .. } | Self::TooLarge { .. } => ErrorClass::Size,
            Self::UnknownModel(_)
            | Self::UnknownVersion { .. }
            | Self::NotReady(_)
            | Self::Busy { .. } => ErrorClass::Unavailable,
            Self::Failed { .. } | Self::WorkerEnded(_) => ErrorClass::Worker,
            Self::Timeout { .. } => ErrorClass::Timeout,
        }
    }
}

/// Bytes of a tensor, if its element type has a fixed size and the product does not overflow.
#[must_use]
pub fn byte_length(datatype: Datatype, shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(datatype.size_bytes()?, |bytes, &dim| bytes.checked_mul(dim))
}
