//! From a frame to the tensor a model takes: fitted, coloured, laid out, scaled, normalised.
//!
//! ```text
//! frame ─▶ fit (letterbox, stretch, crop) ─▶ 8-bit rows ─▶ colour ─▶ (pixel * scale - mean) / std ─▶ tensor bytes
//!            └─▶ Placement: maps the model's coordinates back to the frame
//! ```
//!
//! One pass, row by row: no picture in between. What it needs besides the output (weights of the resampling, one
//! row) stays with the thread, so that after the first frame of a size nothing is allocated (asserted in
//! `tests/allocations.rs`). An 8-bit value has one of 256 results per channel, which are computed once a frame.

pub mod placement;

mod resample;
mod write;

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::frame::{CHANNELS, Frame};
use placement::Placement;
use resample::Resampler;

/// Longest side of a model's input: 4096 x 4096 floats are 192 MiB.
pub const MODEL_SIDE_MAX: u32 = 4096;

/// What stands between a frame and a model's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preprocess {
    /// Width and height of the model's input, in pixels.
    pub size: (u32, u32),
    /// What happens when the frame has another shape. Default: letterbox.
    #[serde(default)]
    pub fit: Fit,
    /// Order of the channels. Default: rgb.
    #[serde(default)]
    pub colour: Colour,
    /// Order of the dimensions. Default: nchw.
    #[serde(default)]
    pub layout: Layout,
    /// Every pixel, 0 to 255, is multiplied by it first. A number or a fraction: `1/255`. Default: 1.
    #[serde(default = "one", deserialize_with = "scale")]
    pub scale: f32,
    /// Subtracted after scaling: one number for every channel, in the model's order, or one for all. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// Divided by after that: one number for every channel, or one for all. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
    /// Type of one element. Default: fp32.
    #[serde(default)]
    pub datatype: Datatype,
    /// Where a letterboxed frame lies between its bars. Default: centre.
    #[serde(default)]
    pub align: Align,
    /// Grey of a letterbox's bars, before scaling. Default: 114, as YOLO is trained.
    #[serde(default = "grey")]
    pub pad: u8,
}

/// What happens to a frame whose sides are not in the model's proportion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// All of it, with bars on two sides.
    #[default]
    Letterbox,
    /// All of it, out of proportion.
    Stretch,
    /// Its middle, in proportion.
    Crop,
}

/// Order of the channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV reads pictures.
    Bgr,
    /// One channel: luma (BT.601).
    Grey,
}

/// Order of the dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    #[default]
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// Type of one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    /// 32-bit float.
    #[default]
    Fp32,
    /// 16-bit float.
    Fp16,
    /// 8 bits, rounded and cut off at 0 and 255.
    Uint8,
}

/// Where a letterboxed frame lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Bars of the same size on both sides, as Ultralytics does it.
    #[default]
    Centre,
    /// At the top left, as YOLOX does it.
    Corner,
}

/// Why a preprocessing cannot be used.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PreprocessError {
    /// A size no model takes.
    #[error("`size: [{0}, {1}]`: each side must be from 1 to {MODEL_SIDE_MAX}")]
    Size(u32, u32),
    /// Too few or too many numbers.
    #[error(
        "`{field}` has {found} numbers: give one for every channel ({channels}), or one for all"
    )]
    Channels {
        /// `mean` or `std`.
        field: &'static str,
        /// Numbers given.
        found: usize,
        /// Channels of the colour.
        channels: usize,
    },
    /// A number that makes every pixel nothing.
    #[error("`{field}: {value}` must be a finite number{}", if *.field == "mean" { "" } else { " other than 0" })]
    Number {
        /// `scale`, `mean` or `std`.
        field: &'static str,
        /// The number.
        value: f32,
    },
}

thread_local! {
    /// Bounded by the largest frame and model the thread has seen: two rows and their weights.
    static RESAMPLER: RefCell<Resampler> = RefCell::default();
}

impl Preprocess {
    /// Says what is wrong with it; done once, when a pipeline is read.
    ///
    /// # Errors
    /// For a size, a number or a count of numbers that cannot be meant.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let (width, height) = self.size;
        let sides = 1..=MODEL_SIDE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(PreprocessError::Size(width, height));
        }
        let number = |field, value: f32| {
            if value.is_finite() && (field == "mean" || value != 0.0) {
                Ok(())
            } else {
                Err(PreprocessError::Number { field, value })
            }
        };
        number("scale", self.scale)?;
        let channels = self.colour.channels();
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            let found = values.len();
            if found > 1 && found != channels {
                return Err(PreprocessError::Channels {
                    field,
                    found,
                    channels,
                });
            }
            values.iter().try_for_each(|&value| number(field, value))?;
        }
        Ok(())
    }

    /// The shape of the tensor, with a batch of one.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let channels = self.colour.channels();
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }

    /// Bytes of the tensor.
    #[must_use]
    pub fn tensor_bytes(&self) -> usize {
        self.shape().iter().product::<usize>() * self.datatype.size_bytes()
    }

    /// Writes the tensor of `frame`, little-endian, over what was in `into`. Says where the frame lies in it.
    pub fn apply(&self, frame: &Frame, into: &mut Vec<u8>) -> Placement {
        let placement =
            Placement::fit(self.fit, self.align, (frame.width, frame.height), self.size);
        into.resize(self.tensor_bytes(), 0);
        RESAMPLER.with_borrow_mut(|resampler| {
            let rows = resampler.start(frame, &placement, self.pad);
            match self.datatype {
                Datatype::Fp32 => write::write(self, rows, |value| value.to_le_bytes(), into),
                Datatype::Fp16 => {
                    write::write(
                        self,
                        rows,
                        |value| half::f16::from_f32(value).to_le_bytes(),
                        into,
                    );
                }
                // Casting saturates, and takes NaN for 0.
                Datatype::Uint8 => write::write(self, rows, |value| [value.round() as u8], into),
            }
        });
        placement
    }
}

impl Colour {
    /// How many there are.
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => CHANNELS,
            Self::Grey => 1,
        }
    }
}

impl Datatype {
    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Fp32 => 4,
            Self::Fp16 => 2,
            Self::Uint8 => 1,
        }
    }
}

fn one() -> f32 {
    1.0
}

fn grey() -> u8 {
    114
}

/// A number, or a fraction as people write it: `1/255`.
fn scale<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scale {
        Number(f32),
        Fraction(String),
    }
    match Scale::deserialize(deserializer)? {
        Scale::Number(number) => Ok(number),
        Scale::Fraction(text) => text
            .split_once('/')
            .and_then(|(above, below)| {
                let above: f64 = above.trim().parse().ok()?;
                let below: f64 = below.trim().parse().ok()?;
                Some((above / below) as f32)
            })
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "`{text}` is not a scale: write a number or a fraction, for example 1/255"
                ))
            }),
    }
}

#[cfg(test)]
mod tests;
