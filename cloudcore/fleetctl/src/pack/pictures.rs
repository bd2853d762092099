//! Pictures as inputs: read, preprocessed as a pipeline does it.

use std::path::{Path, PathBuf};

use edge_vision::{Frame, Preprocess};
use millwright_package::{Datatype, Dim, TensorSpec};
use millwright_pipeline::Pipeline;

use super::PackError;
use super::array::Array;

/// Most pictures of a directory: more change no decile.
const PICTURES_MAX: usize = 10_000;

/// Endings of files that are pictures.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// How pictures become inputs.
#[derive(Debug)]
pub(super) struct Pictures {
    preprocess: Preprocess,
    origin: PathBuf,
}

impl Pictures {
    /// Reads the `preprocess.image` in `path`: its keys by themselves, or in a pipeline.
    pub(super) fn read(path: &Path) -> Result<Self, PackError> {
        let text = std::fs::read_to_string(path).map_err(PackError::files("read", path))?;
        let origin = path.display().to_string();
        let begins = |key: &str| text.lines().any(|line| line.starts_with(key));
        let preprocess = if begins("kind:") || begins("apiVersion:") {
            let pipelines = Pipeline::parse_all(&text, &origin)
                .map_err(|error| PackError::flag("--preprocess", error.to_string()))?;
            let mut found =
                pipelines
                    .into_iter()
                    .filter_map(|pipeline| match pipeline.spec.preprocess {
                        Some(millwright_pipeline::Preprocess::Image(image)) => Some(image),
                        Some(millwright_pipeline::Preprocess::Sensors(_)) | None => None,
                    });
            match (found.next(), found.next()) {
                (Some(image), None) => image,
                (None, _) => {
                    return Err(PackError::flag(
                        "--preprocess",
                        format!("{origin}: no pipeline in it has `preprocess: {{image: ..}}`"),
                    ));
                }
                (Some(_), Some(_)) => {
                    return Err(PackError::flag(
                        "--preprocess",
                        format!(
                            "{origin}: several pipelines have `preprocess: {{image: ..}}`: give a file with the one that is meant"
                        ),
                    ));
                }
            }
        } else {
            millwright_document::yaml(&text, &origin)
                .map_err(|error| PackError::flag("--preprocess", error.to_string()))?
        };
        preprocess
            .check()
            .map_err(|error| PackError::flag("--preprocess", format!("{origin}: {error}")))?;
        Ok(Self {
            preprocess,
            origin: path.to_owned(),
        })
    }

    /// Gives the lengths that the model leaves open, all but the first, those of the preprocessed picture.
    pub(super) fn fix(&self, inputs: &mut [TensorSpec]) -> Result<(), PackError> {
        let made = self.preprocess.shape();
        let wrong = |problem: String| {
            Err(PackError::flag(
                "--preprocess",
                format!("{}: {problem}", self.origin.display()),
            ))
        };
        let [spec] = inputs else {
            return wrong(format!(
                "pictures need a model of one input, and this one has {}",
                inputs.len()
            ));
        };
        if spec.datatype != self.datatype() {
            return wrong(format!(
                "makes {} and input `{}` takes {}: write `datatype: {}`",
                self.datatype(),
                spec.name,
                spec.datatype,
                spec.datatype.as_str().to_lowercase()
            ));
        }
        if !spec.admits(&made) {
            return wrong(format!(
                "makes pictures of shape {made:?} and input `{}` takes {:?}: change `size` (width, height) or `layout` (nchw, nhwc)",
                spec.name,
                spec.dims()
            ));
        }
        for (dim, length) in spec.shape.iter_mut().zip(made).skip(1) {
            let length = u32::try_from(length)
                .ok()
                .and_then(std::num::NonZeroU32::new);
            *dim = length.map_or(*dim, Dim::Fixed);
        }
        Ok(())
    }

    fn datatype(&self) -> Datatype {
        match self.preprocess.datatype {
            edge_vision::preprocess::Datatype::Fp32 => Datatype::Fp32,
            edge_vision::preprocess::Datatype::Fp16 => Datatype::Fp16,
            edge_vision::preprocess::Datatype::Uint8 => Datatype::Uint8,
        }
    }

    /// The input that a picture becomes, and its brightness, contrast and sharpness.
    pub(super) fn array(&self, path: &Path, input: &str) -> Result<(Array, [f64; 3]), PackError> {
        let bytes = std::fs::read(path).map_err(PackError::files("read", path))?;
        let frame =
            Frame::decode(&bytes).map_err(|error| PackError::data(path, error.to_string()))?;
        let mut data = Vec::new();
        self.preprocess.apply(&frame, &mut data);
        let quality = frame.quality();
        let array = Array {
            name: input.to_owned(),
            datatype: self.datatype(),
            shape: self.preprocess.shape().to_vec(),
            data,
        };
        Ok((
            array,
            [quality.brightness, quality.contrast, quality.sharpness].map(f64::from),
        ))
    }
}

/// Whether a file is a picture by its name.
pub(super) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// The pictures of a directory, ordered by name; of too many an even choice.
pub(super) fn of_directory(directory: &Path) -> Result<Vec<PathBuf>, PackError> {
    let entries = std::fs::read_dir(directory).map_err(PackError::files("read", directory))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_picture(path))
        .collect();
    if found.is_empty() {
        return Err(PackError::data(
            directory,
            format!("there is no picture in it (.{})", ENDINGS.join(", .")),
        ));
    }
    found.sort();
    let step = found.len().div_ceil(PICTURES_MAX);
    Ok(found.into_iter().step_by(step).collect())
}
