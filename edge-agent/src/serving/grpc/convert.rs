//! Between the messages of gRPC and what a worker takes and gives.

use std::collections::BTreeMap;

use bytes::Bytes;
use millwright_package::Datatype;

use super::wire;
use super::wire::infer_parameter::ParameterChoice;
use super::wire::model_infer_request::InferInputTensor;
use super::wire::model_infer_response::InferOutputTensor;
use crate::serving::fault::Fault;
use crate::serving::tensors::{self, Question, RequestError, TENSORS_MAX};
use crate::worker::tensor::push_string;
use crate::worker::{InferInput, InferOutput, OutputSelection, SequenceId, Tensor};

type Parameters = BTreeMap<String, wire::InferParameter>;

/// Asks for a mark on the last answer to each request of a stream.
const WANTS_FINAL_MARK: &str = "triton_enable_empty_final_response";

/// Reads a request.
pub(super) fn question(request: wire::ModelInferRequest) -> Result<Question, RequestError> {
    let count = request.inputs.len().max(request.outputs.len());
    if count > TENSORS_MAX {
        return Err(RequestError::TooMany(count));
    }
    let (raw, inputs) = (request.raw_input_contents.len(), request.inputs.len());
    if raw != 0 && raw != inputs {
        return Err(RequestError::RawCount { raw, inputs });
    }
    let mut raw = request.raw_input_contents.into_iter();
    let tensors = request
        .inputs
        .into_iter()
        .map(|input| tensor(input, raw.next()))
        .collect::<Result<_, _>>()?;
    let mut names = Vec::with_capacity(request.outputs.len());
    let mut classes = Vec::with_capacity(request.outputs.len());
    for output in request.outputs {
        refuse_shared_memory(&output.parameters)?;
        let count = number(&output.parameters, "classification").unwrap_or(0);
        classes.push(usize::try_from(count).unwrap_or(0));
        names.push(output.name);
    }
    let parameters = &request.parameters;
    let id = match choice(parameters, "sequence_id") {
        Some(ParameterChoice::StringParam(text)) => Some(SequenceId::Text(text.clone())),
        _ => number(parameters, "sequence_id").map(|id| SequenceId::Number(id.cast_unsigned())),
    };
    let (start, end) = (
        flag(parameters, "sequence_start"),
        flag(parameters, "sequence_end"),
    );
    let timeout = number(parameters, "timeout").and_then(|us| u64::try_from(us).ok());
    Ok(Question {
        id: None,
        input: InferInput {
            tensors,
            outputs: if names.is_empty() {
                OutputSelection::All
            } else {
                OutputSelection::Named(names)
            },
            sequence: tensors::sequence(id, start, end)?,
        },
        classes,
        limit: timeout.and_then(tensors::limit),
    })
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, RequestError> {
    refuse_shared_memory(&input.parameters)?;
    let (datatype, shape) = tensors::described(&input.name, &input.datatype, &input.shape)?;
    let data = match (raw, input.contents) {
        (Some(raw), None) => raw,
        (None, Some(contents)) => elements(contents, datatype)
            .map_err(|problem| RequestError::Contents {
                input: input.name.clone(),
                problem,
            })?
            .into(),
        (Some(_), Some(_)) => {
            return Err(RequestError::Contents {
                input: input.name,
                problem: "it has raw contents and others".to_owned(),
            });
        }
        (None, None) => {
            return Err(RequestError::Contents {
                input: input.name,
                problem: "it has no contents".to_owned(),
            });
        }
    };
    Ok(Tensor {
        name: input.name,
        datatype,
        shape,
        data,
    })
}

/// The elements of `contents`, in the field that its datatype has, as little-endian bytes.
fn elements(contents: wire::InferTensorContents, datatype: Datatype) -> Result<Vec<u8>, String> {
    /// The bytes of each element of a field, as a `$type`.
    macro_rules! narrow {
        ($field:ident, $type:ty) => {{
            let mut data = Vec::with_capacity(contents.$field.len() * size_of::<$type>());
            for &element in &contents.$field {
                let fits = <$type>::try_from(element)
                    .map_err(|_| format!("{element} does not fit {datatype}"))?;
                data.extend_from_slice(&fits.to_le_bytes());
            }
            Ok(data)
        }};
    }
    match datatype {
        Datatype::Bool => Ok(contents
            .bool_contents
            .iter()
            .map(|&bit| u8::from(bit))
            .collect()),
        Datatype::Int8 => narrow!(int_contents, i8),
        Datatype::Int16 => narrow!(int_contents, i16),
        Datatype::Int32 => narrow!(int_contents, i32),
        Datatype::Int64 => narrow!(int64_contents, i64),
        Datatype::Uint8 => narrow!(uint_contents, u8),
        Datatype::Uint16 => narrow!(uint_contents, u16),
        Datatype::Uint32 => narrow!(uint_contents, u32),
        Datatype::Uint64 => narrow!(uint64_contents, u64),
        Datatype::Fp32 => Ok(bytes_of(&contents.fp32_contents, f32::to_le_bytes)),
        Datatype::Fp64 => Ok(bytes_of(&contents.fp64_contents, f64::to_le_bytes)),
        Datatype::Bytes => {
            let mut data = Vec::new();
            for string in &contents.bytes_contents {
                push_string(string, &mut data);
            }
            Ok(data)
        }
        Datatype::Fp16 | Datatype::Bf16 => Err(format!("{datatype} has no field of its own")),
    }
}

fn bytes_of<T: Copy, const N: usize>(elements: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    elements
        .iter()
        .flat_map(|&element| bytes(element))
        .collect()
}

/// The answer to a request; outputs go as they are.
pub(super) fn response(output: InferOutput, id: String) -> wire::ModelInferResponse {
    let mut outputs = Vec::with_capacity(output.tensors.len());
    let mut raw_output_contents = Vec::with_capacity(output.tensors.len());
    for tensor in output.tensors {
        outputs.push(InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.to_string(),
            shape: tensor.shape.iter().map(|&dim| dim as i64).collect(),
            parameters: BTreeMap::new(),
            contents: None,
        });
        raw_output_contents.push(tensor.data);
    }
    wire::ModelInferResponse {
        model_name: output.model.model.to_string(),
        model_version: output.model.version.to_string(),
        id,
        parameters: BTreeMap::new(),
        outputs,
        raw_output_contents,
    }
}

