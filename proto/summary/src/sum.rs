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

/// A sum in units of 2^-32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(i128);

impl Sum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, value: f64) {
        let units = value.clamp(-MAGNITUDE_MAX, MAGNITUDE_MAX) * UNITS;
        self.0 = self.0.wrapping_add(units.round() as i128);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    pub(crate) fn get(self) -> f64 {
        self.0 as f64 / UNITS
    }

    /// Little-endian two's complement without the bytes that only repeat the sign.
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
        fn the_stored_form_round_trips(units: i128, shift in 0_u32..127) {
            let sum = Sum(units >> shift);
            prop_assert_eq!(Sum::from_bytes(&sum.to_bytes()), Some(sum));
        }
    }
}
