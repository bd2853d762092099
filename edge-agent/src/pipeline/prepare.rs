//! From an input to the tensors of a model: what depends on the model's package.

mod scale;

use bytes::Bytes;
use edge_vision::{Frame, FrameError, Placement, Quality};
use half::f16;
use millwright_package::{Datatype, Manifest, Profile, TensorSpec};
use millwright_pipeline::{Payload, Pipeline, Preprocess, Scale, Sensors};
use thiserror::Error;

use super::intake::row_fields;
use super::item::Content;
use super::message::{self, Echo, MessageError, fill};
use crate::worker::{InferInput, OutputSelection, Tensor};
pub(super) use scale::RawRows;
use scale::{RowScale, ScaleError};

/// Why an input is none for the model.
#[derive(Debug, Error)]
pub(super) enum PrepareError {
    #[error("{0}")]
    Unreadable(String),
    #[error("the picture cannot be read: {0}")]
    Picture(#[from] FrameError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the model has {0} inputs: name the one that is meant with `input`")]
    Ambiguous(usize),
    #[error("the model has no input `{0}`")]
    NoInput(String),
    #[error("input `{input}` takes shape {shape:?}, which {what} does not fill")]
    Shape {
        input: String,
        shape: Vec<i64>,
        what: String,
    },
    #[error("input `{input}` takes {expected}; {what}")]
    Datatype {
        input: String,
        expected: Datatype,
        what: String,
    },
    #[error("pictures need `preprocess: {{image: ..}}` with the size the model sees")]
    NoPreprocess,
    #[error(transparent)]
    Scale(#[from] ScaleError),
    #[error("a value of the row is no number")]
    NotFinite,
}

impl PrepareError {
    /// Whether it is the pipeline that is wrong and not this input.
    pub(super) const fn is_misfit(&self) -> bool {
        match self {
            Self::Unreadable(_) | Self::Picture(_) | Self::Message(_) | Self::NotFinite => false,
            Self::Ambiguous(_)
            | Self::NoInput(_)
            | Self::Shape { .. }
            | Self::Datatype { .. }
            | Self::NoPreprocess
            | Self::Scale(_) => true,
        }
    }
}

/// What an input is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker<'m> {
    pub(super) manifest: &'m Manifest,
    /// The baseline profile of the package; only rows look at it.
    pub(super) profile: Option<&'m Profile>,
}

/// An input as the model takes it, and what is needed to understand its answer.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) input: InferInput,
    pub(super) picture: Option<Picture>,
    /// The rows it was made of, as they came.
    pub(super) rows: Option<RawRows>,
    /// Where the message said who it is.
    pub(super) echo: Option<Echo>,
}

/// The picture an input was made of.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) frame: Frame,
    pub(super) placement: Placement,
    pub(super) quality: Quality,
}

/// What is done to every input of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct Preparation {
    preprocess: Option<Preprocess>,
    fields: Vec<String>,
}

