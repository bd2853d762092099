//! Counts of neighbouring bins, each expected to be as large as the two before it.

use super::bits::{Context, Decoder, Encoder};
use crate::COUNT_MAX;

/// Bit lengths a count can have: 0 for no count, 63 for the largest.
const LENGTH_MAX: u32 = 63;

/// Contexts by the sum of the two bit lengths before, from there on the same.
const SURROUNDINGS: usize = 24;

/// Codes one row of counts. The bit length of each is coded as "longer still?", with what was learnt around rows of the
/// same height; the bits below the highest one as they are.
#[derive(Debug)]
pub(crate) struct Counts {
    longer: [[Context; LENGTH_MAX as usize]; SURROUNDINGS],
    /// Bit lengths of the last two counts.
    before: (u32, u32),
}

impl Counts {
    pub(crate) fn new() -> Self {
        let mut longer = [[Context::new(0, 0); LENGTH_MAX as usize]; SURROUNDINGS];
        for (surrounding, contexts) in longer.iter_mut().enumerate() {
            for (length, context) in contexts.iter_mut().enumerate() {
                // What a count among its like does, before anything is known.
                *context = match (2 * length).cmp(&surrounding) {
                    std::cmp::Ordering::Less => Context::new(1, 5),
                    std::cmp::Ordering::Equal => Context::new(2, 2),
                    std::cmp::Ordering::Greater => Context::new(3, 1),
                };
            }
        }
        Self {
            longer,
            before: (0, 0),
        }
    }

    /// A new row: nothing stands before it.
    pub(crate) fn begin_row(&mut self) {
        self.before = (0, 0);
    }

    pub(crate) fn encode(&mut self, encoder: &mut Encoder, count: u64) {
        let length = u64::BITS - count.min(COUNT_MAX).leading_zeros();
        let contexts = &mut self.longer[surrounding(self.before)];
        for (at, context) in (0..LENGTH_MAX).zip(contexts) {
            encoder.bit(context, u64::from(at < length));
            if at == length {
                break;
            }
        }
        encoder.raw(count, length.saturating_sub(1));
        self.before = (length, self.before.0);
    }

    pub(crate) fn decode(&mut self, decoder: &mut Decoder<'_>) -> u64 {
        let contexts = &mut self.longer[surrounding(self.before)];
        let mut length = 0;
        for context in contexts {
            if decoder.bit(context) == 0 {
                break;
            }
            length += 1;
        }
        let count = match length {
            0 => 0,
            length => 1 << (length - 1) | decoder.raw(length - 1),
        };
        self.before = (length, self.before.0);
        count
    }
}

fn surrounding((last, last_but_one): (u32, u32)) -> usize {
    ((last + last_but_one) as usize).min(SURROUNDINGS - 1)
}
