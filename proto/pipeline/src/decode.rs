//! What the outputs of a model mean.

use serde::{Deserialize, Serialize};

/// What the outputs of a model mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decode {
    /// The outputs as they are.
    #[default]
    Raw,
    /// Boxes of a YOLOv8 detector: one output `[1, 4 + classes, anchors]`.
    Yolov8(Detector),
    /// Boxes of a YOLOX detector: one output `[1, anchors, 5 + classes]`.
    Yolox(Detector),
    /// Faces with landmarks, by CenterFace.
    Centerface(FaceDetector),
    /// One of several classes.
    Softmax(Softmax),
    /// A score that says how unusual an input is.
    Anomaly(Threshold),
    /// Numbers with names.
    Regression(Regression),
}

/// Boxes with classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Detector {
    /// Names of the classes, in the model's order. Default: their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Boxes below this score are not told. Default 0.25.
    pub score: f32,
    /// Of two boxes that overlap by more than this, the surer one stays. Default 0.45.
    pub iou: f32,
    /// Most boxes told. Default 100.
    pub max: u32,
}

/// Faces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaceDetector {
    /// Faces below this score are not told. Default 0.5.
    pub score: f32,
    /// Of two boxes that overlap by more than this, the surer one stays. Default 0.3.
    pub iou: f32,
    /// Most faces told. Default 100.
    pub max: u32,
}

/// One of several classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Softmax {
    /// The output. Default: the model's first one of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Names of the classes, in the model's order. Default: their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How many of the likeliest classes are told. Default 1.
    pub top: u32,
}

/// A score and what it has to pass to be an anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Threshold {
    /// The output with the score.
    pub output: String,
    /// What the score has to pass.
    pub threshold: f64,
    /// On which side of it anomalies are. Default `above`.
    #[serde(default)]
    pub direction: Direction,
}

/// On which side of a threshold anomalies are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A larger score is an anomaly.
    #[default]
    Above,
    /// A smaller score is an anomaly, as isolation forests have it.
    Below,
}

/// Numbers with names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Regression {
    /// The output. Default: the model's first one of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Names of its numbers. Default: their positions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            score: 0.25,
            iou: 0.45,
            max: 100,
        }
    }
}

impl Default for FaceDetector {
    fn default() -> Self {
        Self {
            score: 0.5,
            iou: 0.3,
            max: 100,
        }
    }
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            output: None,
            labels: Vec::new(),
            top: 1,
        }
    }
}
