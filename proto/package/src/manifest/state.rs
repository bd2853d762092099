//! What a stateful model remembers: outputs of one request that are inputs of the next one of the same sequence.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::document::{FieldError, refuse};
use super::{RANK_MAX, TENSOR_COUNT_MAX, TensorSpec};
use crate::Datatype;

/// Largest state of one sequence, in bytes. The largest in use, of speech recognition, has about 2 MiB; a worker keeps one
/// for every sequence that is running.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One remembered tensor. Clients neither send nor get it: a sequence begins with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// The model's input.
    pub input: String,
    /// The model's output that becomes the input of the next request.
    pub output: String,
    /// Type of one element.
    pub datatype: Datatype,
    /// Outermost dimension first; also where the model leaves a length open.
    pub shape: Vec<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    input: String,
    output: String,
    datatype: Datatype,
    shape: Vec<u32>,
}

/// Checks the pairs against each other and against what clients send and get.
pub(super) fn check(
    listed: Vec<State>,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
) -> Result<Vec<StateSpec>, FieldError> {
    if listed.len() > TENSOR_COUNT_MAX {
        let problem = format!("lists {} tensors; at most {TENSOR_COUNT_MAX}", listed.len());
        return refuse("spec.state", problem);
    }
    let mut states: Vec<StateSpec> = Vec::with_capacity(listed.len());
    let mut bytes = 0_usize;
    for (index, state) in listed.into_iter().enumerate() {
        let field = |key: &str| format!("spec.state[{index}].{key}");
        let used = |name: &str, specs: &[TensorSpec]| specs.iter().any(|spec| spec.name == name);
        let repeated = |of: fn(&StateSpec) -> &String, name: &String| {
            states.iter().any(|other| of(other) == name)
        };
        if used(&state.input, inputs) || repeated(|other| &other.input, &state.input) {
            let problem = format!(
                "`{}` is listed elsewhere too: clients do not send a state",
                state.input
            );
            return refuse(field("input"), problem);
        }
        if used(&state.output, outputs) || repeated(|other| &other.output, &state.output) {
            let problem = format!(
                "`{}` is listed elsewhere too: clients do not get a state",
                state.output
            );
            return refuse(field("output"), problem);
        }
        let Some(size) = state.datatype.size_bytes() else {
            return refuse(
                field("datatype"),
                "is BYTES, which has no zeros to begin with",
            );
        };
        if state.shape.len() > RANK_MAX {
            let problem = format!("has {} dimensions; at most {RANK_MAX}", state.shape.len());
            return refuse(field("shape"), problem);
        }
        let shape: Option<Vec<NonZeroU32>> = state
            .shape
            .iter()
            .map(|&dim| NonZeroU32::new(dim))
            .collect();
        let Some(shape) = shape else {
            return refuse(
                field("shape"),
                "has a dimension of 0: give the lengths of one sequence's state",
            );
        };
        let length = shape
            .iter()
            .try_fold(size, |bytes, dim| bytes.checked_mul(dim.get() as usize));
        bytes = bytes.saturating_add(length.unwrap_or(usize::MAX));
        if bytes > STATE_BYTES_MAX {
            return refuse(
                "spec.state",
                format!("has more than {STATE_BYTES_MAX} bytes for one sequence"),
            );
        }
        states.push(StateSpec {
            input: state.input,
            output: state.output,
            datatype: state.datatype,
            shape,
        });
    }
    Ok(states)
}