impl Preparation {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self {
            preprocess: pipeline.spec.preprocess.clone(),
            fields: row_fields(pipeline),
        }
    }

    /// Makes the tensors. Pictures take milliseconds: call it where that is no harm.
    pub(super) fn prepare(
        &self,
        content: &Content,
        taker: Taker<'_>,
    ) -> Result<Prepared, (PrepareError, Option<Echo>)> {
        let manifest = taker.manifest;
        let mut rows = None;
        let made = match content {
            Content::Message(bytes) => {
                let (echo, input) = message::parse(bytes, manifest);
                return match input {
                    Ok(input) => Ok(Prepared {
                        input,
                        picture: None,
                        rows: None,
                        echo: Some(echo),
                    }),
                    Err(error) => Err((error.into(), Some(echo))),
                };
            }
            Content::Unreadable(why) => Err(PrepareError::Unreadable(why.clone())),
            Content::Picture(bytes) => self.picture(bytes, manifest),
            Content::Elements(name, bytes) => {
                elements(name.as_deref(), bytes, manifest).map(|tensor| (tensor, None))
            }
            Content::Rows(values) => {
                rows = self.raw_rows(values);
                self.rows(values, taker).map(|tensor| (tensor, None))
            }
        };
        let (tensor, picture) = made.map_err(|error| (error, None))?;
        Ok(Prepared {
            input: InferInput {
                tensors: vec![tensor],
                outputs: OutputSelection::All,
                sequence: None,
            },
            picture,
            rows,
            echo: None,
        })
    }

    fn sensors(&self) -> Option<&Sensors> {
        match &self.preprocess {
            Some(Preprocess::Sensors(sensors)) => Some(sensors),
            Some(Preprocess::Image(_)) | None => None,
        }
    }

    /// Whether it looks at the profile of the model's package.
    pub(super) fn scales_by_profile(&self) -> bool {
        let scale = self.sensors().and_then(|sensors| sensors.scale.as_ref());
        matches!(scale, Some(Scale::Profile))
    }

    /// The rows of an input that were in none before.
    fn raw_rows(&self, values: &[f64]) -> Option<RawRows> {
        let window = self.sensors().and_then(|sensors| sensors.window);
        RawRows::of(values, self.fields.len(), window)
    }

    /// The input a picture becomes, and how.
    fn picture_input<'m>(
        &self,
        manifest: &'m Manifest,
    ) -> Result<(&edge_vision::Preprocess, &'m TensorSpec), PrepareError> {
        let Some(Preprocess::Image(preprocess)) = &self.preprocess else {
            return Err(PrepareError::NoPreprocess);
        };
        let spec = input(manifest, None)?;
        let datatype = match preprocess.datatype {
            edge_vision::preprocess::Datatype::Fp32 => Datatype::Fp32,
            edge_vision::preprocess::Datatype::Fp16 => Datatype::Fp16,
            edge_vision::preprocess::Datatype::Uint8 => Datatype::Uint8,
        };
        if spec.datatype != datatype {
            return Err(PrepareError::Datatype {
                input: spec.name.clone(),
                expected: spec.datatype,
                what: format!(
                    "`preprocess.image` makes {datatype}: write `datatype: {}` there",
                    spec.datatype.as_str().to_lowercase()
                ),
            });
        }
        let shape = preprocess.shape().to_vec();
        if !spec.admits(&shape) {
            return Err(PrepareError::Shape {
                input: spec.name.clone(),
                shape: spec.dims(),
                what: format!("a picture of shape {shape:?}"),
            });
        }
        Ok((preprocess, spec))
    }

    fn picture(
        &self,
        bytes: &[u8],
        manifest: &Manifest,
    ) -> Result<(Tensor, Option<Picture>), PrepareError> {
        let (preprocess, spec) = self.picture_input(manifest)?;
        let frame = Frame::decode(bytes)?;
        let mut data = Vec::with_capacity(preprocess.tensor_bytes());
        let placement = preprocess.apply(&frame, &mut data);
        let tensor = Tensor {
            name: spec.name.clone(),
            datatype: spec.datatype,
            shape: preprocess.shape().to_vec(),
            data: data.into(),
        };
        let quality = frame.quality();
        Ok((
            tensor,
            Some(Picture {
                frame,
                placement,
                quality,
            }),
        ))
    }

    fn rows(&self, values: &[f64], taker: Taker<'_>) -> Result<Tensor, PrepareError> {
        let sensors = self.sensors();
        let spec = input(
            taker.manifest,
            sensors.and_then(|sensors| sensors.input.as_deref()),
        )?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(PrepareError::NotFinite);
        }
        let mut values = values.to_vec();
        if let Some(scale) = sensors.and_then(|sensors| sensors.scale.as_ref()) {
            RowScale::of(scale, &self.fields, taker.profile)?
                .apply(&mut values, sensors.and_then(|sensors| sensors.window));
        }
        let shape = fill(&spec.shape, values.len()).ok_or_else(|| PrepareError::Shape {
            input: spec.name.clone(),
            shape: spec.dims(),
            what: format!("{} values", values.len()),
        })?;
        Ok(Tensor {
            name: spec.name.clone(),
            datatype: spec.datatype,
            shape,
            data: numbers(&values, spec)?,
        })
    }
}

