//! What a model said about a frame, in the words of the frame: the JSON a result carries.

use serde::{Deserialize, Serialize};

/// A decoded answer. What the kind of model does not tell is empty, and left out of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Decoded {
    /// What was found, the surest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detections: Vec<Detection>,
    /// What the whole picture is, the likeliest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// The anomaly score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Whether the score is on the wrong side of its threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<bool>,
    /// Numbers of a regression.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// Outputs as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
}

/// One thing in the frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// Its class in words.
    pub label: String,
    /// Its class as the model counts.
    pub class: u32,
    /// How sure the model is, 0 to 1.
    pub score: f32,
    /// Left edge in frame pixels.
    pub x: f32,
    /// Upper edge in frame pixels.
    pub y: f32,
    /// Width in frame pixels.
    pub width: f32,
    /// Height in frame pixels.
    pub height: f32,
    /// Points of it, for example eyes, nose and mouth, in frame pixels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landmarks: Vec<[f32; 2]>,
}

/// One class the picture may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    /// In words.
    pub label: String,
    /// As the model counts.
    pub class: u32,
    /// Its probability.
    pub score: f32,
}

/// One number of a regression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// What it is.
    pub name: String,
    /// The number.
    pub value: f64,
    /// What it is counted in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// One output as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Its name in the model.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its first elements, in row-major order.
    pub data: Data,
    /// How many elements are not in `data`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// Elements of an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Data {
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Numbers; `null` is one that is not finite.
    Numbers(Vec<Option<f64>>),
    /// Text.
    Texts(Vec<String>),
}

impl Decoded {
    /// How sure the model was: the likeliest class, else the surest detection. `None` where nothing was found and
    /// where the model tells no probability.
    #[must_use]
    pub fn confidence(&self) -> Option<f64> {
        let class = self.classes.first().map(|class| class.score);
        let detection = || self.detections.first().map(|detection| detection.score);
        class.or_else(detection).map(f64::from)
    }

    /// The class that was seen: that of the likeliest, else of the surest detection.
    #[must_use]
    pub fn class(&self) -> Option<u32> {
        let class = self.classes.first().map(|class| class.class);
        class.or_else(|| self.detections.first().map(|detection| detection.class))
    }
}

// The signature serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
