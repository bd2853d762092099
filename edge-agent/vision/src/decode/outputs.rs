//! Finding an output, and its numbers in the shape they should have.

use std::borrow::Cow;

use super::DecodeError;
use crate::tensor::{ElementsError, NamedTensor};

/// The output called `name`; without a name, the only one, or the only one of floats: beside its scores, a
/// classifier of scikit-learn has labels.
pub(super) fn find<'o, 'a>(
    outputs: &'o [NamedTensor<'a>],
    name: Option<&str>,
) -> Result<&'o NamedTensor<'a>, DecodeError> {
    match (name, outputs) {
        (Some(name), _) => outputs
            .iter()
            .find(|output| output.name == name)
            .ok_or_else(|| DecodeError::NoOutput {
                output: name.to_owned(),
                known: names(outputs),
            }),
        (None, [only]) => Ok(only),
        (None, several) => {
            let mut floats = several.iter().filter(|output| output.data.is_float());
            match (floats.next(), floats.next()) {
                (Some(only), None) => Ok(only),
                (Some(_) | None, _) => Err(DecodeError::Ambiguous {
                    known: names(outputs),
                }),
            }
        }
    }
}

pub(super) fn names(outputs: &[NamedTensor<'_>]) -> String {
    let names: Vec<_> = outputs
        .iter()
        .map(|output| format!("`{}`", output.name))
        .collect();
    names.join(", ")
}

/// The numbers of an output, as many as its shape says.
pub(super) fn floats<'a>(output: &NamedTensor<'a>) -> Result<Cow<'a, [f32]>, DecodeError> {
    let floats = output
        .data
        .floats()
        .map_err(|problem| elements(output, problem))?;
    check_length(output, floats.len())?;
    Ok(floats)
}

/// The same with more digits.
pub(super) fn doubles(output: &NamedTensor<'_>) -> Result<Vec<f64>, DecodeError> {
    let doubles = output
        .data
        .doubles()
        .map_err(|problem| elements(output, problem))?;
    check_length(output, doubles.len())?;
    Ok(doubles)
}

pub(super) fn elements(output: &NamedTensor<'_>, problem: ElementsError) -> DecodeError {
    DecodeError::Elements {
        output: output.name.to_owned(),
        problem,
    }
}

/// The number of elements a shape has; `None` when it does not fit in memory.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &side| product.checked_mul(side))
}

fn check_length(output: &NamedTensor<'_>, found: usize) -> Result<(), DecodeError> {
    if count(output.shape) == Some(found) {
        return Ok(());
    }
    Err(DecodeError::Length {
        output: output.name.to_owned(),
        shape: output.shape.to_vec(),
        found,
    })
}

/// An error that says what a kind of model should have put out.
pub(super) fn shape(output: &NamedTensor<'_>, kind: &'static str, expected: &str) -> DecodeError {
    DecodeError::Shape {
        output: output.name.to_owned(),
        found: output.shape.to_vec(),
        kind,
        expected: expected.to_owned(),
    }
}

/// The last two dimensions of a batch of one: `[1, rows, columns]`, or without the batch.
pub(super) fn rows_and_columns(output: &NamedTensor<'_>) -> Option<(usize, usize)> {
    match *output.shape {
        [1, rows, columns] | [rows, columns] => Some((rows, columns)),
        _ => None,
    }
}
