//! Whether a golden set fits the manifest: the names, element types and shapes of its tensors.

use std::fs;
use std::io;
use std::path::Path;

use millwright_package::{Datatype, Manifest, TensorSpec};
use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

/// Largest golden set: devices load it whole beside the model.
pub(crate) const GOLDEN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a golden set does not fit.
#[derive(Debug, Error)]
pub(crate) enum GoldenError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// Over [`GOLDEN_BYTES_MAX`].
    #[error("has {0} bytes; a golden set may have {GOLDEN_BYTES_MAX}: use a smaller input")]
    TooLarge(u64),
    /// Not safetensors.
    #[error("is not a safetensors file: {0}")]
    Format(safetensors::SafeTensorError),
    /// A tensor with another name than `input/<name>` or `output/<name>`.
    #[error("tensor `{name}` is none of the manifest's: known are {}", known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    /// An input without which the model cannot run.
    #[error("tensor `input/{0}` is missing: every input of the model needs a value")]
    MissingInput(String),
    /// There is nothing to compare.
    #[error("there is no `output/...` tensor: give the expected value of at least one output")]
    NoOutput,
    /// Another element type than the manifest says.
    #[error("tensor `{name}` is {found}; the manifest says {expected}")]
    Datatype {
        name: String,
        found: String,
        expected: Datatype,
    },
    /// Another shape than the manifest allows.
    #[error(
        "tensor `{name}` has shape {found:?}; the manifest says {expected:?} (-1 is any length)"
    )]
    Shape {
        name: String,
        found: Vec<usize>,
        expected: Vec<i64>,
    },
}

/// Checks the golden set at `path`.
pub(super) fn check(path: &Path, manifest: &Manifest) -> Result<(), GoldenError> {
    let length = fs::metadata(path)?.len();
    if length > GOLDEN_BYTES_MAX {
        return Err(GoldenError::TooLarge(length));
    }
    let content = fs::read(path)?;
    let tensors = SafeTensors::deserialize(&content).map_err(GoldenError::Format)?;
    for (name, tensor) in tensors.iter() {
        let spec = match name.split_once('/') {
            Some(("input", input)) => manifest.input(input),
            Some(("output", output)) => manifest.output(output),
            Some(_) | None => None,
        };
        let spec = spec.ok_or_else(|| unknown(name, manifest))?;
        check_tensor(name, tensor.dtype(), tensor.shape(), spec)?;
    }
    let given = tensors.names();
    let has = |name: String| given.iter().any(|given| **given == name);
    if let Some(input) = manifest
        .inputs
        .iter()
        .find(|input| !has(format!("input/{}", input.name)))
    {
        return Err(GoldenError::MissingInput(input.name.clone()));
    }
    if !manifest
        .outputs
        .iter()
        .any(|output| has(format!("output/{}", output.name)))
    {
        return Err(GoldenError::NoOutput);
    }
    Ok(())
}

fn check_tensor(
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    spec: &TensorSpec,
) -> Result<(), GoldenError> {
    if Datatype::of_dtype(dtype) != Some(spec.datatype) {
        return Err(GoldenError::Datatype {
            name: name.to_owned(),
            found: Datatype::of_dtype(dtype)
                .map_or_else(|| format!("{dtype:?}"), |known| known.to_string()),
            expected: spec.datatype,
        });
    }
    if !spec.admits(shape) {
        return Err(GoldenError::Shape {
            name: name.to_owned(),
            found: shape.to_vec(),
            expected: spec.dims(),
        });
    }
    Ok(())
}

fn unknown(name: &str, manifest: &Manifest) -> GoldenError {
    let inputs = manifest
        .inputs
        .iter()
        .map(|tensor| format!("input/{}", tensor.name));
    let outputs = manifest
        .outputs
        .iter()
        .map(|tensor| format!("output/{}", tensor.name));
    GoldenError::Unknown {
        name: name.to_owned(),
        known: inputs.chain(outputs).collect(),
    }
}
