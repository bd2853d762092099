//! A sum of numbers that does not depend on the order they came in.
//!
//! Floating-point addition rounds after every step, so its result depends on order and grouping.
//! Here every number is rounded once, to a multiple of 2^-32 (2.3e-10), and then added as an
//! integer. Numbers beyond +-2^53 count as +-2^53, so 2^42 of the largest ones fit into 127 bits;
//! should a hostile sum overflow, it wraps, which is associative too.

/// Units in 1.
const UNITS: f64 = 4_294_967_296.0;

/// Largest magnitude that counts in full: 2^53, above which an `f64` has no fraction anyway.
const MAGNITUDE_MAX: f64 = 9_007_199_254_740_992.0;

/// Below it, units fit into an `i64` with room to round.
const UNITS_FAST_MAX: f64 = 4_611_686_018_427_387_904.0;

/// As [`f64::round`], half away from zero, without a call into a library where the processor has no such instruction.
fn rounded(units: f64) -> i64 {
    let whole = units as i64;
    // Exact: beyond 2^53 there is no rest.
    let rest = units - whole as f64;
    whole + i64::from(rest >= 0.5) - i64::from(rest <= -0.5)
}

/// A sum in units of 2^-32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(i128);

impl Sum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, value: f64) {
        let units = value * UNITS;
        // What is measured is seldom larger, and the conversion to 128 bits takes as long as all the rest.
        let units = if units.abs() < UNITS_FAST_MAX {
            i128::from(rounded(units))
        } else {
            (value.clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX) * UNITS).round() as i128
        };
        self.0 = self.0.wrapping_add(units);
    }

    /// In units of 2^-32.
    pub(crate) fn units(self) -> i128 {
        self.0
    }

    /// From units of 2^-32.
    pub(crate) fn of_units(units: i128) -> Self {
        Self(units)
    }

    /// The sum of `count` times the same number.
    pub(crate) fn times(value: f64, count: u64) -> Self {
        let mut one = Self::default();
        one.add(value);
        Self(one.0.wrapping_mul(i128::from(count)))
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    pub(crate) fn get(self) -> f64 {
        self.0 as f64 / UNITS
    }

    /// As the first stored form had it: little-endian two's complement without the bytes that only repeat the sign.
    #[cfg(test)]
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let bytes = self.0.to_le_bytes();
        let sign: u8 = if self.0 < 0 { 0xff } else { 0 };
        let mut length = bytes.len();
        while length > 0 && bytes[length - 1] == sign {
            let sign_stays =
                length == 1 && sign == 0 || length > 1 && (bytes[length - 2] ^ sign) & 0x80 == 0;
            if !sign_stays {
                break;
            }
            length -= 1;
        }
        bytes[..length].to_vec()
    }

    /// `None` when there are more bytes than a sum has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 16];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(i128::from_le_bytes(all)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for value in values {
            sum.add(*value);
        }
        sum
    }

    #[test]
    fn a_large_number_does_not_swallow_small_ones() {
        let values = [1e15, 0.1, -1e15];
        assert!((of(&values).get() - 0.1).abs() < 1e-9);
        assert_eq!(of(&values), of(&[0.1, 1e15, -1e15]));
        assert_eq!(of(&[f64::MAX]).get(), MAGNITUDE_MAX);
    }

    #[test]
    fn the_stored_form_is_as_short_as_the_sum() {
        for (units, length) in [
            (0, 0),
            (1, 1),
            (127, 1),
            (128, 2),
            (-1, 1),
            (-128, 1),
            (-129, 2),
        ] {
            assert_eq!(Sum(units).to_bytes().len(), length, "{units}");
        }
        assert_eq!(Sum::from_bytes(&[0; 17]), None);
    }

    proptest! {
        #[test]
        fn the_short_way_to_round_gives_what_the_library_gives(bits: u64, small in -4.0..4.0_f64) {
            let any = f64::from_bits(bits);
            let half = small.trunc() + 0.5;
            for value in [any, small, half, half.next_down(), half.next_up(), -half] {
                if value.abs() < UNITS_FAST_MAX {
                    prop_assert_eq!(rounded(value), value.round() as i64, "{}", value);
                }
            }
        }

        #[test]
        fn the_stored_form_round_trips(units: i128, shift in 0_u32..127) {
            let sum = Sum(units >> shift);
            prop_assert_eq!(Sum::from_bytes(&sum.to_bytes()), Some(sum));
        }
    }
}
