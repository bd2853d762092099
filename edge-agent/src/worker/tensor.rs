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
    /// Elements in row-major order, little-endian. Byte strings have their length before them, as 32 bits.
    pub data: Bytes,
}

/// A named array of numbers that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorRef<'a> {
    /// As in the model.
    pub name: &'a str,
    /// Type of one element.
    pub datatype: Datatype,
    /// Lengths, outermost dimension first; empty for a scalar.
    pub shape: &'a [usize],
    /// As [`Tensor::data`].
    pub data: &'a [u8],
}

impl Tensor {
    /// The same without the data.
    #[must_use]
    pub fn as_ref(&self) -> TensorRef<'_> {
        TensorRef {
            name: &self.name,
            datatype: self.datatype,
            shape: &self.shape,
            data: &self.data,
        }
    }
}

/// Requests that belong together, for a model that remembers something from one to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Which one; the client chooses it.
    pub id: SequenceId,
    /// Nothing is remembered from before.
    pub start: bool,
    /// Nothing is to be remembered after.
    pub end: bool,
}

/// The name of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SequenceId {
    /// As most clients of Triton choose it.
    Number(u64),
    /// Text.
    Text(String),
}

impl std::fmt::Display for SequenceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
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
    /// Every input of the model once, in any order; optional ones may be left out.
    pub tensors: Vec<Tensor>,
    /// What to return.
    pub outputs: OutputSelection,
    /// The sequence it belongs to. A model without a state takes no notice of it; one with a state begins with zeros when
    /// there is none.
    pub sequence: Option<Sequence>,
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
    /// Byte strings that do not have the lengths they say.
    #[error(
        "input `{input}` must be {expected} strings, each after its length as 4 bytes; the data ends or goes on elsewhere"
    )]
    Strings {
        /// The input.
        input: String,
        /// As many as the shape has elements.
        expected: usize,
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
    /// A request of a sequence that nothing is remembered of.
    #[error(
        "model `{model}` knows no sequence {sequence}: begin it with sequence_start; one ends after {idle_s} s without a request, and with the worker that began it"
    )]
    UnknownSequence {
        /// The model version.
        model: ModelVersion,
        /// As the client named it.
        sequence: SequenceId,
        /// How long one may be idle, in seconds.
        idle_s: u64,
    },
    /// No room to remember another sequence.
    #[error(
        "model `{model}` has {running} sequences running: end one with sequence_end or try again"
    )]
    SequencesFull {
        /// The model version.
        model: ModelVersion,
        /// Sequences running.
        running: usize,
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
            Self::DuplicateInput(_)
            | Self::UnknownOutput { .. }
            | Self::Refused { .. }
            | Self::UnknownSequence { .. } => ErrorClass::Shape,
            Self::Datatype { .. } => ErrorClass::Datatype,
            Self::Size { .. } | Self::Strings { .. } | Self::TooLarge { .. } => ErrorClass::Size,
            Self::UnknownModel(_)
            | Self::UnknownVersion { .. }
            | Self::NotReady(_)
            | Self::SequencesFull { .. }
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

/// The strings of a BYTES tensor; `None` when their lengths do not fill `data` exactly.
#[must_use]
pub fn strings(data: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    walk(data, |string| found.push(string))?;
    Some(found)
}

/// How many strings a BYTES tensor has; `None` when their lengths do not fill `data` exactly.
pub(crate) fn string_count(data: &[u8]) -> Option<usize> {
    let mut count = 0;
    walk(data, |_| count += 1)?;
    Some(count)
}

/// Appends one string of a BYTES tensor.
pub(crate) fn push_string(string: &[u8], data: &mut Vec<u8>) {
    // A longer one would not fit the memory of a request.
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&string[..length as usize]);
}

/// Where the first `count` strings of BYTES data end; `None` when there are fewer.
pub(super) fn string_ends(data: &[u8], count: usize) -> Option<usize> {
    let mut rest = data;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        rest = after.get(u32::from_le_bytes(*length) as usize..)?;
    }
    Some(data.len() - rest.len())
}

fn walk<'a>(mut data: &'a [u8], mut each: impl FnMut(&'a [u8])) -> Option<()> {
    while let Some((length, rest)) = data.split_first_chunk() {
        let (string, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        each(string);
        data = rest;
    }
    data.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_only_when_their_lengths_fill_the_data() {
        let mut data = Vec::new();
        let given: [&[u8]; 3] = [b"", "n\u{e4}h".as_bytes(), &[0, 255]];
        given
            .iter()
            .for_each(|string| push_string(string, &mut data));
        assert_eq!(strings(&data).unwrap(), given);
        assert_eq!(string_count(&data), Some(3));
        for damaged in [
            &data[..data.len() - 1],
            &[data.as_slice(), &[0]].concat(),
            &[255; 4],
        ] {
            assert_eq!(string_count(damaged), None);
        }
    }
}
