//! A quantile sketch with 1 % relative error, mergeable in any order.
//!
//! The idea is DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch
//! with relative-error guarantees", PVLDB 12(12), 2019): numbers are counted in buckets whose
//! bounds grow by a constant factor, so that every number in a bucket is within a constant relative
//! distance of the one that stands for it. Which bucket, see `mapping`; how counts are kept within
//! a bound, see `buckets`.
//!
//! Magnitudes of negative numbers have buckets of their own, zero has a counter. NaN and infinity
//! are counted apart and are not part of [`Sketch::count`].
//!
//! What holds for every sketch, however it was merged:
//! * [`Sketch::quantile`] is within 1 % of the exact sample at that rank, as long as that sample's
//!   magnitude is not more than a factor of 2^29 (5e8) below the largest one of its sign (those
//!   below share one bucket, [`BUCKETS_MAX`]);
//! * minimum, maximum and counts are exact; the sum rounds every sample to 2.3e-10.

mod buckets;
mod mapping;
mod packed;
mod stored;

pub use buckets::BUCKETS_MAX;
use buckets::Buckets;
pub(crate) use stored::SketchError;

use crate::sum::Sum;

/// Highest relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;

/// Counts of numbers by magnitude.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    positive: Buckets,
    negative: Buckets,
    zero: u64,
    not_finite: u64,
    count: u64,
    min: f64,
    max: f64,
    sum: Sum,
}

impl Sketch {
    /// A sketch of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one number. Allocates only when the number lies outside of what was seen so far.
    pub fn insert(&mut self, value: f64) {
        if !value.is_finite() {
            self.not_finite = crate::add_counts(self.not_finite, 1);
            return;
        }
        // Turns -0.0 into 0.0, so that extremes do not depend on which zero came first.
        let value = value + 0.0;
        match mapping::index(value.abs()) {
            None => self.zero = crate::add_counts(self.zero, 1),
            Some(index) if value > 0.0 => self.positive.increment(index),
            Some(index) => self.negative.increment(index),
        }
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count = crate::add_counts(self.count, 1);
        self.sum.add(value);
    }

    /// Adds everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.not_finite = crate::add_counts(self.not_finite, other.not_finite);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (other.min, other.max);
        } else {
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
        }
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        self.zero = crate::add_counts(self.zero, other.zero);
        self.count = crate::add_counts(self.count, other.count);
        self.sum.merge(other.sum);
    }

    /// The number at rank `floor(q * (count - 1))` of all numbers in ascending order, within
    /// [`RELATIVE_ERROR`]. `q` is cut to 0..=1; `None` when nothing was counted or `q` is NaN.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || q.is_nan() {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * (self.count - 1) as f64) as u64;
        let ascending = (self.negative.descending())
            .map(|(index, count)| (-mapping::value(index), count))
            .chain([(0.0, self.zero)])
            .chain(
                (self.positive.ascending()).map(|(index, count)| (mapping::value(index), count)),
            );
        let mut seen = 0_u64;
        for (value, count) in ascending {
            seen = seen.saturating_add(count);
            if seen > rank {
                return Some(value.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// Finite numbers counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// NaN and infinities, which are not part of the count.
    #[must_use]
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// The exact lowest number; `None` when nothing was counted.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The exact highest number; `None` when nothing was counted.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The sum of all numbers, each rounded to 2.3e-10 and cut to +-2^53 (9e15).
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum.get()
    }

    /// The mean; `None` when nothing was counted.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.get() / self.count as f64)
    }
}

#[cfg(test)]
mod tests;
