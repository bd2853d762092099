//! Bins of one distribution, and what was in them.

use millwright_summary::Histogram;
use serde::{Deserialize, Serialize};

use super::document::{FieldError, refuse};

/// Most edges. Nine make the ten bins that PSI is usually computed over; more are for those who make their own.
pub const EDGES_MAX: usize = millwright_summary::baseline::BINS_MAX - 1;

/// Shares may miss 1 by this much: they are written with six digits by some.
const SHARES_TOLERANCE: f64 = 1e-3;

/// One distribution of the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Where a bin ends and the next begins, ascending: a value equal to an edge is in the upper one. The first and the
    /// last bin are open.
    pub edges: Vec<f64>,
    /// Share of the values in each bin; one more than edges.
    pub shares: Vec<f64>,
    /// Values counted.
    pub count: u64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
    /// Share of rows in which it was no number.
    #[serde(default)]
    pub missing: f64,
}

impl Distribution {
    /// Empty bins for it.
    #[must_use]
    pub fn counts(&self) -> Histogram {
        Histogram::new(self.shares.len())
    }

    /// Counts one value in `row`. What is no number is missing.
    pub fn count(&self, value: f64, row: &mut Histogram) {
        if !value.is_finite() {
            row.missing = row.missing.saturating_add(1);
            return;
        }
        row.add(self.edges.partition_point(|edge| *edge <= value));
        if value < self.min || value > self.max {
            row.outside = row.outside.saturating_add(1);
        }
    }

    /// Expected shares, those of what is missing first.
    #[must_use]
    pub fn expected(&self) -> Vec<f64> {
        let bins = self.shares.iter().map(|share| share * (1.0 - self.missing));
        std::iter::once(self.missing).chain(bins).collect()
    }

    /// Rows behind it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let share = (1.0 - self.missing).max(f64::EPSILON);
        (self.count as f64 / share) as u64
    }

    pub(super) fn check(&self, field: &str) -> Result<(), FieldError> {
        let at = |key: &str| format!("{field}.{key}");
        if self.edges.len() > EDGES_MAX {
            let problem = format!("has {} edges; at most {EDGES_MAX}", self.edges.len());
            return refuse(at("edges"), problem);
        }
        let ascending = self.edges.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || self.edges.iter().any(|edge| !edge.is_finite()) {
            return refuse(at("edges"), "must be finite numbers in ascending order");
        }
        if self.shares.len() != self.edges.len() + 1 {
            let expected = self.edges.len() + 1;
            let problem = format!("has {} shares; {expected} belong here", self.shares.len());
            return refuse(at("shares"), problem);
        }
        let sum: f64 = self.shares.iter().sum();
        let are_shares = self.shares.iter().all(|share| (0.0..=1.0).contains(share));
        if !are_shares || (sum - 1.0).abs() > SHARES_TOLERANCE {
            return refuse(
                at("shares"),
                format!("must be 0 to 1 each and 1 together, got {sum}"),
            );
        }
        let numbers = [self.min, self.max, self.mean, self.std];
        if numbers.iter().any(|number| !number.is_finite()) || self.min > self.max || self.std < 0.0
        {
            return refuse(
                field,
                "has a min, max, mean or std that no numbers can have",
            );
        }
        if self.count == 0 || !(0.0..1.0).contains(&self.missing) {
            return refuse(field, "was made from no value");
        }
        Ok(())
    }
}
