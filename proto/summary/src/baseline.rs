//! Counts in the bins of a package's baseline profile: what of the inputs and outputs leaves a node.
//!
//! The edges belong to the profile, which lies in the package; here are only counts. They add up like any other. A model
//! version has one profile, so counts of different profiles under one version mean that somebody exchanged a package
//! under its name: the profile with the higher fingerprint wins then, whatever the order, and the others are dropped.

/// Bins of one distribution: a profile has ten, classes up to as many as are sent and the rest.
pub const BINS_MAX: usize = 64;

/// Distributions of one profile: 64 features, three qualities of a picture, the confidence.
pub const ROWS_MAX: usize = 68;

/// Counts of one distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bin of the profile.
    pub counts: Vec<u64>,
    /// Values that were no number.
    pub missing: u64,
    /// Of the counted ones, those below the lowest or above the highest value of the baseline.
    pub outside: u64,
}

impl Histogram {
    /// Empty bins.
    #[must_use]
    pub fn new(bins: usize) -> Self {
        Self {
            counts: vec![0; bins.min(BINS_MAX)],
            missing: 0,
            outside: 0,
        }
    }

    /// Counts one value in a bin; one that does not exist counts nothing.
    pub fn add(&mut self, bin: usize) {
        if let Some(count) = self.counts.get_mut(bin) {
            *count = crate::add_counts(*count, 1);
        }
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, count) in self.counts.iter_mut().zip(&other.counts) {
            *own = crate::add_counts(*own, *count);
        }
        self.missing = crate::add_counts(self.missing, other.missing);
        self.outside = crate::add_counts(self.outside, other.outside);
    }

    /// Values counted in bins.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.counts.iter().copied().fold(0, crate::add_counts)
    }
}

/// Counts of every distribution of a profile, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaselineCounts {
    /// Fingerprint of the profile; 0: none.
    pub profile: u64,
    /// One for each distribution.
    pub rows: Vec<Histogram>,
}

impl BaselineCounts {
    /// Adds everything in `other`, if it is of the same profile.
    pub fn merge(&mut self, other: &Self) {
        if other.profile > self.profile {
            self.clone_from(other);
            return;
        }
        if other.profile < self.profile || other.profile == 0 {
            return;
        }
        if self.rows.len() < other.rows.len() {
            self.rows.resize(other.rows.len(), Histogram::default());
        }
        for (own, row) in self.rows.iter_mut().zip(&other.rows) {
            own.merge(row);
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows
            .iter()
            .all(|row| row.samples() == 0 && row.missing == 0)
    }
}
