//! `profile.json`: what a model's inputs and outputs looked like when it was made.
//!
//! ```text
//! rows of sample data ──Builder──▶ Profile ──to_json──▶ profile.json ──parse──▶ Profile
//!                                                                                 │ row, of: which bin
//!                            BaselineCounts (millwright-summary) ◀── the agent ───┘
//!                                     └── compare ──▶ PSI, KS and a verdict for each distribution
//! ```
//!
//! Holds, for every feature, picture quality and the confidence, the edges of at most ten bins (deciles) with the share
//! each had, and the share of every class. A node counts in the same bins; only counts leave it, never values. The order
//! of [`Profile::distributions`] is the order of the rows of those counts; the fingerprint binds them to this file.
//!
//! Takes hostile input: bounded before it is parsed, an error names the field and how to mend it, no panic.

mod build;
mod compare;
mod distribution;
mod document;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use millwright_document::DocumentError;
use millwright_proto::Digest;
use millwright_proto::ids::ModelVersion;
use millwright_summary::BaselineCounts;
use thiserror::Error;

pub use build::{BUILD_ROWS_MAX, BuildError, Builder};
pub use compare::{Difference, worst};
pub use distribution::{Distribution, EDGES_MAX};

/// Largest profile, in bytes: 64 features of ten bins have about 40 KiB.
pub const PROFILE_BYTES_MAX: usize = 256 * 1024;

/// Most features. More are a picture or a text, whose single elements mean nothing.
pub const FEATURES_MAX: usize = 64;

/// Longest name of a feature, in bytes.
pub(crate) const FEATURE_NAME_BYTES_MAX: usize = 64;

/// Most classes with a share of their own: as many as a window carries, less the rest.
pub const CLASSES_MAX: usize = millwright_summary::classes::CLASSES_SENT_MAX - 1;

/// Number of the schema this program reads and writes.
pub(crate) const SCHEMA: u32 = 1;

/// Names of the picture qualities, in the order of their rows.
pub const IMAGE_NAMES: [&str; 3] = ["image.brightness", "image.contrast", "image.sharpness"];

/// Name of the confidence among the distributions.
pub const CONFIDENCE_NAME: &str = "output.confidence";

/// Name of the classes among the differences.
pub const CLASSES_NAME: &str = "output.classes";

/// Why a profile was refused.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Over [`PROFILE_BYTES_MAX`].
    #[error("{origin}: profile of {bytes} bytes is over the limit of {PROFILE_BYTES_MAX}")]
    TooLong {
        /// Where it came from.
        origin: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// Not JSON, or with other keys or types than a profile has.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Well formed, but it cannot be meant.
    #[error("{origin}: {field} {problem}; make it anew from sample data")]
    Field {
        /// Where it came from.
        origin: String,
        /// Path of the key at fault, for example `features[2].edges`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What a model's inputs and outputs looked like when it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    model: ModelVersion,
    input: Option<String>,
    features: Vec<(String, Distribution)>,
    image: Option<[Distribution; 3]>,
    confidence: Option<Distribution>,
    classes: Option<ClassShares>,
    fingerprint: u64,
}

/// How often which class came out.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassShares {
    /// Answers counted.
    pub count: u64,
    /// Share of each class told apart; what is missing to 1 is the rest.
    pub shares: BTreeMap<u32, f64>,
}

impl Profile {
    /// Reads a profile; `origin` names it in errors, for example the path of the file.
    ///
    /// # Errors
    /// When it is too long, is not JSON, has an unknown key, or a value cannot be meant.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        if text.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLong {
                origin: origin.to_owned(),
                bytes: text.len(),
            });
        }
        let document: document::BaselineProfile = millwright_document::json(text, origin)?;
        let mut profile = document.check().map_err(|error| ProfileError::Field {
            origin: origin.to_owned(),
            field: error.field,
            problem: error.problem,
        })?;
        profile.fingerprint = fingerprint(text);
        Ok(profile)
    }

    /// The file.
    #[must_use]
    pub fn to_json(&self) -> String {
        document::BaselineProfile::of(self).to_json()
    }

    /// The model version it is of.
    #[must_use]
    pub const fn model(&self) -> &ModelVersion {
        &self.model
    }

    /// The input tensor whose last dimension are the features; `None` when a pipeline makes them.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        self.input.as_deref()
    }

    /// Names and distributions of the features.
    #[must_use]
    pub fn features(&self) -> &[(String, Distribution)] {
        &self.features
    }

    /// How often which class came out, where the model has classes.
    #[must_use]
    pub const fn classes(&self) -> Option<&ClassShares> {
        self.classes.as_ref()
    }

    /// Every distribution with its name, in the order of the rows of its counts.
    pub fn distributions(&self) -> impl Iterator<Item = (&str, &Distribution)> {
        let features = self.features.iter().map(|(name, of)| (name.as_str(), of));
        let image = IMAGE_NAMES.into_iter().zip(self.image.iter().flatten());
        let confidence = self.confidence.iter().map(|of| (CONFIDENCE_NAME, of));
        features.chain(image).chain(confidence)
    }

    /// Empty counts of every distribution.
    #[must_use]
    pub fn counts(&self) -> BaselineCounts {
        BaselineCounts {
            profile: self.fingerprint,
            rows: self.distributions().map(|(_, of)| of.counts()).collect(),
        }
    }

    /// Counts one row of features; a row of another length counts nothing.
    pub fn count_features(&self, values: &[f64], counts: &mut BaselineCounts) {
        if values.len() == self.features.len() {
            let into = counts.rows.iter_mut();
            for (((_, of), value), row) in self.features.iter().zip(values).zip(into) {
                of.count(*value, row);
            }
        }
    }

    /// Counts the brightness, contrast and sharpness of one picture.
    pub fn count_image(&self, qualities: [f64; 3], counts: &mut BaselineCounts) {
        let rows = counts.rows.iter_mut().skip(self.features.len());
        for ((of, value), row) in self.image.iter().flatten().zip(qualities).zip(rows) {
            of.count(value, row);
        }
    }

    /// Counts one confidence.
    pub fn count_confidence(&self, confidence: f64, counts: &mut BaselineCounts) {
        if let (Some(of), Some(row)) = (&self.confidence, counts.rows.last_mut()) {
            of.count(confidence, row);
        }
    }
}

/// Binds counts to the file. Never 0, which means no profile.
fn fingerprint(text: &str) -> u64 {
    let digest = Digest::of(text.as_bytes());
    let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first).max(1)
}
