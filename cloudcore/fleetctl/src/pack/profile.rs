//! The baseline profile: what samples look like, and what the model makes of them.

use std::path::Path;

use indicatif::ProgressBar;
use millwright_package::probe::{Ask, Told};
use millwright_package::profile::{BUILD_ROWS_MAX, Builder, FEATURES_MAX};
use millwright_package::{Dim, Profile, TensorSpec};
use millwright_proto::ids::ModelVersion;

use super::PackError;
use super::agent::{Probe, unexpected};
use super::array::{self, Array};
use super::data::{Reader, Sample};

/// Most requests of one file of samples that the model is run on, spread evenly: more change no decile.
const RUNS_MAX: usize = 10_000;

/// Bytes of inputs that go to the agent at a time.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Requests that go to the agent at a time, so that progress shows.
const BATCH_REQUESTS: usize = 500;

/// What the profile is made of, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) features: usize,
    pub(super) rows: usize,
    pub(super) pictures: usize,
    pub(super) confidences: usize,
    pub(super) classes: usize,
}

/// Makes the profile.
pub(super) struct Maker<'a, 'p> {
    pub(super) reader: Reader<'a>,
    pub(super) probe: &'a mut Probe<'p>,
    /// Names given by `--features`.
    pub(super) names: &'a [String],
    pub(super) class_of: Option<&'a str>,
    /// Whether the manifest names a confidence.
    pub(super) confidence: Confidence,
    /// Where files for the agent may lie.
    pub(super) scratch: &'a Path,
    pub(super) bar: &'a ProgressBar,
}

/// Whether answers have a confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confidence {
    Named,
    None,
}

impl Maker<'_, '_> {
    /// The profile of `samples`.
    pub(super) fn make(
        &mut self,
        model: ModelVersion,
        samples: Vec<Sample>,
    ) -> Result<(Profile, Counts), PackError> {
        let features = features(&samples, self.names)?;
        let (input, names) = features.clone().unzip();
        let mut counts = Counts::default();
        let mut builder = Builder::new(model, input, names.unwrap_or_default())?;
        if let Some((_, names)) = &features {
            counts.features = names.len();
        }
        for sample in samples {
            match sample {
                Sample::Rows { origin, inputs, .. } => {
                    if let Some((input, names)) = &features {
                        let array = inputs.iter().find(|array| array.name == *input);
                        let numbers: Vec<f64> =
                            array.into_iter().flat_map(Array::numbers).collect();
                        let rows = numbers.chunks_exact(names.len());
                        let step = rows.len().div_ceil(BUILD_ROWS_MAX).max(1);
                        for row in rows.step_by(step) {
                            builder.row(row)?;
                            counts.rows += 1;
                        }
                    }
                    self.run_rows(&origin, &inputs, &mut builder, &mut counts)?;
                }
                Sample::Pictures(paths) => {
                    self.bar.set_length(paths.len() as u64);
                    for (at, path) in paths.iter().enumerate() {
                        let (array, quality) = self.reader.picture(path)?;
                        builder.image(quality)?;
                        counts.pictures += 1;
                        self.run(path, &[array], 1, &mut builder, &mut counts)?;
                        self.bar.set_position(at as u64 + 1);
                    }
                }
            }
        }
        Ok((builder.build()?, counts))
    }

    /// Runs the model on rows of a file, when something is counted of its answers.
    fn run_rows(
        &mut self,
        origin: &Path,
        inputs: &[Array],
        builder: &mut Builder,
        counts: &mut Counts,
    ) -> Result<(), PackError> {
        let rows = rows_of_request(self.reader.inputs)
            .map_err(|problem| PackError::data(origin, problem))?;
        let total = inputs
            .iter()
            .find_map(|array| array.shape.first())
            .copied()
            .unwrap_or(rows);
        if !total.is_multiple_of(rows) {
            let problem =
                format!("holds {total} rows and a request takes {rows}: give a multiple of that");
            return Err(PackError::data(origin, problem));
        }
        let step = (total / rows).div_ceil(RUNS_MAX).max(1);
        let usable = |request: &Vec<Array>| {
            // A row with a missing value is no request; the profile counts how many miss.
            request
                .iter()
                .all(|array| array.numbers().all(|number| !number.is_nan()))
        };
        let requests = (0..total / rows)
            .step_by(step)
            .map(|at| {
                inputs
                    .iter()
                    .map(|array| array.part(at * rows, rows))
                    .collect()
            })
            .filter(usable);
        let bytes: usize = inputs.iter().map(|array| array.data.len()).sum();
        let each = (bytes / (total / rows).max(1)).max(1);
        let at_a_time = (BATCH_BYTES / each).clamp(1, BATCH_REQUESTS);
        let mut requests: Vec<Vec<Array>> = requests.collect();
        self.bar.set_length(requests.len() as u64);
        while !requests.is_empty() {
            let rest = requests.split_off(requests.len().min(at_a_time));
            let batch = std::mem::replace(&mut requests, rest);
            let joined = (0..inputs.len()).filter_map(|input| {
                let parts: Vec<Array> =
                    batch.iter().map(|request| request[input].clone()).collect();
                Array::joined(&parts)
            });
            let joined: Vec<Array> = joined.collect();
            self.run(origin, &joined, rows, builder, counts)?;
            self.bar.inc(batch.len() as u64);
        }
        Ok(())
    }

