//! Rows as the model was trained on them, and as they came.

use edge_core::sensors::Scaling;
use millwright_package::Profile;
use millwright_pipeline::{Order, Scale, Window};
use thiserror::Error;

/// Why rows cannot be scaled by the profile of a package.
#[derive(Debug, Error, PartialEq, Eq)]
pub(in crate::pipeline) enum ScaleError {
    #[error(
        "`scale: profile` needs a profile with features in the model's package, and this one has none: write means and \
         deviations as `scale: {{standard: ..}}`"
    )]
    NoProfile,
    #[error(
        "`scale: profile` needs a profile of what sensors say, and that of this package is of what the model gets in \
         `{0}`: take `input` out of profile.json if its numbers are not scaled yet, or leave `scale` out if they are"
    )]
    OfTheInput(String),
    #[error(
        "the profile of the model's package has {profile} features, and the pipeline gives {fields} fields: name those \
         of the profile under `fields`: {names}"
    )]
    Count {
        profile: usize,
        fields: usize,
        names: String,
    },
    #[error(
        "the fields are those of the profile of the model's package in another order: write `fields: [{0}]`"
    )]
    Order(String),
}

/// What is done to the rows of one pipeline for one model.
#[derive(Debug)]
pub(super) struct RowScale {
    scaling: Scaling,
    fields: usize,
}

impl RowScale {
    /// How `scale` changes rows of `fields`, for a model whose package has `profile`.
    pub(super) fn of(
        scale: &Scale,
        fields: &[String],
        profile: Option<&Profile>,
    ) -> Result<Self, ScaleError> {
        let scaling = match scale {
            Scale::Profile => by_profile(fields, profile)?,
            Scale::Standard(standard) => Scaling::standard(&standard.mean, &standard.std),
            Scale::Range(range) => Scaling::range(&range.min, &range.max),
        };
        let fields = fields.len();
        Ok(Self { scaling, fields })
    }

    /// Scales rows, or the values of a window.
    pub(super) fn apply(&self, values: &mut [f64], window: Option<Window>) {
        if window.is_some_and(|window| window.order == Order::Fields) {
            self.scaling.apply_by_field(values, self.fields);
        } else {
            values
                .chunks_mut(self.fields.max(1))
                .for_each(|row| self.scaling.apply(row));
        }
    }
}

fn by_profile(fields: &[String], profile: Option<&Profile>) -> Result<Scaling, ScaleError> {
    let profile = profile.filter(|profile| !profile.features().is_empty());
    let profile = profile.ok_or(ScaleError::NoProfile)?;
    if let Some(input) = profile.input() {
        return Err(ScaleError::OfTheInput(input.to_owned()));
    }
    let features = profile.features();
    let names = || {
        let names: Vec<&str> = features.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    if features.len() != fields.len() {
        return Err(ScaleError::Count {
            profile: features.len(),
            fields: fields.len(),
            names: names(),
        });
    }
    // Fields may be called otherwise than the columns of the samples; the same names elsewhere are a mistake.
    let known = |field: &String| features.iter().any(|(name, _)| name == field);
    let in_order = features
        .iter()
        .zip(fields)
        .all(|((name, _), field)| name == field);
    if !in_order && fields.iter().all(known) {
        return Err(ScaleError::Order(names()));
    }
    let mean: Vec<f64> = features.iter().map(|(_, of)| of.mean).collect();
    let std: Vec<f64> = features.iter().map(|(_, of)| of.std).collect();
    Ok(Scaling::standard(&mean, &std))
}

/// Rows as they came, one after another: what a profile without an input is of.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pipeline) struct RawRows {
    values: Vec<f64>,
    fields: usize,
}

impl RawRows {
    /// Those rows of an input that were in none before: windows may overlap. `None`: it has no whole rows.
    pub(super) fn of(values: &[f64], fields: usize, window: Option<Window>) -> Option<Self> {
        if fields == 0 || values.is_empty() || !values.len().is_multiple_of(fields) {
            return None;
        }
        let rows = values.len() / fields;
        let step = window.and_then(|window| window.step);
        let new = step.map_or(rows, |step| rows.min(step as usize));
        let by_field = window.is_some_and(|window| window.order == Order::Fields);
        let at = |row: usize, field: usize| {
            if by_field {
                values[field * rows + row]
            } else {
                values[row * fields + field]
            }
        };
        let values = (rows - new..rows).flat_map(|row| (0..fields).map(move |field| (row, field)));
        Some(Self {
            values: values.map(|(row, field)| at(row, field)).collect(),
            fields,
        })
    }

    /// Each row.
    pub(in crate::pipeline) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.fields)
    }
}

#[cfg(test)]
mod tests;