/// Whether every input of `pipeline` fits a model with `manifest`, as far as that can be told before one comes.
///
/// # Errors
/// What does not fit.
pub(super) fn fits(pipeline: &Pipeline, taker: Taker<'_>) -> Result<(), PrepareError> {
    let manifest = taker.manifest;
    let preparation = Preparation::of(pipeline);
    for payload in pipeline.spec.source.payloads() {
        match payload {
            Payload::Image => preparation.picture_input(manifest).map(drop)?,
            Payload::Json(_) | Payload::Csv(_) => {
                let window = preparation.sensors().and_then(|sensors| sensors.window);
                let rows = window.map_or(1, |window| window.size as usize);
                preparation.rows(&vec![0.0; rows * preparation.fields.len()], taker)?;
            }
            Payload::Bytes(raw) => {
                input(manifest, raw.input.as_deref())?;
            }
            Payload::Message => {}
        }
    }
    Ok(())
}

fn input<'m>(manifest: &'m Manifest, name: Option<&str>) -> Result<&'m TensorSpec, PrepareError> {
    match (name, manifest.inputs.as_slice()) {
        (Some(name), _) => manifest
            .input(name)
            .ok_or_else(|| PrepareError::NoInput(name.to_owned())),
        (None, [only]) => Ok(only),
        (None, several) => Err(PrepareError::Ambiguous(several.len())),
    }
}

fn elements(
    name: Option<&str>,
    bytes: &Bytes,
    manifest: &Manifest,
) -> Result<Tensor, PrepareError> {
    let spec = input(manifest, name)?;
    let (count, data) = match spec.datatype.size_bytes() {
        Some(size) if bytes.len().is_multiple_of(size) => (bytes.len() / size, bytes.clone()),
        Some(size) => {
            return Err(PrepareError::Unreadable(format!(
                "{} bytes are no whole elements of {size} bytes",
                bytes.len()
            )));
        }
        None => {
            // One text: its length before it.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
            (1, [&length, bytes.as_ref()].concat().into())
        }
    };
    let shape = fill(&spec.shape, count).ok_or_else(|| {
        PrepareError::Unreadable(format!(
            "{count} elements do not fill the shape {:?} of input `{}`",
            spec.dims(),
            spec.name
        ))
    })?;
    Ok(Tensor {
        name: spec.name.clone(),
        datatype: spec.datatype,
        shape,
        data,
    })
}

/// Values as elements of the input. Whole numbers are cut to what the type holds.
fn numbers(values: &[f64], spec: &TensorSpec) -> Result<Bytes, PrepareError> {
    fn all<const N: usize>(values: &[f64], element: impl Fn(f64) -> [u8; N]) -> Bytes {
        values.iter().flat_map(|value| element(*value)).collect()
    }
    Ok(match spec.datatype {
        Datatype::Fp32 => all(values, |value| (value as f32).to_le_bytes()),
        Datatype::Fp64 => all(values, f64::to_le_bytes),
        Datatype::Fp16 => all(values, |value| f16::from_f64(value).to_le_bytes()),
        Datatype::Int64 => all(values, |value| (value.round() as i64).to_le_bytes()),
        Datatype::Int32 => all(values, |value| (value.round() as i32).to_le_bytes()),
        Datatype::Uint8 => all(values, |value| (value.round() as u8).to_le_bytes()),
        other => {
            return Err(PrepareError::Datatype {
                input: spec.name.clone(),
                expected: other,
                what: "rows of values are made for FP32, FP64, FP16, INT64, INT32 and UINT8"
                    .to_owned(),
            });
        }
    })
}

#[cfg(test)]
mod tests;
