//! The golden set: inputs with expected outputs, run on this device before a version is activated.
//!
//! A file of the set is safetensors with tensors `input/<name>` and `output/<name>`. An output element
//! passes when it differs from the expected one by at most `absolute + relative * |expected|`, the rule of
//! numpy's `allclose`. Outputs that the file does not have are not compared.

use std::path::Path;

use bytes::Bytes;
use millwright_package::{Datatype, Golden};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use thiserror::Error;

use super::Worker;
use super::numbers;
use super::tensor::{InferError, InferInput, OutputSelection, Tensor};

/// Largest golden file. It is read whole, beside a model that is already serving.
const GOLDEN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the golden set showed.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenReport {
    /// One for each compared tensor, in the order of the files and outputs.
    pub tensors: Vec<GoldenTensor>,
}

impl GoldenReport {
    /// The first tensor outside its tolerance.
    #[must_use]
    pub fn first_failure(&self) -> Option<&GoldenTensor> {
        self.tensors.iter().find(|tensor| tensor.failing > 0)
    }
}

/// How one output compares with what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenTensor {
    /// The file of the set.
    pub file: String,
    /// The output.
    pub output: String,
    /// Largest absolute difference of two elements.
    pub max_absolute: f64,
    /// Largest difference relative to the expected element, where that is not 0.
    pub max_relative: f64,
    /// Elements outside the tolerance.
    pub failing: u64,
    /// Elements compared.
    pub elements: u64,
}

/// Why the golden set did not pass.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GoldenError {
    /// The file cannot be used.
    #[error("golden file {file}: {problem}")]
    File {
        /// Path inside the package.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model did not answer.
    #[error("golden file {file}: {source}")]
    Infer {
        /// Path inside the package.
        file: String,
        /// Why not.
        source: Box<InferError>,
    },
    /// An output has another shape or type.
    #[error("golden file {file}: output `{output}` is {found}, expected {expected}")]
    Form {
        /// Path inside the package.
        file: String,
        /// The output.
        output: String,
        /// As in the file.
        expected: String,
        /// As computed.
        found: String,
    },
    /// Elements differ by more than the tolerance.
    #[error(
        "golden file {}: output `{}` differs in {} of {} elements, by up to {:.6}",
        .0.file, .0.output, .0.failing, .0.elements, .0.max_absolute
    )]
    Differs(GoldenTensor),
}

/// Runs every set of the manifest; stops at the first that fails.
pub(super) async fn run(worker: &Worker) -> Result<GoldenReport, GoldenError> {
    let spec = worker.spec();
    let mut report = GoldenReport {
        tensors: Vec::new(),
    };
    for golden in &spec.manifest.golden {
        let (inputs, expected) = read(&spec.directory, golden)?;
        let input = InferInput {
            tensors: inputs,
            outputs: OutputSelection::Named(
                expected.iter().map(|tensor| tensor.name.clone()).collect(),
            ),
            sequence: None,
        };
        let output = worker
            .infer(&input)
            .await
            .map_err(|source| GoldenError::Infer {
                file: golden.file.to_string(),
                source: Box::new(source),
            })?;
        for (expected, found) in expected.iter().zip(&output.tensors) {
            report.tensors.push(compare(golden, expected, found)?);
        }
    }
    match report.first_failure() {
        Some(failure) => Err(GoldenError::Differs(failure.clone())),
        None => Ok(report),
    }
}

/// The inputs of the first golden set, if there is one.
pub(super) fn first_inputs(worker: &Worker) -> Option<InferInput> {
    let spec = worker.spec();
    let golden = spec.manifest.golden.first()?;
    let (tensors, _) = read(&spec.directory, golden).ok()?;
    Some(InferInput {
        tensors,
        outputs: OutputSelection::All,
        sequence: None,
    })
}

