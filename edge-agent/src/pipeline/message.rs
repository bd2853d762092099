//! Sensor messages: JSON inputs of one model, and the results that answer them.
//!
//! ```text
//! {"id": .., "timestamp": .., "inputs": {"sensors": [1, 2, ..]}}        or, for a model with one input,
//! {"id": .., "timestamp": .., "values": [1, 2, ..]}
//!   -> {"id", "timestamp", "model", "version", "outputs": {"scores": {"datatype", "shape", "data"}}}
//!   -> {"id", "timestamp", "model", "error": {"class", "message"}}
//! ```
//!
//! `id` and `timestamp` are the source's own, whatever JSON they are; the result repeats them.

use std::collections::BTreeMap;

use millwright_package::{Dim, Manifest, TensorSpec};
use millwright_proto::ids::ModelName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::serving::tensors::{elements_from_json, elements_to_json};
use crate::worker::{InferError, InferInput, InferOutput, OutputSelection, Tensor};

/// Longest message in bytes: tens of thousands of numbers. Pictures go over HTTP.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Longest `id` and `timestamp` that are repeated, in bytes.
const ECHO_BYTES_MAX: usize = 256;

/// Why a message has no inputs for the model.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// Too long.
    #[error("the message has {0} bytes; at most {MESSAGE_BYTES_MAX} are taken")]
    TooLong(usize),
    /// Not the JSON of a message.
    #[error("the message is not valid: {0}")]
    Json(String),
    /// Neither or both of `inputs` and `values`.
    #[error("the message must have either `inputs` or `values`")]
    Form,
    /// `values` cannot say which input is meant.
    #[error("the model has {0} inputs: name them in `inputs` instead of `values`")]
    Ambiguous(usize),
    /// A name the model does not have.
    #[error("the model has no input `{0}`")]
    UnknownInput(String),
    /// Something else than numbers.
    #[error("input `{input}`: {problem}")]
    Numbers {
        /// The input.
        input: String,
        /// What was found.
        problem: String,
    },
    /// A number of elements that no shape of the input has.
    #[error("input `{input}` takes shape {shape:?}, which {count} numbers do not fill")]
    Count {
        /// The input.
        input: String,
        /// As in the manifest.
        shape: Vec<i64>,
        /// Numbers found.
        count: usize,
    },
}

/// What a result repeats of its message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Echo {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<Box<RawValue>>,
    timestamp: Option<Box<RawValue>>,
    #[serde(borrow)]
    inputs: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
}

/// Reads a message for the model of `manifest`. The echo is there even if the rest is not.
pub fn parse(payload: &[u8], manifest: &Manifest) -> (Echo, Result<InferInput, MessageError>) {
    if payload.len() > MESSAGE_BYTES_MAX {
        return (Echo::default(), Err(MessageError::TooLong(payload.len())));
    }
    let message: Message<'_> = match serde_json::from_slice(payload) {
        Ok(message) => message,
        Err(error) => return (Echo::default(), Err(MessageError::Json(error.to_string()))),
    };
    let echo = Echo {
        id: message
            .id
            .filter(|value| value.get().len() <= ECHO_BYTES_MAX),
        timestamp: message
            .timestamp
            .filter(|value| value.get().len() <= ECHO_BYTES_MAX),
    };
    let tensors = match (message.inputs, message.values) {
        (Some(inputs), None) => inputs
            .into_iter()
            .map(|(name, values)| match manifest.input(&name) {
                Some(spec) => tensor(spec, values),
                None => Err(MessageError::UnknownInput(name)),
            })
            .collect(),
        (None, Some(values)) => match manifest.inputs.as_slice() {
            [spec] => tensor(spec, values).map(|tensor| vec![tensor]),
            several => Err(MessageError::Ambiguous(several.len())),
        },
        (Some(_), Some(_)) | (None, None) => Err(MessageError::Form),
    };
    let input = tensors.map(|tensors| InferInput {
        tensors,
        outputs: OutputSelection::All,
        sequence: None,
    });
    (echo, input)
}

fn tensor(spec: &TensorSpec, values: &RawValue) -> Result<Tensor, MessageError> {
    let data =
        elements_from_json(values, spec.datatype).map_err(|problem| MessageError::Numbers {
            input: spec.name.clone(),
            problem,
        })?;
    let count = data.len() / spec.datatype.size_bytes().unwrap_or(1);
    let shape = fill(&spec.shape, count).ok_or_else(|| MessageError::Count {
        input: spec.name.clone(),
        shape: spec.dims(),
        count,
    })?;
    Ok(Tensor {
        name: spec.name.clone(),
        datatype: spec.datatype,
        shape,
        data: data.into(),
    })
}

/// The shape that `count` elements fill: the last dynamic dimension takes what is left, the others are 1.
fn fill(dims: &[Dim], count: usize) -> Option<Vec<usize>> {
    let mut shape = Vec::with_capacity(dims.len());
    let mut open = None;
    for (at, dim) in dims.iter().enumerate() {
        shape.push(match dim {
            Dim::Fixed(length) => usize::try_from(length.get()).ok()?,
            Dim::Dynamic => {
                open = Some(at);
                1
            }
        });
    }
    let fixed = shape
        .iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
    match open {
        Some(at) if count > 0 && count.is_multiple_of(fixed) => shape[at] = count / fixed,
        None if count == fixed => {}
        Some(_) | None => return None,
    }
    Some(shape)
}

#[derive(Serialize)]
struct ResultMessage<'a> {
    #[serde(flatten)]
    echo: &'a Echo,
    model: &'a str,
    version: &'a str,
    outputs: BTreeMap<&'a str, Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    datatype: &'a str,
    shape: &'a [usize],
    data: Box<RawValue>,
}

/// The result of an answered message.
#[must_use]
pub fn result(echo: &Echo, output: &InferOutput) -> Vec<u8> {
    let outputs = output.tensors.iter().map(|tensor| {
        let mut list = Vec::new();
        elements_to_json(tensor.datatype, &tensor.data, &mut list);
        let list = String::from_utf8(list).expect("JSON lists of numbers are text");
        let output = Output {
            datatype: tensor.datatype.as_str(),
            shape: &tensor.shape,
            data: RawValue::from_string(list).expect("a list written as JSON is JSON"),
        };
        (tensor.name.as_str(), output)
    });
    encode(&ResultMessage {
        echo,
        model: output.model.model.as_str(),
        version: output.model.version.as_str(),
        outputs: outputs.collect(),
    })
}

#[derive(Serialize)]
struct ErrorMessage<'a> {
    #[serde(flatten)]
    echo: &'a Echo,
    model: &'a str,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    class: &'a str,
    message: String,
}

/// The result of a message that is no input of its model.
#[must_use]
pub fn refused(echo: &Echo, model: &ModelName, error: &MessageError) -> Vec<u8> {
    failed(echo, model, "message", error.to_string())
}

/// The result of a message that the model did not answer.
#[must_use]
pub fn unanswered(echo: &Echo, model: &ModelName, error: &InferError) -> Vec<u8> {
    failed(echo, model, error.class().as_str(), error.to_string())
}

fn failed(echo: &Echo, model: &ModelName, class: &str, message: String) -> Vec<u8> {
    encode(&ErrorMessage {
        echo,
        model: model.as_str(),
        error: ErrorBody { class, message },
    })
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("text keys and numbers always have a JSON form")
}

#[cfg(test)]
mod tests;
