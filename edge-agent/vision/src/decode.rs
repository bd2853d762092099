//! From a model's outputs to what they say: boxes, classes, scores, numbers.
//!
//! One submodule per kind of model; [`candidates`] is what the detectors have in common (order, suppression of
//! duplicates, the way back to the frame), [`outputs`] finds and checks tensors. Whatever numbers come out of a
//! model, the result is bounded and in order, and nothing panics: candidates that are not finite are dropped, a score
//! that is not finite is an error (asserted in `tests/decoding.rs`).

pub mod labels;

mod candidates;
mod centerface;
mod outputs;
mod scores;
mod yolov8;
mod yolox;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decoded::Decoded;
use crate::preprocess::placement::Placement;
use crate::tensor::{ElementsError, NamedTensor};
pub use centerface::Centerface;
pub use labels::Labels;
use labels::LabelsError;
pub use scores::{Activation, Anomaly, Direction, Regression, Softmax};
pub use yolov8::Yolov8;
pub use yolox::{Boxes, Yolox};

/// Most detections of one frame, whatever a pipeline asks for: a result stays below 200 KiB of JSON.
pub const DETECTIONS_MAX: usize = 1000;

/// Most candidates that suppression looks at, the surest ones. With `DETECTIONS_MAX` it bounds its work to 4 million
/// comparisons; below a sensible score there are some hundreds.
pub const CANDIDATES_MAX: usize = 4096;

/// What the outputs of a model mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// Boxes of YOLOv8 and its successors without built-in suppression: `[1, 4 + classes, anchors]`.
    Yolov8(Yolov8),
    /// Boxes of YOLOX: `[1, anchors, 5 + classes]`.
    Yolox(Yolox),
    /// Faces with five landmarks.
    Centerface(Centerface),
    /// One of several classes.
    Softmax(Softmax),
    /// A score with a threshold.
    Anomaly(Anomaly),
    /// Numbers with names.
    Regression(Regression),
    /// The outputs as they are, at most [`scores::RAW_ELEMENTS_MAX`] elements of each.
    #[default]
    Raw,
}

/// Why outputs could not be read, or never can.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum DecodeError {
    /// An output the model does not have.
    #[error("the model has no output `{output}`; its outputs are {known}")]
    NoOutput {
        /// The name asked for.
        output: String,
        /// The names there are.
        known: String,
    },
    /// Which output is meant is not said.
    #[error("the model has the outputs {known}: say which one with `output`")]
    Ambiguous {
        /// The names there are.
        known: String,
    },
    /// Another kind of model.
    #[error("output `{output}` has shape {found:?}; {kind} needs {expected}")]
    Shape {
        /// The output.
        output: String,
        /// Its shape.
        found: Vec<usize>,
        /// What reads it.
        kind: &'static str,
        /// What would be right.
        expected: String,
    },
    /// Fewer or more elements than the shape says.
    #[error("output `{output}` has shape {shape:?} and {found} elements")]
    Length {
        /// The output.
        output: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its elements.
        found: usize,
    },
    /// Not numbers.
    #[error("output `{output}`: {problem}")]
    Elements {
        /// The output.
        output: String,
        /// What was found.
        problem: ElementsError,
    },
    /// No number to judge by.
    #[error("output `{output}` has a number that is not finite: the model cannot judge this input")]
    NotFinite {
        /// The output.
        output: String,
    },
    /// The decoder needs the size of the model's input.
    #[error(
        "{0} needs a `preprocess` step: its boxes are relative to the size of the model's input"
    )]
    NoPlacement(&'static str),
    /// Another number of names than the model has classes or values.
    #[error("{found} names are given for {expected} classes or values of output `{output}`")]
    Names {
        /// The output.
        output: String,
        /// What the model has.
        expected: usize,
        /// What is given.
        found: usize,
    },
    /// A setting that cannot be meant.
    #[error("`{field}: {found}` must be {expected}")]
    Setting {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Class names that are none.
    #[error(transparent)]
    Labels(#[from] LabelsError),
}

impl Decode {
    /// Says what is wrong with the settings; done once, when a pipeline is read.
    ///
    /// # Errors
    /// For a setting that cannot be meant.
    pub fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Yolov8(yolov8) => yolov8.check(),
            Self::Yolox(yolox) => yolox.check(),
            Self::Centerface(centerface) => centerface.check(),
            Self::Softmax(softmax) => softmax.check(),
            Self::Anomaly(anomaly) => anomaly.check(),
            Self::Regression(_) | Self::Raw => Ok(()),
        }
    }

    /// Reads the outputs of one frame or message. With the `placement` of its preprocessing, boxes are in frame
    /// pixels and inside the frame; without, in the model's.
    ///
    /// # Errors
    /// When the outputs are not those of this kind of model, or have no finite score.
    pub fn apply(
        &self,
        outputs: &[NamedTensor<'_>],
        placement: Option<&Placement>,
    ) -> Result<Decoded, DecodeError> {
        match self {
            Self::Yolov8(yolov8) => yolov8.apply(outputs, placement),
            Self::Yolox(yolox) => yolox.apply(outputs, placement),
            Self::Centerface(centerface) => centerface.apply(outputs, placement),
            Self::Softmax(softmax) => softmax.apply(outputs),
            Self::Anomaly(anomaly) => anomaly.apply(outputs),
            Self::Regression(regression) => regression.apply(outputs),
            Self::Raw => scores::raw(outputs),
        }
    }
}

/// Fails unless `value` is a part of one.
fn check_part(field: &'static str, value: f32) -> Result<(), DecodeError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(DecodeError::Setting {
        field,
        found: value.to_string(),
        expected: "a number from 0 to 1",
    })
}

fn check_max(max: usize) -> Result<(), DecodeError> {
    if (1..=DETECTIONS_MAX).contains(&max) {
        return Ok(());
    }
    Err(DecodeError::Setting {
        field: "max",
        found: max.to_string(),
        expected: "a whole number from 1 to 1000",
    })
}

#[cfg(test)]
mod tests;
