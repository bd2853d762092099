//! The baseline profile of a package on disk, and the rows of features in a request's tensor.

use std::path::Path;
use std::sync::Arc;

use millwright_package::profile::FEATURES_MAX;
use millwright_package::{Manifest, Profile, ProfileError};
use thiserror::Error;

use crate::worker::tensor::byte_length;
use crate::worker::{InferInput, Tensor, numbers};

/// Rows looked at of one request, evenly spread over it. More say no more of the plant, and cost time of the answer.
const ROWS_MAX: usize = 64;

/// Why a package that names a profile has none.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// The file cannot be read.
    #[error("cannot read the baseline profile {path}")]
    Read {
        /// Where it should be.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// It is the profile of another model.
    #[error("{path} is the profile of {found}, not of {expected}: make the package anew")]
    Other {
        /// Where it is.
        path: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

/// The profile of the package in `directory`; `None` when its manifest names none.
///
/// # Errors
/// When it names one that is not there or is none.
pub fn load(directory: &Path, manifest: &Manifest) -> Result<Option<Arc<Profile>>, BaselineError> {
    let Some(file) = &manifest.profile else {
        return Ok(None);
    };
    let path = directory.join(file.as_str());
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|source| BaselineError::Read {
        path: origin.clone(),
        source,
    })?;
    let profile = Profile::parse(&text, &origin)?;
    if *profile.model() != manifest.model_version() {
        return Err(BaselineError::Other {
            path: origin,
            found: profile.model().to_string(),
            expected: manifest.model_version().to_string(),
        });
    }
    Ok(Some(Arc::new(profile)))
}

/// Gives `each` the rows of features that `profile` finds in `input`, at most [`ROWS_MAX`] of them. None when it names no
/// tensor, or one whose last dimension is not the features.
pub(crate) fn rows(profile: &Profile, input: &InferInput, mut each: impl FnMut(&[f64])) {
    let width = profile.features().len();
    let named = profile.input().filter(|_| width > 0);
    let tensor = named.and_then(|name| input.tensors.iter().find(|tensor| tensor.name == name));
    let Some((tensor, row_bytes)) =
        tensor.and_then(|tensor| Some((tensor, row_bytes(tensor, width)?)))
    else {
        return;
    };
    let rows = tensor.data.len() / row_bytes;
    let step = rows.div_ceil(ROWS_MAX).max(1);
    let mut values = [0.0; FEATURES_MAX];
    for row in tensor.data.chunks_exact(row_bytes).step_by(step) {
        for (value, number) in values.iter_mut().zip(numbers::of(tensor.datatype, row)) {
            *value = number;
        }
        each(&values[..width]);
    }
}

/// Bytes of one row of `width` numbers; `None` when the tensor does not consist of such rows.
fn row_bytes(tensor: &Tensor, width: usize) -> Option<usize> {
    let fits = tensor.shape.last() == Some(&width) && width <= FEATURES_MAX;
    byte_length(tensor.datatype, &[width]).filter(|bytes| fits && *bytes > 0)
}

#[cfg(test)]
mod tests {
    use millwright_package::Datatype;
    use millwright_package::profile::Builder;

    use super::*;
    use crate::worker::OutputSelection;

    fn profile(input: Option<&str>) -> Profile {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let model = "press@1.0.0".parse().unwrap();
        let mut builder = Builder::new(model, input.map(str::to_owned), names).unwrap();
        builder.row(&[1.0, 2.0]).unwrap();
        builder.build().unwrap()
    }

    fn input(shape: &[usize]) -> InferInput {
        let count: usize = shape.iter().product();
        let data: Vec<u8> = (0..count)
            .flat_map(|at| (at as f32).to_le_bytes())
            .collect();
        InferInput {
            tensors: vec![Tensor {
                name: "sensors".to_owned(),
                datatype: Datatype::Fp32,
                shape: shape.to_vec(),
                data: data.into(),
            }],
            outputs: OutputSelection::All,
            sequence: None,
        }
    }

    fn read(profile: &Profile, input: &InferInput) -> Vec<Vec<f64>> {
        let mut read = Vec::new();
        rows(profile, input, |row| read.push(row.to_vec()));
        read
    }

    #[test]
    fn every_row_of_the_named_tensor_is_looked_at_and_of_many_a_spread_of_them() {
        let profile = profile(Some("sensors"));
        assert_eq!(read(&profile, &input(&[2, 2])), [[0.0, 1.0], [2.0, 3.0]]);
        let many = read(&profile, &input(&[640, 2]));
        assert_eq!((many.len(), &many[63]), (64, &vec![1260.0, 1261.0]));
    }

    #[test]
    fn tensors_of_another_form_and_features_of_a_pipeline_are_left_alone() {
        assert_eq!(read(&profile(Some("sensors")), &input(&[2, 3])).len(), 0);
        assert_eq!(read(&profile(Some("other")), &input(&[2, 2])).len(), 0);
        assert_eq!(read(&profile(None), &input(&[2, 2])).len(), 0);
    }
}