/// Whether a client of a stream looks for a mark on the last answer; here each is the last one of its request.
pub(super) fn wants_final_mark(request: &wire::ModelInferRequest) -> bool {
    flag(&request.parameters, WANTS_FINAL_MARK)
}

/// One answer of a stream: an error belongs to its request, the stream goes on.
pub(super) fn streamed(
    answer: Result<wire::ModelInferResponse, Fault>,
    id: String,
    mark: bool,
) -> wire::ModelStreamInferResponse {
    let (mut response, error_message) = match answer {
        Ok(response) => (response, String::new()),
        Err(fault) => {
            let empty = wire::ModelInferResponse {
                id,
                ..Default::default()
            };
            (empty, fault.message)
        }
    };
    if mark {
        let is_final = wire::InferParameter {
            parameter_choice: Some(ParameterChoice::BoolParam(true)),
        };
        response
            .parameters
            .insert("triton_final_response".to_owned(), is_final);
    }
    wire::ModelStreamInferResponse {
        error_message,
        infer_response: Some(response),
    }
}

fn refuse_shared_memory(parameters: &Parameters) -> Result<(), RequestError> {
    let name = "shared_memory_region";
    if parameters.contains_key(name) {
        return Err(RequestError::Unsupported(name));
    }
    Ok(())
}

fn choice<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a ParameterChoice> {
    parameters.get(name)?.parameter_choice.as_ref()
}

fn number(parameters: &Parameters, name: &str) -> Option<i64> {
    match choice(parameters, name)? {
        ParameterChoice::Int64Param(number) => Some(*number),
        ParameterChoice::Uint64Param(number) => Some(number.cast_signed()),
        _ => None,
    }
}

fn flag(parameters: &Parameters, name: &str) -> bool {
    matches!(
        choice(parameters, name),
        Some(ParameterChoice::BoolParam(true))
    )
}

#[cfg(test)]
mod tests;