    fn run(
        &mut self,
        origin: &Path,
        inputs: &[Array],
        rows: usize,
        builder: &mut Builder,
        counts: &mut Counts,
    ) -> Result<(), PackError> {
        if self.confidence == Confidence::None && self.class_of.is_none() {
            return Ok(());
        }
        let file = self.scratch.join("sample.safetensors");
        array::write(&file, inputs, &[])?;
        let ask = Ask::Count {
            inputs: file,
            rows,
            class_of: self.class_of.map(str::to_owned),
        };
        let told = self.probe.ask(&ask).map_err(|error| match error {
            PackError::Agent(message) => PackError::data(origin, message),
            other => other,
        })?;
        let Told::Counted {
            confidences,
            classes,
        } = told
        else {
            return Err(unexpected(&told));
        };
        counts.confidences += confidences.len();
        counts.classes += classes.len();
        for confidence in confidences {
            builder.confidence(confidence)?;
        }
        classes.into_iter().for_each(|class| builder.class(class));
        Ok(())
    }
}

/// The input whose last dimension are features, and what they are called; `None` when there is none.
fn features(
    samples: &[Sample],
    given: &[String],
) -> Result<Option<(String, Vec<String>)>, PackError> {
    let mut found: Option<(String, Vec<String>)> = None;
    for sample in samples {
        let Sample::Rows {
            origin,
            inputs,
            names,
        } = sample
        else {
            continue;
        };
        let candidates: Vec<&Array> = inputs.iter().filter(|array| is_features(array)).collect();
        let [array] = candidates.as_slice() else {
            continue;
        };
        let width = array.shape.last().copied().unwrap_or(0);
        let names = match (given, names) {
            ([], Some(names)) => names.clone(),
            ([], None) => (0..width).map(|at| format!("feature-{at}")).collect(),
            (given, _) if given.len() == width => given.to_vec(),
            (given, _) => {
                let problem = format!(
                    "names {} features; {} has {width}",
                    given.len(),
                    origin.display()
                );
                return Err(PackError::flag("--features", problem));
            }
        };
        match &found {
            None => found = Some((array.name.clone(), names)),
            Some((_, other)) if other.len() == names.len() => {}
            Some((_, other)) => {
                let problem = format!(
                    "has {} features and the sample before it {}",
                    names.len(),
                    other.len()
                );
                return Err(PackError::data(origin, problem));
            }
        }
    }
    Ok(found)
}

/// Rows of few numbers, and windows of such rows: more numbers are a picture or a sound, whose single elements mean
/// nothing.
fn is_features(array: &Array) -> bool {
    let last = array.shape.last().copied().unwrap_or(0);
    (2..=3).contains(&array.shape.len()) && (1..=FEATURES_MAX).contains(&last)
}

/// Lengths of the first dimension that make one request: one, unless the model takes so many at a time.
fn rows_of_request(inputs: &[TensorSpec]) -> Result<usize, String> {
    let mut lengths: Vec<usize> = inputs
        .iter()
        .filter_map(|spec| match spec.shape.first()? {
            Dim::Fixed(length) => Some(length.get() as usize),
            Dim::Dynamic => Some(1),
        })
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    match lengths.as_slice() {
        [] => Ok(1),
        [one] => Ok(*one),
        several => Err(format!(
            "the model's inputs have different first lengths {several:?}, so rows cannot be told apart: samples are not possible"
        )),
    }
}
