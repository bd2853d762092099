//! Models without boxes: one of several classes, a score with a threshold, numbers with names, or anything.

use serde::{Deserialize, Serialize};

use super::{DecodeError, Labels, outputs};
use crate::decoded::{Class, Data, Decoded, Output, Value};
use crate::tensor::{Elements, NamedTensor};

/// Most classes that are told.
const TOP_MAX: usize = 100;

/// Most elements of one output that `raw` repeats: a result stays readable, and below a broker's usual limit.
pub(super) const RAW_ELEMENTS_MAX: usize = 1024;

/// Settings of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Softmax {
    /// The output, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Names of the classes. Default: numbers.
    pub labels: Labels,
    /// How many classes are told, the likeliest first. Default: 5.
    pub top: usize,
    /// What the model puts out. Default: logits.
    pub values: Activation,
}

/// What a classifier puts out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Numbers that softmax makes probabilities of.
    #[default]
    Logits,
    /// Probabilities: they are told as they are.
    Probabilities,
}

/// Settings of an anomaly score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anomaly {
    /// The output, when there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The score where an anomaly begins; the score itself is none yet.
    pub threshold: f64,
    /// On which side of it anomalies are. Default: above.
    #[serde(default)]
    pub direction: Direction,
}

/// On which side of a threshold anomalies are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A high score is an anomaly.
    #[default]
    Above,
    /// A low score is an anomaly, as with scikit-learn's `decision_function`.
    Below,
}

/// Settings of a regression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Regression {
    /// The output, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What each number is. Default: the output's name, and a number when there are several.
    pub names: Vec<String>,
    /// What they are counted in.
    pub unit: String,
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            output: None,
            labels: Labels::default(),
            top: 5,
            values: Activation::default(),
        }
    }
}

impl Softmax {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        if (1..=TOP_MAX).contains(&self.top) {
            return Ok(());
        }
        Err(DecodeError::Setting {
            field: "top",
            found: self.top.to_string(),
            expected: "a whole number from 1 to 100",
        })
    }

    pub(super) fn apply(&self, outputs: &[NamedTensor<'_>]) -> Result<Decoded, DecodeError> {
        let output = outputs::find(outputs, self.output.as_deref())?;
        let mut scores = outputs::doubles(output)?;
        // Any number of dimensions of length 1 besides the classes.
        if scores.is_empty() || output.shape.iter().filter(|&&side| side > 1).count() > 1 {
            return Err(outputs::shape(output, "softmax", "[1, classes]"));
        }
        check_names(output, self.labels.count(), scores.len())?;
        if !scores.iter().all(|score| score.is_finite()) {
            return Err(not_finite(output));
        }
        if self.values == Activation::Logits {
            softmax(&mut scores);
        }
        let mut classes: Vec<(usize, f64)> = scores.into_iter().enumerate().collect();
        classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        classes.truncate(self.top.min(TOP_MAX));
        let classes = classes.into_iter().map(|(class, score)| {
            let class = class as u32;
            Class {
                label: self.labels.name(class),
                class,
                score: score as f32,
            }
        });
        Ok(Decoded {
            classes: classes.collect(),
            ..Decoded::default()
        })
    }
}

impl Anomaly {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        if self.threshold.is_finite() {
            return Ok(());
        }
        Err(DecodeError::Setting {
            field: "threshold",
            found: self.threshold.to_string(),
            expected: "a finite number",
        })
    }

    /// The score is the worst one of the output, which may be a map of the picture or several rows.
    pub(super) fn apply(&self, outputs: &[NamedTensor<'_>]) -> Result<Decoded, DecodeError> {
        let output = outputs::find(outputs, self.output.as_deref())?;
        let scores = outputs::doubles(output)?;
        if !scores.iter().all(|score| score.is_finite()) {
            return Err(not_finite(output));
        }
        let worst = match self.direction {
            Direction::Above => scores.into_iter().reduce(f64::max),
            Direction::Below => scores.into_iter().reduce(f64::min),
        };
        let score = worst.ok_or_else(|| outputs::shape(output, "anomaly", "at least one score"))?;
        let anomaly = match self.direction {
            Direction::Above => score > self.threshold,
            Direction::Below => score < self.threshold,
        };
        Ok(Decoded {
            score: Some(score),
            anomaly: Some(anomaly),
            ..Decoded::default()
        })
    }
}

impl Regression {
    pub(super) fn apply(&self, outputs: &[NamedTensor<'_>]) -> Result<Decoded, DecodeError> {
        let output = outputs::find(outputs, self.output.as_deref())?;
        let numbers = outputs::doubles(output)?;
        let names = (!self.names.is_empty()).then_some(self.names.len());
        check_names(output, names, numbers.len())?;
        if numbers.len() > RAW_ELEMENTS_MAX {
            let expected = format!("at most {RAW_ELEMENTS_MAX} numbers");
            return Err(outputs::shape(output, "regression", &expected));
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(not_finite(output));
        }
        let is_single = numbers.len() == 1;
        let values = numbers.into_iter().enumerate().map(|(index, value)| Value {
            name: match self.names.get(index) {
                Some(name) => name.clone(),
                None if is_single => output.name.to_owned(),
                None => format!("{} {index}", output.name),
            },
            value,
            unit: self.unit.clone(),
        });
        Ok(Decoded {
            values: values.collect(),
            ..Decoded::default()
        })
    }
}

/// The outputs as they are.
pub(super) fn raw(outputs: &[NamedTensor<'_>]) -> Result<Decoded, DecodeError> {
    let outputs = outputs.iter().map(|output| {
        let elements = output
            .data
            .first(RAW_ELEMENTS_MAX)
            .map_err(|problem| outputs::elements(output, problem))?;
        let (data, told) = match elements {
            Elements::Integers(all) => {
                let told = all.len();
                (Data::Integers(all), told)
            }
            Elements::Numbers(all) => {
                let told = all.len();
                let finite = |number: f64| number.is_finite().then_some(number);
                (Data::Numbers(all.into_iter().map(finite).collect()), told)
            }
            Elements::Texts(all) => {
                let told = all.len();
                (Data::Texts(all), told)
            }
        };
        let count = output.data.count().or(outputs::count(output.shape));
        Ok(Output {
            name: output.name.to_owned(),
            shape: output.shape.to_vec(),
            data,
            left_out: count.unwrap_or(told).saturating_sub(told),
        })
    });
    Ok(Decoded {
        outputs: outputs.collect::<Result<_, DecodeError>>()?,
        ..Decoded::default()
    })
}

fn check_names(
    output: &NamedTensor<'_>,
    names: Option<usize>,
    expected: usize,
) -> Result<(), DecodeError> {
    match names {
        Some(found) if found != expected => Err(DecodeError::Names {
            output: output.name.to_owned(),
            expected,
            found,
        }),
        Some(_) | None => Ok(()),
    }
}

fn not_finite(output: &NamedTensor<'_>) -> DecodeError {
    DecodeError::NotFinite {
        output: output.name.to_owned(),
    }
}

/// Over finite numbers; the largest is subtracted first, so that none overflows.
fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for score in &mut *scores {
        *score = (*score - largest).exp();
    }
    let sum: f64 = scores.iter().sum();
    for score in scores {
        *score /= sum;
    }
}
