//! A profile from rows of sample data.

use std::collections::BTreeMap;

use millwright_proto::ids::ModelVersion;
use thiserror::Error;

use super::document::check_name;
use super::{
    CLASSES_MAX, ClassShares, Distribution, FEATURES_MAX, Profile, ProfileError, fingerprint,
};

/// Most rows: a million of 64 features take 512 MB while the profile is made, and more change no decile.
pub const BUILD_ROWS_MAX: usize = 1_000_000;

/// What rounding to 15 digits can change, relatively.
const ROUNDED: f64 = 1e-14;

/// Bins of a distribution: deciles, the usual choice for PSI.
const BINS: usize = 10;

/// Why no profile was made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// More features than a profile has.
    #[error(
        "{0} features; a profile has at most {FEATURES_MAX}: leave out those that matter least"
    )]
    Features(usize),
    /// A name that cannot be one, or twice the same.
    #[error("feature {index}: the name {problem}")]
    Name {
        /// Which feature.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A row of another length.
    #[error("row {row} has {found} values; the profile has {expected} features")]
    Row {
        /// Which row.
        row: usize,
        /// Features.
        expected: usize,
        /// Values of the row.
        found: usize,
    },
    /// Over [`BUILD_ROWS_MAX`].
    #[error("more than {BUILD_ROWS_MAX} rows: take every tenth")]
    Rows,
    /// A column without any number.
    #[error("`{0}` is never a number in the sample data: leave it out or give other data")]
    Empty(String),
    /// The result would not be read again.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Collects sample data and makes the profile of it.
#[derive(Clone, Debug)]
pub struct Builder {
    model: ModelVersion,
    input: Option<String>,
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
    image: [Vec<f64>; 3],
    confidence: Vec<f64>,
    classes: BTreeMap<u32, u64>,
}

impl Builder {
    /// A profile of `names`; `input` is the tensor whose last dimension they are, `None` when a pipeline makes them.
    ///
    /// # Errors
    /// When the names are too many, cannot be names, or repeat.
    pub fn new(
        model: ModelVersion,
        input: Option<String>,
        names: Vec<String>,
    ) -> Result<Self, BuildError> {
        if names.len() > FEATURES_MAX {
            return Err(BuildError::Features(names.len()));
        }
        for (index, name) in names.iter().enumerate() {
            let refuse = |problem: String| Err(BuildError::Name { index, problem });
            if let Err(error) = check_name(name, "feature") {
                return refuse(error.problem);
            }
            if names[..index].contains(name) {
                return refuse(format!("repeats `{name}`"));
            }
        }
        Ok(Self {
            model,
            input,
            columns: vec![Vec::new(); names.len()],
            names,
            image: Default::default(),
            confidence: Vec::new(),
            classes: BTreeMap::new(),
        })
    }

    /// Adds one row of features; what is no number is missing.
    ///
    /// # Errors
    /// When it has another length than there are features, or there are too many rows.
    pub fn row(&mut self, values: &[f64]) -> Result<(), BuildError> {
        let row = self.columns.first().map_or(0, Vec::len);
        if values.len() != self.columns.len() {
            return Err(BuildError::Row {
                row,
                expected: self.columns.len(),
                found: values.len(),
            });
        }
        if row == BUILD_ROWS_MAX {
            return Err(BuildError::Rows);
        }
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(*value);
        }
        Ok(())
    }

    /// Adds brightness, contrast and sharpness of one picture.
    ///
    /// # Errors
    /// When there are too many.
    pub fn image(&mut self, qualities: [f64; 3]) -> Result<(), BuildError> {
        for (column, value) in self.image.iter_mut().zip(qualities) {
            push(column, value)?;
        }
        Ok(())
    }

    /// Adds the confidence of one answer.
    ///
    /// # Errors
    /// When there are too many.
    pub fn confidence(&mut self, confidence: f64) -> Result<(), BuildError> {
        push(&mut self.confidence, confidence)
    }

    /// Adds the class of one answer.
    pub fn class(&mut self, class: u32) {
        *self.classes.entry(class).or_default() += 1;
    }

    /// The profile of everything added.
    ///
    /// # Errors
    /// When a feature was never a number.
    pub fn build(self) -> Result<Profile, BuildError> {
        let mut features = Vec::with_capacity(self.names.len());
        for (name, column) in self.names.into_iter().zip(&self.columns) {
            let of = distribution(column).ok_or_else(|| BuildError::Empty(name.clone()))?;
            features.push((name, of));
        }
        let [brightness, contrast, sharpness] = self.image.each_ref().map(|of| distribution(of));
        let mut profile = Profile {
            model: self.model,
            input: self.input,
            features,
            image: brightness
                .zip(contrast)
                .zip(sharpness)
                .map(|((brightness, contrast), sharpness)| [brightness, contrast, sharpness]),
            confidence: distribution(&self.confidence),
            classes: class_shares(&self.classes),
            fingerprint: 0,
        };
        profile.fingerprint = fingerprint(&profile.to_json());
        Ok(profile)
    }
}

