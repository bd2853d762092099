//! What is done to an input before the model gets it.

use serde::{Deserialize, Serialize};

/// What is done to an input before the model gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Preprocess {
    /// A picture becomes one tensor.
    Image(Picture),
    /// Rows of sensor values become one tensor.
    Sensors(Sensors),
}

/// How a picture becomes a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Picture {
    /// The input it becomes. Default: the model's only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Width and height the model sees. Default: those of the model's input, where they are fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<(u32, u32)>,
    /// How a picture of other proportions is brought to that size. Default `letterbox`.
    pub fit: Fit,
    /// Order of the colours. Default `rgb`.
    pub colour: Colour,
    /// Order of the dimensions. Default `nchw`.
    pub layout: Layout,
    /// Each value (0 to 255) is multiplied by this first. Default 1.
    pub scale: f32,
    /// Then this is taken off, one number per colour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// Then it is divided by this, one number per colour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
    /// Type of the elements. Default `fp32`.
    pub datatype: Datatype,
}

/// How a picture of other proportions is brought to a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// All of it, with bars.
    #[default]
    Letterbox,
    /// All of it, out of proportion.
    Stretch,
    /// The middle of it.
    Crop,
}

/// Order of the colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel of brightness.
    Grey,
}

/// Order of the dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Colours, then rows, then columns.
    #[default]
    Nchw,
    /// Rows, then columns, then colours.
    Nhwc,
}

/// Type of the elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// Bytes.
    Uint8,
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

impl Default for Picture {
    fn default() -> Self {
        Self {
            input: None,
            size: None,
            fit: Fit::default(),
            colour: Colour::default(),
            layout: Layout::default(),
            scale: 1.0,
            mean: Vec::new(),
            std: Vec::new(),
            datatype: Datatype::default(),
        }
    }
}
