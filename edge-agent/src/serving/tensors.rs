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

use bytes::Bytes;
use millwright_package::Datatype;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::worker::{InferInput, OutputSelection, Tensor};
pub use answer::{Answer, answer};
pub use error::RequestError;
pub(crate) use json::{elements_from_json, elements_to_json};

/// Tensors a request may name. No model has more than 64 inputs or outputs.
const TENSORS_MAX: usize = 64;

/// A request as received.
#[derive(Debug)]
pub struct Request {
    /// Repeated in the answer.
    pub id: Option<String>,
    /// What the worker gets.
    pub input: InferInput,
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
    let (outputs, form) = selection(header.outputs, &header.parameters)?;
    Ok(Request {
        id: header.id,
        input: InferInput {
            tensors,
            outputs,
            sequence: None,
        },
        form,
    })
}

/// Reads one input, taking its binary data off the front of `binary`.
fn tensor(header: &InputHeader<'_>, binary: &mut Bytes) -> Result<Tensor, RequestError> {
    let input = || header.name.clone();
    if header.parameters.shared_memory_region.is_some() {
        return Err(RequestError::Unsupported("shared_memory_region"));
    }
    let datatype: Datatype =
        header
            .datatype
            .parse()
            .map_err(
                |error: millwright_package::UnknownDatatype| RequestError::Datatype {
                    input: input(),
                    problem: error.to_string(),
                },
            )?;
    let shape = header.shape.iter().map(|&dim| usize::try_from(dim));
    let shape = shape
        .collect::<Result<Vec<usize>, _>>()
        .map_err(|_| RequestError::Shape {
            input: input(),
            shape: header.shape.clone(),
        })?;
    let data = match (header.data, header.parameters.binary_data_size) {
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

fn selection(
    outputs: Vec<OutputHeader>,
    parameters: &RequestParameters,
) -> Result<(OutputSelection, OutputForm), RequestError> {
    let encoding = |binary| {
        if binary {
            Encoding::Binary
        } else {
            Encoding::Json
        }
    };
    let default = parameters.binary_data_output;
    if outputs.is_empty() {
        return Ok((OutputSelection::All, OutputForm::Each(encoding(default))));
    }
    let mut names = Vec::with_capacity(outputs.len());
    let mut forms = Vec::with_capacity(outputs.len());
    for output in outputs {
        if output
            .parameters
            .classification
            .is_some_and(|classes| classes > 0)
        {
            return Err(RequestError::Unsupported("classification"));
        }
        if output.parameters.shared_memory_region.is_some() {
            return Err(RequestError::Unsupported("shared_memory_region"));
        }
        names.push(output.name);
        forms.push(encoding(output.parameters.binary_data.unwrap_or(default)));
    }
    Ok((OutputSelection::Named(names), OutputForm::Listed(forms)))
}

#[cfg(test)]
mod tests;
