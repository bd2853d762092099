//! Requests and answers of the Open Inference Protocol as bytes: JSON tensors and the binary tensor
//! extension.
//!
//! ```text
//! body = JSON header │ tensor │ tensor │ ...      with Inference-Header-Content-Length: length of the header
//! body = JSON                                     without it
//! ```
//!
//! Binary inputs are slices of the received body, binary outputs are sent as the buffers they are: nothing is
//! copied on the way between the socket and shared memory but by the socket itself.

mod answer;
mod error;
mod json;

use std::time::Duration;

use bytes::Bytes;
use millwright_package::Datatype;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::worker::{InferInput, OutputSelection, Sequence, SequenceId, Tensor};
pub use answer::{Answer, answer};
pub use error::RequestError;
pub(crate) use json::{elements_from_json, elements_to_json};

/// Tensors a request may name. No model has more than 64 inputs or outputs.
pub(super) const TENSORS_MAX: usize = 64;

/// Longest name of a sequence: a UUID with something before it. Each running sequence keeps its name.
const SEQUENCE_ID_BYTES_MAX: usize = 128;

/// A request, whichever protocol it came by.
#[derive(Debug)]
pub struct Question {
    /// Repeated in the answer.
    pub id: Option<String>,
    /// What the worker gets.
    pub input: InferInput,
    /// For each output asked for, how many of its best classes are wanted instead of it; 0: the output itself. Empty: every
    /// output itself.
    pub classes: Vec<usize>,
    /// How long the client waits.
    pub limit: Option<Duration>,
}

/// A request as received over HTTP.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub question: Question,
    /// How the outputs are to be sent.
    pub form: OutputForm,
}

/// How outputs are sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// All in the same form.
    Each(Encoding),
    /// One for each output, in the order asked for.
    Listed(Vec<Encoding>),
}

/// How one tensor is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As a JSON list.
    Json,
    /// As bytes after the header.
    Binary,
}

#[derive(Deserialize)]
struct Header<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: RequestParameters,
    #[serde(borrow)]
    inputs: Vec<InputHeader<'a>>,
    #[serde(default)]
    outputs: Vec<OutputHeader>,
}

#[derive(Default, Deserialize)]
struct RequestParameters {
    #[serde(default)]
    binary_data_output: bool,
    sequence_id: Option<SequenceParameter>,
    #[serde(default)]
    sequence_start: bool,
    #[serde(default)]
    sequence_end: bool,
    /// Microseconds.
    timeout: Option<u64>,
}

/// Triton takes both.
#[derive(Deserialize)]
#[serde(untagged)]
enum SequenceParameter {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct InputHeader<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: InputParameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
    shared_memory_region: Option<String>,
}

#[derive(Deserialize)]
struct OutputHeader {
    name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<u64>,
    shared_memory_region: Option<String>,
}

/// Reads a request; `header_length` is the value of `Inference-Header-Content-Length`, if it was sent.
///
/// # Errors
/// [`RequestError`] names the input and what is wrong with it.
pub fn request(body: &Bytes, header_length: Option<usize>) -> Result<Request, RequestError> {
    let length = header_length.unwrap_or(body.len());
    let (Some(header), Some(_)) = (body.get(..length), body.get(length..)) else {
        return Err(RequestError::HeaderLength {
            header: length,
            body: body.len(),
        });
    };
    let header: Header<'_> = serde_json::from_slice(header)?;
    let tensors = header.inputs.len().max(header.outputs.len());
    if tensors > TENSORS_MAX {
        return Err(RequestError::TooMany(tensors));
    }
    let mut binary = body.slice(length..);
    let tensors = header
        .inputs
        .iter()
        .map(|input| tensor(input, &mut binary))
        .collect::<Result<_, _>>()?;
    if !binary.is_empty() {
        return Err(RequestError::BinaryLeft(binary.len()));
    }
    let parameters = header.parameters;
    let (outputs, classes, form) = selection(header.outputs, parameters.binary_data_output)?;
    let id = parameters.sequence_id.map(|id| match id {
        SequenceParameter::Number(number) => SequenceId::Number(number),
        SequenceParameter::Text(text) => SequenceId::Text(text),
    });
    let question = Question {
        id: header.id,
        input: InferInput {
            tensors,
            outputs,
            sequence: sequence(id, parameters.sequence_start, parameters.sequence_end)?,
        },
        classes,
        limit: parameters.timeout.and_then(limit),
    };
    Ok(Request { question, form })
}

