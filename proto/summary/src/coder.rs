//! Numbers as bits, close to how much they really say: an adaptive binary arithmetic coder.
//!
//! A window is sent every minute over links that are paid by the byte, and most of it are counts that resemble their
//! neighbours. The coder is the classic one (Witten, Neal, Cleary: "Arithmetic coding for data compression", CACM 30(6),
//! 1987) with two symbols; each context estimates its bit from what it has seen (Krichevsky and Trofimov). It computes
//! with integers only, so that the same numbers are the same bytes on every machine.
//!
//! The decoder takes hostile bytes: beyond their end it reads zeros, every loop has a bound, and a number out of range is
//! `None`.

mod bits;
mod counts;

pub(crate) use bits::{Decoder, Encoder};
pub(crate) use counts::Counts;

use crate::sum::Sum;

/// Bits of the fraction of an `f64`.
const FRACTION_BITS: u32 = 52;

/// Largest exponent field of a finite `f64`.
const EXPONENT_MAX: u64 = 2046;

/// What an exponent is stored with added to it.
const EXPONENT_BIAS: u64 = 1023;

impl Encoder {
    /// A whole number; costs about `2 log2(value >> order) + order` bits, the least where `value < 2^order`.
    pub(crate) fn whole(&mut self, value: u64, order: u32) {
        let shifted = value.saturating_add(1 << order);
        let length = 63 - shifted.leading_zeros();
        for _ in order..length {
            self.raw(1, 1);
        }
        self.raw(0, 1);
        self.raw(shifted & !(1 << length), length);
    }

    /// A whole number of either sign, as [`Encoder::whole`].
    pub(crate) fn signed(&mut self, value: i64, order: u32) {
        self.whole((value << 1 ^ value >> 63).cast_unsigned(), order);
    }

    /// A finite number; short when it has few binary places.
    pub(crate) fn number(&mut self, value: f64) {
        let bits = value.to_bits();
        self.raw(u64::from(bits == 0), 1);
        if bits == 0 {
            return;
        }
        let exponent = bits >> FRACTION_BITS & 0x7ff;
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        self.raw(bits >> 63, 1);
        self.signed(exponent.cast_signed() - EXPONENT_BIAS.cast_signed(), 3);
        let length = FRACTION_BITS - fraction.trailing_zeros().min(FRACTION_BITS);
        self.raw(u64::from(length), 6);
        if length > 0 {
            // The last bit is 1, by the meaning of the length.
            self.raw(fraction >> (FRACTION_BITS - length) >> 1, length - 1);
        }
    }

    /// A sum; short when what was added has few binary places.
    pub(crate) fn sum(&mut self, sum: Sum) {
        let units = sum.units();
        let magnitude = units.unsigned_abs();
        if magnitude == 0 {
            return self.raw(0, 7);
        }
        let zeros = magnitude.trailing_zeros();
        let length = 128 - magnitude.leading_zeros() - zeros;
        self.raw(u64::from(length.min(127)), 7);
        self.raw(u64::from(length == 128), u32::from(length >= 127));
        self.raw(u64::from(units < 0), 1);
        self.raw(u64::from(zeros), 7);
        let odd = magnitude >> zeros;
        self.raw((odd >> 64) as u64, length.saturating_sub(64));
        self.raw(odd as u64, length.min(64));
    }
}

impl Decoder<'_> {
    /// The reverse of [`Encoder::whole`].
    pub(crate) fn whole(&mut self, order: u32) -> Option<u64> {
        let mut length = order;
        while self.raw(1) == 1 {
            length += 1;
            if length > 63 {
                return None;
            }
        }
        let shifted = 1 << length | self.raw(length);
        Some(shifted - (1 << order))
    }

    /// The reverse of [`Encoder::signed`].
    pub(crate) fn signed(&mut self, order: u32) -> Option<i64> {
        let value = self.whole(order)?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The reverse of [`Encoder::number`].
    pub(crate) fn number(&mut self) -> Option<f64> {
        if self.raw(1) == 1 {
            return Some(0.0);
        }
        let sign = self.raw(1);
        let exponent = self.signed(3)?.checked_add(EXPONENT_BIAS.cast_signed())?;
        let exponent = u64::try_from(exponent).ok()?;
        let length = self.raw(6) as u32;
        if exponent > EXPONENT_MAX || length > FRACTION_BITS {
            return None;
        }
        let fraction = match length {
            0 => 0,
            _ => (self.raw(length - 1) << 1 | 1) << (FRACTION_BITS - length),
        };
        Some(f64::from_bits(
            sign << 63 | exponent << FRACTION_BITS | fraction,
        ))
    }

    /// The reverse of [`Encoder::sum`].
    pub(crate) fn sum(&mut self) -> Option<Sum> {
        let mut length = self.raw(7) as u32;
        if length == 0 {
            return Some(Sum::default());
        }
        if length == 127 {
            length += self.raw(1) as u32;
        }
        let negative = self.raw(1) == 1;
        let zeros = self.raw(7) as u32;
        let high = u128::from(self.raw(length.saturating_sub(64)));
        let odd = high << 64 | u128::from(self.raw(length.min(64)));
        if length + zeros > 128 {
            return None;
        }
        let units = (odd << zeros).cast_signed();
        Some(Sum::of_units(if negative {
            units.wrapping_neg()
        } else {
            units
        }))
    }
}

#[cfg(test)]
mod tests;
