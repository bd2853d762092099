//! Requests joined along their first dimension, and the outputs split again. Pure.

use bytes::{Bytes, BytesMut};
use millwright_package::Datatype;

use crate::worker::tensor::{InferInput, InferOutput, OutputSelection, Tensor, string_ends};

/// The rows of a request: what the first dimension of every input is.
pub(super) fn rows(input: &InferInput) -> Option<usize> {
    let rows = *input.tensors.first()?.shape.first()?;
    let same = |tensor: &Tensor| tensor.shape.first() == Some(&rows);
    (rows > 0 && input.tensors.iter().all(same)).then_some(rows)
}

/// Whether two requests differ in nothing but their rows.
pub(super) fn alike(one: &InferInput, other: &InferInput) -> bool {
    let alike = |(one, other): (&Tensor, &Tensor)| {
        one.name == other.name
            && one.datatype == other.datatype
            && one.shape.get(1..) == other.shape.get(1..)
    };
    one.tensors.len() == other.tensors.len()
        && one.outputs == other.outputs
        && one.tensors.iter().zip(&other.tensors).all(alike)
}

/// One request of the rows of all; they have to be alike, and at least one.
pub(super) fn join(inputs: &[&InferInput]) -> InferInput {
    let first = inputs[0];
    let tensors = first.tensors.iter().enumerate().map(|(index, tensor)| {
        let parts = || inputs.iter().map(|input| &input.tensors[index]);
        let mut data = BytesMut::with_capacity(parts().map(|part| part.data.len()).sum());
        parts().for_each(|part| data.extend_from_slice(&part.data));
        let mut shape = tensor.shape.clone();
        shape[0] = parts().map(|part| part.shape[0]).sum();
        Tensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype,
            shape,
            data: data.freeze(),
        }
    });
    InferInput {
        tensors: tensors.collect(),
        outputs: first.outputs.clone(),
        sequence: None,
    }
}

/// Adds `wanted` to the outputs. Returns how many there were before, if it had to.
pub(super) fn also_return(outputs: &mut OutputSelection, wanted: Option<&str>) -> Option<usize> {
    let (OutputSelection::Named(names), Some(wanted)) = (outputs, wanted) else {
        return None;
    };
    if names.iter().any(|name| name == wanted) {
        return None;
    }
    names.push(wanted.to_owned());
    Some(names.len() - 1)
}

/// The outputs of each request; `None` if an output does not have a row for each row of the inputs.
pub(super) fn split(output: InferOutput, rows: &[usize]) -> Option<Vec<InferOutput>> {
    let total: usize = rows.iter().sum();
    let mut parts: Vec<InferOutput> = rows
        .iter()
        .map(|_| InferOutput {
            model: output.model.clone(),
            tensors: Vec::with_capacity(output.tensors.len()),
            confidence: None,
            timing: output.timing,
        })
        .collect();
    for tensor in &output.tensors {
        if tensor.shape.first() != Some(&total) {
            return None;
        }
        let mut data = tensor.data.clone();
        for (part, &rows) in parts.iter_mut().zip(rows) {
            let length = length_of(tensor, rows, total, &data)?;
            let mut shape = tensor.shape.clone();
            shape[0] = rows;
            part.tensors.push(Tensor {
                name: tensor.name.clone(),
                datatype: tensor.datatype,
                shape,
                data: data.split_to(length),
            });
        }
    }
    Some(parts)
}

/// Bytes of the first `rows` rows of what is left of a tensor that had `total` rows.
fn length_of(tensor: &Tensor, rows: usize, total: usize, left: &Bytes) -> Option<usize> {
    if tensor.datatype != Datatype::Bytes {
        return Some(tensor.data.len() / total * rows);
    }
    let strings = tensor.shape[1..].iter().product::<usize>() * rows;
    string_ends(left, strings)
}

#[cfg(test)]
mod tests;
