//! Files with inputs: for golden sets, and as samples of what is usual.

use std::path::{Path, PathBuf};

use millwright_package::TensorSpec;

use super::PackError;
use super::array::{self, Array, Assigned, First};
use super::draft::Draft;
use super::pictures::{self, Pictures};
use super::{npz, table};

/// Reads files for one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) columns: &'a [String],
    pub(super) pictures: Option<&'a Pictures>,
    pub(super) inputs: &'a [TensorSpec],
    pub(super) outputs: &'a [TensorSpec],
}

/// Sample data.
#[derive(Debug)]
pub(super) enum Sample {
    /// Inputs one after another along the first dimension, and what the last one is called.
    Rows {
        origin: PathBuf,
        inputs: Vec<Array>,
        names: Option<Vec<String>>,
    },
    /// Pictures, not read yet.
    Pictures(Vec<PathBuf>),
}

/// What a file is, by its name.
enum Form {
    Arrays,
    Table,
    Picture,
}

impl<'a> Reader<'a> {
    pub(super) fn of(draft: &'a Draft<'_>, pictures: Option<&'a Pictures>) -> Self {
        Self {
            columns: &draft.args.columns,
            pictures,
            inputs: &draft.inputs,
            outputs: &draft.outputs,
        }
    }

    /// One request, with the outputs it should have where the file says.
    pub(super) fn request(&self, path: &Path) -> Result<Assigned, PackError> {
        match form(path)? {
            Form::Arrays => {
                array::assign(npz::read(path)?, self.inputs, self.outputs, First::Request)
                    .map_err(|problem| PackError::data(path, problem))
            }
            Form::Table => {
                let table = table::read(path, self.columns, self.only_input(path)?)?;
                array::assign(vec![table.array], self.inputs, self.outputs, First::Request)
                    .map_err(|problem| PackError::data(path, problem))
            }
            Form::Picture => Ok(Assigned {
                inputs: vec![self.picture(path)?.0],
                outputs: Vec::new(),
            }),
        }
    }

    pub(super) fn sample(&self, path: &Path) -> Result<Sample, PackError> {
        if path.is_dir() {
            self.preprocess(path)?;
            return Ok(Sample::Pictures(pictures::of_directory(path)?));
        }
        let (arrays, names) = match form(path)? {
            Form::Arrays => (npz::read(path)?, None),
            Form::Table => {
                let table = table::read(path, self.columns, self.only_input(path)?)?;
                (vec![table.array], table.names)
            }
            Form::Picture => {
                self.preprocess(path)?;
                return Ok(Sample::Pictures(vec![path.to_owned()]));
            }
        };
        let problem = |problem: String| PackError::data(path, problem);
        let assigned =
            array::assign(arrays, self.inputs, self.outputs, First::Rows).map_err(problem)?;
        let lengths = assigned
            .inputs
            .iter()
            .filter_map(|array| array.shape.first());
        let mut lengths: Vec<usize> = lengths.copied().collect();
        lengths.dedup();
        match lengths.as_slice() {
            [0] => Err(problem("holds no rows".to_owned())),
            [] | [_] => Ok(Sample::Rows {
                origin: path.to_owned(),
                inputs: assigned.inputs,
                names,
            }),
            _ => Err(problem(format!(
                "its inputs have {lengths:?} rows: of sample data every input has as many rows as there are samples"
            ))),
        }
    }

    /// The input made of a picture, with its brightness, contrast and sharpness.
    pub(super) fn picture(&self, path: &Path) -> Result<(Array, [f64; 3]), PackError> {
        let input = self.only_input(path)?;
        self.preprocess(path)?.array(path, &input.name)
    }

    fn preprocess(&self, path: &Path) -> Result<&'a Pictures, PackError> {
        self.pictures.ok_or_else(|| {
            PackError::data(path, "pictures need --preprocess FILE with `size: [width, height]` and what else is done to them, as under `preprocess.image` of a pipeline")
        })
    }

    fn only_input(&self, path: &Path) -> Result<&'a TensorSpec, PackError> {
        match self.inputs {
            [only] => Ok(only),
            several => Err(PackError::data(
                path,
                format!(
                    "the model has {} inputs: give an .npz file with an array for each",
                    several.len()
                ),
            )),
        }
    }
}

fn form(path: &Path) -> Result<Form, PackError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.unwrap_or_default() {
        "npz" | "npy" => Ok(Form::Arrays),
        "csv" => Ok(Form::Table),
        _ if pictures::is_picture(path) => Ok(Form::Picture),
        _ => Err(PackError::data(
            path,
            "is none of .npz, .npy, .csv, .jpg, .jpeg and .png",
        )),
    }
}
