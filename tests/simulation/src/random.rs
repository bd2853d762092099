//! The only source of chance in a run: everything follows from the seed.

/// Seeded random numbers.
#[derive(Debug)]
pub(crate) struct Random(fastrand::Rng);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0.u64(..limit)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    /// An index of something with `length` elements, which must not be 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.0.usize(..length)
    }

    /// True once in `chances` times.
    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// Between `low` and `high` with short ones far more often: uniform in the exponent.
    pub(crate) fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let mut top = high;
        while top > low.saturating_mul(2) && self.one_in(2) {
            top /= 2;
        }
        self.between(low, top.max(low))
    }
}