fn push(column: &mut Vec<f64>, value: f64) -> Result<(), BuildError> {
    if column.len() == BUILD_ROWS_MAX {
        return Err(BuildError::Rows);
    }
    column.push(value);
    Ok(())
}

/// `None` without a number.
fn distribution(column: &[f64]) -> Option<Distribution> {
    let mut sorted: Vec<f64> = column.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let count = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / count;
    let variance = sorted
        .iter()
        .map(|value| (value - mean) * (value - mean) / count);
    let edges = edges(&sorted);
    let mut shares = Vec::with_capacity(edges.len() + 1);
    let mut below = 0;
    for edge in &edges {
        let end = sorted.partition_point(|value| value < edge);
        shares.push((end - below) as f64 / count);
        below = end;
    }
    shares.push((sorted.len() - below) as f64 / count);
    Some(Distribution {
        edges,
        shares: shares.into_iter().map(short).collect(),
        count: sorted.len() as u64,
        // Rounded outwards: they say which values the baseline never had.
        min: [0.0, ROUNDED]
            .map(|by| short(min - min.abs() * by))
            .into_iter()
            .find(|low| *low <= min)?,
        max: [0.0, ROUNDED]
            .map(|by| short(max + max.abs() * by))
            .into_iter()
            .find(|high| *high >= max)?,
        mean: short(mean),
        std: short(variance.sum::<f64>().sqrt()),
        missing: short(1.0 - count / column.len() as f64),
    })
}

/// With 15 digits, which every reader of JSON gives back as they were.
fn short(number: f64) -> f64 {
    format!("{number:.14e}").parse().unwrap_or(number)
}

/// Deciles. An edge lies halfway between two values that occur, so that no value lies on one and a rounding at the last
/// digit moves none; values that occur very often share a bin with none or few others.
fn edges(sorted: &[f64]) -> Vec<f64> {
    let mut edges: Vec<f64> = Vec::with_capacity(BINS - 1);
    for decile in 1..BINS {
        let value = sorted[sorted.len() * decile / BINS];
        // Of the two ends of a run of equal values the nearer one to the decile.
        let (begin, end) = (
            sorted.partition_point(|other| *other < value),
            sorted.partition_point(|other| *other <= value),
        );
        let target = sorted.len() * decile / BINS;
        let at = if target - begin <= end - target {
            begin
        } else {
            end
        };
        if at == 0 || at == sorted.len() {
            continue;
        }
        let edge = short(sorted[at - 1] / 2.0 + sorted[at] / 2.0);
        if edge.is_finite() && edges.last().is_none_or(|last| *last < edge) {
            edges.push(edge);
        }
    }
    edges
}

/// The most frequent classes; `None` without any.
fn class_shares(classes: &BTreeMap<u32, u64>) -> Option<ClassShares> {
    let count: u64 = classes.values().sum();
    let mut ranked: Vec<(u32, u64)> = classes.iter().map(|(c, n)| (*c, *n)).collect();
    ranked.sort_by_key(|(class, count)| (std::cmp::Reverse(*count), *class));
    ranked.truncate(CLASSES_MAX);
    (count > 0).then(|| ClassShares {
        count,
        shares: ranked
            .into_iter()
            .map(|(class, n)| (class, n as f64 / count as f64))
            .collect(),
    })
}
