//! The answer to a request as bytes: one JSON header, then the binary outputs as they are.

use std::collections::VecDeque;

use bytes::Bytes;

use millwright_package::Datatype;

use super::{Encoding, OutputForm, RequestError, elements_to_json, is_binary_only};
use crate::worker::tensor::strings;
use crate::worker::{InferOutput, Tensor};

/// An encoded answer.
#[derive(Debug)]
pub struct Answer {
    /// The JSON header, then each binary output.
    pub parts: VecDeque<Bytes>,
    /// Length of the header, if binary outputs follow it.
    pub header_length: Option<usize>,
}

/// Encodes an answer in the form its request asked for.
///
/// # Errors
/// When an output was asked for as JSON, which cannot carry it.
pub fn answer(
    output: InferOutput,
    id: Option<&str>,
    form: &OutputForm,
) -> Result<Answer, RequestError> {
    let mut header = Vec::with_capacity(256);
    header.extend_from_slice(b"{\"model_name\":");
    text(output.model.model.as_str(), &mut header);
    header.extend_from_slice(b",\"model_version\":");
    text(output.model.version.as_str(), &mut header);
    if let Some(id) = id {
        header.extend_from_slice(b",\"id\":");
        text(id, &mut header);
    }
    header.extend_from_slice(b",\"outputs\":[");
    let mut parts = VecDeque::with_capacity(output.tensors.len() + 1);
    for (index, tensor) in output.tensors.into_iter().enumerate() {
        if index > 0 {
            header.push(b',');
        }
        header.extend_from_slice(b"{\"name\":");
        text(&tensor.name, &mut header);
        header.extend_from_slice(b",\"datatype\":");
        text(tensor.datatype.as_str(), &mut header);
        header.extend_from_slice(format!(",\"shape\":{:?}", tensor.shape).as_bytes());
        match form.of(index) {
            Encoding::Json => {
                check_json(&tensor)?;
                header.extend_from_slice(b",\"data\":");
                elements_to_json(tensor.datatype, &tensor.data, &mut header);
                header.push(b'}');
            }
            Encoding::Binary => {
                let size = tensor.data.len();
                header.extend_from_slice(
                    format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}").as_bytes(),
                );
                parts.push_back(tensor.data);
            }
        }
    }
    header.extend_from_slice(b"]}");
    let header_length = (!parts.is_empty()).then_some(header.len());
    parts.push_front(header.into());
    Ok(Answer {
        parts,
        header_length,
    })
}

/// Whether JSON can carry a tensor.
fn check_json(tensor: &Tensor) -> Result<(), RequestError> {
    if is_binary_only(tensor.datatype) {
        return Err(RequestError::BinaryOnly {
            tensor: tensor.name.clone(),
            datatype: tensor.datatype,
        });
    }
    let is_text = |string: &&[u8]| std::str::from_utf8(string).is_ok();
    if tensor.datatype == Datatype::Bytes && !strings(&tensor.data).iter().flatten().all(is_text) {
        return Err(RequestError::NotText(tensor.name.clone()));
    }
    Ok(())
}

impl OutputForm {
    fn of(&self, index: usize) -> Encoding {
        match self {
            Self::Each(encoding) => *encoding,
            Self::Listed(encodings) => encodings.get(index).copied().unwrap_or(Encoding::Json),
        }
    }
}

/// Appends a JSON string.
fn text(value: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, value).expect("text always has a JSON form");
}