/// The sequence of a request; the number 0 and the empty text stand for none, as in Triton.
pub(super) fn sequence(
    id: Option<SequenceId>,
    start: bool,
    end: bool,
) -> Result<Option<Sequence>, RequestError> {
    match id {
        None | Some(SequenceId::Number(0)) => Ok(None),
        Some(SequenceId::Text(text)) if text.is_empty() => Ok(None),
        Some(SequenceId::Text(text)) if text.len() > SEQUENCE_ID_BYTES_MAX => {
            Err(RequestError::SequenceId(text.len()))
        }
        Some(id) => Ok(Some(Sequence { id, start, end })),
    }
}

/// Triton's `timeout`: microseconds, 0 for none.
pub(super) fn limit(timeout_us: u64) -> Option<Duration> {
    (timeout_us > 0).then(|| Duration::from_micros(timeout_us))
}

/// Reads one input, taking its binary data off the front of `binary`.
fn tensor(header: &InputHeader<'_>, binary: &mut Bytes) -> Result<Tensor, RequestError> {
    let input = || header.name.clone();
    if header.parameters.shared_memory_region.is_some() {
        return Err(RequestError::Unsupported("shared_memory_region"));
    }
    let (datatype, shape) = described(&header.name, &header.datatype, &header.shape)?;
    let data = match (header.data, header.parameters.binary_data_size) {
        (Some(_), None) if is_binary_only(datatype) => {
            return Err(RequestError::BinaryOnly {
                tensor: input(),
                datatype,
            });
        }
        (Some(json), None) => elements_from_json(json, datatype)
            .map_err(|problem| RequestError::Data {
                input: input(),
                datatype,
                problem,
            })?
            .into(),
        (None, Some(wanted)) if wanted <= binary.len() => binary.split_to(wanted),
        (None, Some(wanted)) => {
            return Err(RequestError::BinaryShort {
                input: input(),
                wanted,
                left: binary.len(),
            });
        }
        (Some(_), Some(_)) | (None, None) => return Err(RequestError::NoData(input())),
    };
    Ok(Tensor {
        name: input(),
        datatype,
        shape,
        data,
    })
}

/// The datatype and shape of an input, as sent.
pub(super) fn described(
    input: &str,
    datatype: &str,
    shape: &[i64],
) -> Result<(Datatype, Vec<usize>), RequestError> {
    let unknown = |error: millwright_package::UnknownDatatype| RequestError::Datatype {
        input: input.to_owned(),
        problem: error.to_string(),
    };
    let datatype = datatype.parse().map_err(unknown)?;
    let dims = shape.iter().map(|&dim| usize::try_from(dim));
    let dims = dims.collect::<Result<_, _>>();
    let dims = dims.map_err(|_| RequestError::Shape {
        input: input.to_owned(),
        shape: shape.to_vec(),
    })?;
    Ok((datatype, dims))
}

fn selection(
    outputs: Vec<OutputHeader>,
    binary: bool,
) -> Result<(OutputSelection, Vec<usize>, OutputForm), RequestError> {
    let encoding = |binary| {
        if binary {
            Encoding::Binary
        } else {
            Encoding::Json
        }
    };
    if outputs.is_empty() {
        let form = OutputForm::Each(encoding(binary));
        return Ok((OutputSelection::All, Vec::new(), form));
    }
    let mut names = Vec::with_capacity(outputs.len());
    let mut classes = Vec::with_capacity(outputs.len());
    let mut forms = Vec::with_capacity(outputs.len());
    for OutputHeader { name, parameters } in outputs {
        if parameters.shared_memory_region.is_some() {
            return Err(RequestError::Unsupported("shared_memory_region"));
        }
        let wanted = parameters.classification.unwrap_or(0);
        names.push(name);
        classes.push(usize::try_from(wanted).unwrap_or(usize::MAX));
        forms.push(encoding(parameters.binary_data.unwrap_or(binary)));
    }
    let form = OutputForm::Listed(forms);
    Ok((OutputSelection::Named(names), classes, form))
}

/// JSON has no such numbers; Triton takes them as bytes only.
const fn is_binary_only(datatype: Datatype) -> bool {
    matches!(datatype, Datatype::Fp16 | Datatype::Bf16)
}

#[cfg(test)]
mod tests;