/// Reads the inputs and the expected outputs of one file.
fn read(directory: &Path, golden: &Golden) -> Result<(Vec<Tensor>, Vec<Tensor>), GoldenError> {
    let refused = |problem: String| GoldenError::File {
        file: golden.file.to_string(),
        problem,
    };
    let path = directory.join(golden.file.as_str());
    let size = std::fs::metadata(&path)
        .map_err(|error| refused(error.to_string()))?
        .len();
    if size > GOLDEN_BYTES_MAX {
        return Err(refused(format!(
            "{size} bytes are over the limit of {GOLDEN_BYTES_MAX}"
        )));
    }
    let bytes = Bytes::from(std::fs::read(&path).map_err(|error| refused(error.to_string()))?);
    let (inputs, mut outputs) = tensors(&bytes).map_err(refused)?;
    outputs.sort_by(|one, other| one.name.cmp(&other.name));
    if outputs.is_empty() {
        return Err(refused(
            "it has no tensor output/<name> to compare".to_owned(),
        ));
    }
    Ok((inputs, outputs))
}

/// The tensors `input/<name>` and those `output/<name>` of a safetensors file. The error is for people.
pub(crate) fn tensors(bytes: &Bytes) -> Result<(Vec<Tensor>, Vec<Tensor>), String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (key, view) in file.iter() {
        let (side, name) = match (key.strip_prefix("input/"), key.strip_prefix("output/")) {
            (Some(name), _) => (&mut inputs, name),
            (None, Some(name)) => (&mut outputs, name),
            (None, None) => {
                return Err(format!(
                    "tensor `{key}` is called neither input/<name> nor output/<name>"
                ));
            }
        };
        let datatype = Datatype::of_dtype(view.dtype())
            .ok_or_else(|| format!("tensor `{key}` has type {:?}", view.dtype()))?;
        side.push(Tensor {
            name: name.to_owned(),
            datatype,
            shape: view.shape().to_vec(),
            data: bytes.slice_ref(view.data()),
        });
    }
    Ok((inputs, outputs))
}

/// The outputs of an answer as such a file, and the names of those it cannot hold. The error is for people.
pub(crate) fn answers(outputs: &[Tensor]) -> Result<(Vec<u8>, Vec<String>), String> {
    let (mut views, mut left_out) = (Vec::new(), Vec::new());
    for tensor in outputs {
        let Some(dtype) = tensor.datatype.dtype() else {
            left_out.push(tensor.name.clone());
            continue;
        };
        let view = TensorView::new(dtype, tensor.shape.clone(), &tensor.data)
            .map_err(|error| format!("output `{}`: {error}", tensor.name))?;
        views.push((format!("output/{}", tensor.name), view));
    }
    let file = safetensors::serialize(views, None).map_err(|error| error.to_string())?;
    Ok((file, left_out))
}

fn compare(
    golden: &Golden,
    expected: &Tensor,
    found: &Tensor,
) -> Result<GoldenTensor, GoldenError> {
    if (expected.datatype, &expected.shape) != (found.datatype, &found.shape) {
        return Err(GoldenError::Form {
            file: golden.file.to_string(),
            output: expected.name.clone(),
            expected: format!("{} {:?}", expected.datatype, expected.shape),
            found: format!("{} {:?}", found.datatype, found.shape),
        });
    }
    let mut result = GoldenTensor {
        file: golden.file.to_string(),
        output: expected.name.clone(),
        max_absolute: 0.0,
        max_relative: 0.0,
        failing: 0,
        elements: 0,
    };
    let wanted = numbers::of(expected.datatype, &expected.data);
    let computed = numbers::of(found.datatype, &found.data);
    for (wanted, computed) in wanted.zip(computed) {
        result.elements += 1;
        // Equal infinities, and a NaN that was expected, have no difference to measure.
        if wanted == computed || (wanted.is_nan() && computed.is_nan()) {
            continue;
        }
        let difference = (computed - wanted).abs();
        let tolerance = golden.absolute_tolerance + golden.relative_tolerance * wanted.abs();
        if !difference.is_finite() || difference > tolerance {
            result.failing += 1;
        }
        let difference = if difference.is_nan() {
            f64::INFINITY
        } else {
            difference
        };
        result.max_absolute = result.max_absolute.max(difference);
        if wanted != 0.0 {
            result.max_relative = result.max_relative.max(difference / wanted.abs());
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests;
