//! Which bucket a magnitude belongs to, and which magnitude stands for a bucket.
//!
//! A logarithm would do, but it is slow and not the same on every machine. Instead log2 is
//! interpolated between powers of two by a cubic, as in the authors' own library (DataDog
//! sketches-java, `CubicallyInterpolatedMapping`): for `x = 2^e * (1 + s)`, `0 <= s < 1`,
//!
//! ```text
//!  L(x) = e + P(s),   P(s) = 6/35 s^3 - 3/5 s^2 + 10/7 s,   P(0) = 0, P(1) = 1
//!  index(x) = ceil(35 L(x)) = 35 e + ceil(35 P(s))
//! ```
//!
//! Error: `x dL/dx = (1 + s) P'(s)` is never below 10/7 (its value at `s = 0`), so a bucket spans at
//! most `ln(upper / lower) = 1 / (35 * 10/7) = 0.02`. The magnitude `v = 2 l u / (l + u)` is off by
//! the same relative amount at both ends, `(u - l) / (u + l) = tanh(0.02 / 2) = 0.0099997 < 1 %`.
//! The price is 1 % more buckets than with a true logarithm.
//!
//! An index takes only bit operations, addition and multiplication, which IEEE 754 fixes to the last
//! bit: the same number is in the same bucket on every processor.

/// Buckets from one power of two to the next.
const PER_OCTAVE: i32 = 35;

/// Bits of an `f64` after the exponent.
const MANTISSA_BITS: u32 = 52;

/// What an exponent is stored with added to it.
const EXPONENT_BIAS: i32 = 1023;

/// Index of the smallest normal magnitude, 2^-1022.
pub(super) const INDEX_MIN: i32 = -1022 * PER_OCTAVE;

/// No finite magnitude has a higher index.
pub(super) const INDEX_MAX: i32 = 1024 * PER_OCTAVE;

fn cubic(s: f64) -> f64 {
    ((6.0 / 35.0 * s - 3.0 / 5.0) * s + 10.0 / 7.0) * s
}

/// The bucket of a finite magnitude; `None` for zero. Subnormal magnitudes (below 2.2e-308) are zero.
pub(super) fn index(magnitude: f64) -> Option<i32> {
    let bits = magnitude.to_bits();
    let exponent = (bits >> MANTISSA_BITS) as i32;
    if exponent == 0 {
        return None;
    }
    // The same mantissa with exponent 0 is 1 + s.
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    let s = f64::from_bits(mantissa | ((EXPONENT_BIAS as u64) << MANTISSA_BITS)) - 1.0;
    let within = f64::from(PER_OCTAVE) * cubic(s);
    // The ceiling of a number that is not negative, without a call into a library on older processors.
    let whole = within as i32;
    let within = whole + i32::from(within > f64::from(whole));
    Some((exponent - EXPONENT_BIAS) * PER_OCTAVE + within)
}

/// The magnitude that stands for a bucket.
pub(super) fn value(index: i32) -> f64 {
    let (lower, upper) = (bound(index - 1), bound(index));
    // As 2 l u / (l + u), but without overflow at the upper end.
    2.0 * lower / (1.0 + lower / upper)
}

/// The upper bound of a bucket, `L^-1(index / 35)`.
fn bound(index: i32) -> f64 {
    let exponent = index.div_euclid(PER_OCTAVE);
    let target = f64::from(index.rem_euclid(PER_OCTAVE)) / f64::from(PER_OCTAVE);
    // P grows, so bisection finds s; 53 halvings reach the last bit.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..53 {
        let middle = (low + high) / 2.0;
        if cubic(middle) < target {
            low = middle;
        } else {
            high = middle;
        }
    }
    let s = if target == 0.0 { 0.0 } else { high };
    (1.0 + s) * f64::from(exponent).exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sketch::RELATIVE_ERROR;

    #[test]
    fn powers_of_two_close_their_bucket() {
        assert_eq!(index(1.0), Some(0));
        assert_eq!(index(1.0 + f64::EPSILON), Some(1));
        assert_eq!(index(2.0), Some(PER_OCTAVE));
        assert_eq!(index(2.0_f64.powi(-1022)), Some(INDEX_MIN));
        assert_eq!(index(f64::MAX), Some(INDEX_MAX));
        assert_eq!(index(0.0), None);
        assert_eq!(index(f64::MIN_POSITIVE / 2.0), None);
    }

    #[test]
    fn a_finer_mapping_is_not_needed_and_a_coarser_one_would_not_do() {
        let slope = |s: f64| (1.0 + s) * (18.0 / 35.0 * s * s - 6.0 / 5.0 * s + 10.0 / 7.0);
        let lowest = (0..=1_000_000)
            .map(|i| slope(f64::from(i) / 1e6))
            .fold(f64::MAX, f64::min);
        let error = |per_octave: f64| (0.5 / (per_octave * lowest)).tanh();
        assert!(error(f64::from(PER_OCTAVE)) < RELATIVE_ERROR);
        assert!(error(f64::from(PER_OCTAVE - 1)) > RELATIVE_ERROR);
    }

    proptest! {
        #[test]
        fn what_stands_for_a_bucket_is_within_the_error(bits: u64) {
            let magnitude = f64::from_bits(bits & !(1 << 63));
            prop_assume!(magnitude.is_normal() && magnitude < f64::MAX / 2.0);
            let index = index(magnitude).unwrap();
            prop_assert!((INDEX_MIN..=INDEX_MAX).contains(&index));
            let error = (value(index) / magnitude - 1.0).abs();
            prop_assert!(error <= RELATIVE_ERROR, "{magnitude} {error}");
        }
    }
}
