//! A number that is sampled, like the memory in use: how low, how high and how much on average.

use crate::coder::{Decoder, Encoder};
use crate::sum::Sum;

/// Share of all cores in use, 0 to 100.
pub const CPU_PERCENT: &str = "cpu_percent";
/// Memory in use on the node.
pub const MEMORY_USED_BYTES: &str = "memory_used_bytes";
/// Memory of the node.
pub const MEMORY_TOTAL_BYTES: &str = "memory_total_bytes";
/// Disk in use on the file system of the data directory.
pub const DISK_USED_BYTES: &str = "disk_used_bytes";
/// Size of that file system.
pub const DISK_TOTAL_BYTES: &str = "disk_total_bytes";
/// The hottest thermal zone of the node; absent where the machine has none.
pub const TEMPERATURE_CELSIUS: &str = "temperature_celsius";
/// Memory of the agent and its workers.
pub const AGENT_MEMORY_BYTES: &str = "agent_memory_bytes";

/// Share of the busiest accelerator in use, 0 to 100; absent where the kernel does not tell.
pub const ACCELERATOR_PERCENT: &str = "accelerator_percent";
/// The hottest accelerator; absent where the kernel does not tell.
pub const ACCELERATOR_CELSIUS: &str = "accelerator_celsius";
/// Memory in use on accelerators that have their own.
pub const ACCELERATOR_MEMORY_USED_BYTES: &str = "accelerator_memory_used_bytes";

/// Bytes that the outbox wrote to the disk since midnight: flash wears out by writes.
pub const OUTBOX_WRITTEN_BYTES: &str = "outbox_written_bytes";

/// Samples of one number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    count: u64,
    min: f64,
    max: f64,
    sum: Sum,
}

impl Gauge {
    /// Adds one sample. A sensor that gives no number (NaN, infinity) adds nothing.
    pub fn observe(&mut self, value: f64) {
        if value.is_finite() {
            // Turns -0.0 into 0.0, so that extremes do not depend on which zero came first.
            let value = value + 0.0;
            let mut one = Self {
                count: 1,
                min: value,
                max: value,
                sum: Sum::default(),
            };
            one.sum.add(value);
            self.merge(&one);
        }
    }

    /// Adds the samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other.clone();
            return;
        }
        self.count = crate::add_counts(self.count, other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(other.sum);
    }

    /// Samples taken.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lowest sample; `None` without samples.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The highest sample; `None` without samples.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The sum of all samples, each rounded to 2.3e-10.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum.get()
    }

    /// The average sample; `None` without samples.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum.get() / self.count as f64)
    }

    /// Count, extremes and sum in few bytes; empty without samples.
    pub(crate) fn pack(&self) -> Vec<u8> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut encoder = Encoder::new();
        encoder.whole(self.count - 1, 4);
        encoder.number(self.min);
        encoder.raw(u64::from(self.constant()), 1);
        if !self.constant() {
            encoder.number(self.max);
            encoder.sum(self.sum);
        }
        // A last byte that is never zero, so that no gauge is empty bytes.
        let mut bytes = encoder.finish();
        bytes.push(1);
        bytes
    }

    /// `None` when the bytes cannot have come from samples.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let (last, bytes) = bytes.split_last()?;
        let mut decoder = Decoder::new(bytes);
        let count = decoder.whole(4)?.checked_add(1)?;
        let min = decoder.number()?;
        let (max, sum) = match decoder.raw(1) {
            1 => (min, Sum::times(min, count)),
            _ => (decoder.number()?, decoder.sum()?),
        };
        Self::from_parts(count, min, max, sum).filter(|_| *last == 1)
    }

    /// Whether one number was sampled again and again, so that the rest follows from it.
    fn constant(&self) -> bool {
        self.min.to_bits() == self.max.to_bits() && self.sum == Sum::times(self.min, self.count)
    }

    /// `None` when the parts cannot have come from samples.
    pub(crate) fn from_parts(count: u64, min: f64, max: f64, sum: Sum) -> Option<Self> {
        let sound = (1..=crate::COUNT_MAX).contains(&count)
            && min.is_finite()
            && max.is_finite()
            && min <= max;
        sound.then_some(Self {
            count,
            min: min + 0.0,
            max: max + 0.0,
            sum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_keeps_extremes_and_mean_and_skips_what_is_no_number() {
        let mut gauge = Gauge::default();
        assert_eq!((gauge.min(), gauge.mean(), gauge.max()), (None, None, None));
        for value in [-4.0, f64::NAN, 10.0, f64::INFINITY] {
            gauge.observe(value);
        }
        assert_eq!(gauge.count(), 2);
        assert_eq!(
            (gauge.min(), gauge.mean(), gauge.max()),
            (Some(-4.0), Some(3.0), Some(10.0))
        );
    }

    #[test]
    fn both_zeros_are_the_same_number() {
        for values in [[0.0, -0.0], [-0.0, 0.0]] {
            let mut gauge = Gauge::default();
            values.iter().for_each(|value| gauge.observe(*value));
            let extremes = [gauge.min(), gauge.max()].map(|value| value.map(f64::to_bits));
            assert_eq!(extremes, [Some(0); 2]);
        }
    }
}
