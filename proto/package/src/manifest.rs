//! `model.yaml`: what a model takes, gives, needs, and how to tell that it works.

mod batching;
mod document;
mod state;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use millwright_document::DocumentError;
use millwright_proto::ids::{ModelName, ModelVersion, Version};
use thiserror::Error;

use crate::{Datatype, FileList, MANIFEST_FILE, PackagePath, Provider};
pub use batching::Batching;
pub use state::{STATE_BYTES_MAX, StateSpec};

/// Largest manifest, in bytes: the largest sensible one (64 tensors, 16 golden sets) has about 10 KiB.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// Most inputs, and most outputs, of a model.
pub(crate) const TENSOR_COUNT_MAX: usize = 64;

/// Most dimensions of a tensor, as in numpy before 2.0.
pub(crate) const RANK_MAX: usize = 32;

/// Longest name of a tensor, in bytes. Exporters write paths such as `/model/head/Concat_3_output_0`.
pub(crate) const TENSOR_NAME_BYTES_MAX: usize = 256;

/// Most golden sets: each costs one inference before every activation.
pub(crate) const GOLDEN_COUNT_MAX: usize = 16;

/// Longest wait for one answer when the manifest names none. The slowest model worth running at a machine
/// takes a few seconds; a processor that is also busy with something else makes that half a minute.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Longest wait for one answer that a manifest may ask for.
pub(crate) const ANSWER_SECONDS_MAX: u32 = 3600;

/// Why a manifest was refused.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Over [`MANIFEST_BYTES_MAX`].
    #[error("{origin}: manifest of {bytes} bytes is over the limit of {MANIFEST_BYTES_MAX}")]
    TooLong {
        /// Where it came from.
        origin: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// Not YAML, or with other keys or types than a manifest has.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Well formed, but it cannot be meant.
    #[error("{origin}: {field} {problem}")]
    Field {
        /// Where it came from.
        origin: String,
        /// Path of the key at fault, for example `spec.inputs[0].shape`.
        field: String,
        /// What is wrong with it and what it should be.
        problem: String,
    },
    /// It names a file the package does not have.
    #[error(
        "{field} names `{path}`, which is not in the package: add the file or correct {MANIFEST_FILE}"
    )]
    MissingFile {
        /// Path of the key at fault.
        field: &'static str,
        /// The file it names.
        path: PackagePath,
    },
}

/// The parsed manifest of one model version.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// What it does, for people.
    pub description: Option<String>,
    /// SPDX expression of the model's licence.
    pub license: Option<String>,
    /// The ONNX file.
    pub file: PackagePath,
    /// At least one, each name once.
    pub inputs: Vec<TensorSpec>,
    /// At least one, each name once.
    pub outputs: Vec<TensorSpec>,
    /// What the model remembers from one request of a sequence to the next; empty for most models.
    pub state: Vec<StateSpec>,
    /// Inputs with expected outputs that are run on the device before activation; may be empty.
    pub golden: Vec<Golden>,
    /// How a request's confidence is read from its outputs.
    pub confidence: Option<Confidence>,
    /// The baseline profile of inputs and outputs, see [`crate::profile`].
    pub profile: Option<PackagePath>,
    /// How requests that come together are joined into one run; `None`: never.
    pub batching: Option<Batching>,
    /// What one worker may use.
    pub limits: Limits,
    /// What it may be computed with, best first; empty: whatever the node prefers.
    pub providers: Vec<Provider>,
}

/// Name, element type and shape of one input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// As in the ONNX graph.
    pub name: String,
    /// Type of one element.
    pub datatype: Datatype,
    /// Outermost dimension first; empty for a scalar.
    pub shape: Vec<Dim>,
    /// Whether a request may leave this input out, because the model has a value of its own for it.
    pub optional: bool,
}

/// Length of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(NonZeroU32),
    /// Each request decides; -1 in the manifest.
    Dynamic,
}

/// One golden set: a safetensors file with tensors `input/<name>` and `output/<name>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The safetensors file.
    pub file: PackagePath,
    /// An element may differ by this much ...
    pub absolute_tolerance: f64,
    /// ... plus this share of the expected value.
    pub relative_tolerance: f64,
}

/// How a request's confidence is read from its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confidence {
    /// Name of a numeric output.
    pub output: String,
    /// How its elements become one number.
    pub reduce: Reduce,
}

/// How many elements become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduce {
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The mean.
    Mean,
}

/// What one worker may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the worker process in MiB; `None`: the agent's own default.
    pub memory_mib: Option<NonZeroU32>,
    /// Threads one inference may use; 1 when left out.
    pub threads: NonZeroU16,
    /// What becomes of memory between requests; kept when left out.
    pub arena: Arena,
    /// Longest wait for one answer, after which the worker counts as hung; [`ANSWER_WITHIN`] when left out.
    pub answer_within: Duration,
}

/// What ONNX Runtime does with the memory of one request when it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arena {
    /// Keeps it for the next one: fastest, and the worker stays as large as its largest request made it.
    #[default]
    Kept,
    /// Gives it back: for models whose rare large requests must not hold memory on a small node.
    Returned,
}

impl Manifest {
    /// Reads a manifest; `origin` names it in errors, for example the path of the file.
    ///
    /// # Errors
    /// When it is too long, is not YAML, has an unknown key, or a value cannot be meant.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            let origin = origin.to_owned();
            return Err(ManifestError::TooLong {
                origin,
                bytes: text.len(),
            });
        }
        let document: document::ModelPackage = millwright_document::yaml(text, origin)?;
        document.check().map_err(|error| ManifestError::Field {
            origin: origin.to_owned(),
            field: error.field,
            problem: error.problem,
        })
    }

    /// `model@version`.
    #[must_use]
    pub fn model_version(&self) -> ModelVersion {
        ModelVersion {
            model: self.model.clone(),
            version: self.version.clone(),
        }
    }

    /// The input called `name`.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&TensorSpec> {
        self.inputs.iter().find(|tensor| tensor.name == name)
    }

    /// The output called `name`.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&TensorSpec> {
        self.outputs.iter().find(|tensor| tensor.name == name)
    }

    /// Checks that every file the manifest names is in `files`.
    ///
    /// # Errors
    /// [`ManifestError::MissingFile`] with the first one that is not.
    pub fn check_files(&self, files: &FileList) -> Result<(), ManifestError> {
        let golden = self
            .golden
            .iter()
            .map(|set| ("spec.golden.file", &set.file));
        let profile = self.profile.iter().map(|path| ("spec.profile", path));
        let own = std::iter::once(("spec.file", &self.file));
        for (field, path) in own.chain(golden).chain(profile) {
            if files.get(path).is_none() {
                return Err(ManifestError::MissingFile {
                    field,
                    path: path.clone(),
                });
            }
        }
        Ok(())
    }
}

impl TensorSpec {
    /// Whether a tensor of `shape` fits: the same rank, and every fixed dimension equal.
    #[must_use]
    pub fn admits(&self, shape: &[usize]) -> bool {
        let fits = |(dim, &length): (&Dim, &usize)| match dim {
            Dim::Fixed(fixed) => usize::try_from(fixed.get()).is_ok_and(|fixed| fixed == length),
            Dim::Dynamic => true,
        };
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }

    /// The shape as in the manifest and the Open Inference Protocol: -1 for a dynamic dimension.
    #[must_use]
    pub fn dims(&self) -> Vec<i64> {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(length) => i64::from(length.get()),
            Dim::Dynamic => -1,
        };
        self.shape.iter().map(dim).collect()
    }
}
