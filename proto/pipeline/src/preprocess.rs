//! What is done to an input before the model gets it.

use serde::{Deserialize, Serialize};

/// What is done to an input before the model gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Preprocess {
    /// A picture becomes the tensor of the model's only input.
    Image(edge_vision::Preprocess),
    /// Rows of sensor values become one tensor.
    Sensors(Sensors),
}

/// How rows of sensor values become a tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sensors {
    /// The input they become. Default: the model's only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Values the model gets, in its order. Default: all of the source, in the order in which they are declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// How each value is scaled. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// The model sees several rows at a time. Default: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// How each value is scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scale {
    /// By means and deviations of the profile in the model's package.
    Profile,
    /// To mean 0 and deviation 1.
    Standard(Standard),
    /// To 0 to 1.
    Range(Range),
}

/// Means and deviations, one number per field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Standard {
    /// Taken off.
    pub mean: Vec<f64>,
    /// Divided by.
    pub std: Vec<f64>,
}

/// Smallest and largest values, one number per field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// Becomes 0.
    pub min: Vec<f64>,
    /// Becomes 1.
    pub max: Vec<f64>,
}

/// Several rows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Rows of a window, 1 to [`crate::WINDOW_ROWS_MAX`].
    pub size: u32,
    /// Rows from the beginning of a window to that of the next. Default: as many as its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Which lies next to which. Default `rows`.
    #[serde(default)]
    pub order: Order,
}

/// Order of the values of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Row after row: `[rows, fields]`.
    #[default]
    Rows,
    /// Field after field: `[fields, rows]`, as convolutions over time want it.
    Fields,
}
