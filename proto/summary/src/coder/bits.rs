//! One bit at a time, by how likely it was.

/// The interval's quarters: below, inside and above the middle half.
const QUARTER: u32 = 1 << 30;
const HALF: u32 = 2 * QUARTER;
const THREE_QUARTERS: u32 = 3 * QUARTER;

/// Probabilities are in units of 2^-16.
const PROBABILITY_BITS: u32 = 16;

/// Probability of a bit that nothing is known of.
const EVEN: u32 = 1 << (PROBABILITY_BITS - 1);

/// When a context has seen this often the same bit, it halves what it knows: it forgets slowly.
const SEEN_MAX: u8 = 250;

/// What was seen of one bit of one context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    zeros: u8,
    ones: u8,
}

impl Context {
    /// As if that many had been seen.
    pub(super) const fn new(zeros: u8, ones: u8) -> Self {
        Self { zeros, ones }
    }

    /// Probability of a 1: `(ones + 1/2) / (seen + 1)`.
    fn one(self) -> u32 {
        let (zeros, ones) = (u32::from(self.zeros), u32::from(self.ones));
        ((2 * ones + 1) << PROBABILITY_BITS) / (2 * (zeros + ones) + 2)
    }

    fn learn(&mut self, bit: u64) {
        let seen = if bit == 1 {
            &mut self.ones
        } else {
            &mut self.zeros
        };
        *seen += 1;
        if *seen >= SEEN_MAX {
            (self.zeros, self.ones) = (self.zeros / 2, self.ones / 2);
        }
    }
}

/// Writes bits.
#[derive(Debug)]
pub(crate) struct Encoder {
    low: u32,
    high: u32,
    /// Bits that are the reverse of the next one.
    pending: u32,
    bytes: Vec<u8>,
    /// Bits in the last byte.
    filled: u32,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            low: 0,
            high: u32::MAX,
            pending: 0,
            bytes: Vec::new(),
            filled: 8,
        }
    }

    /// The lowest `bits` bits of `value`, at what they cost: one each.
    pub(crate) fn raw(&mut self, value: u64, bits: u32) {
        for at in (0..bits).rev() {
            self.encode(value >> at & 1, EVEN);
        }
    }

    pub(super) fn bit(&mut self, context: &mut Context, bit: u64) {
        self.encode(bit, context.one());
        context.learn(bit);
    }

    /// The bytes. Zeros at the end are left out: a decoder reads them anyway.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.pending += 1;
        self.put(u8::from(self.low >= QUARTER));
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }

    fn encode(&mut self, bit: u64, one: u32) {
        let split = split(self.low, self.high, one);
        if bit == 1 {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        loop {
            if self.high < HALF {
                self.put(0);
            } else if self.low >= HALF {
                self.put(1);
            } else if self.low >= QUARTER && self.high < THREE_QUARTERS {
                self.pending += 1;
                self.low -= QUARTER;
                self.high -= QUARTER;
            } else {
                return;
            }
            // The top bit is settled or was moved out above; it falls off here.
            self.low <<= 1;
            self.high = self.high << 1 | 1;
        }
    }

    /// One settled bit and the pending ones behind it.
    fn put(&mut self, bit: u8) {
        self.push(bit);
        while self.pending > 0 {
            self.pending -= 1;
            self.push(1 - bit);
        }
    }

    fn push(&mut self, bit: u8) {
        if self.filled == 8 {
            self.bytes.push(0);
            self.filled = 0;
        }
        self.filled += 1;
        if let Some(last) = self.bytes.last_mut() {
            *last |= bit << (8 - self.filled);
        }
    }
}

/// Reads what an [`Encoder`] wrote.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    low: u32,
    high: u32,
    value: u32,
    bytes: &'a [u8],
    /// The next bit to read.
    next: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            low: 0,
            high: u32::MAX,
            value: 0,
            bytes,
            next: 0,
        };
        for _ in 0..u32::BITS {
            decoder.shift();
        }
        decoder
    }

    /// The next `bits` bits.
    pub(crate) fn raw(&mut self, bits: u32) -> u64 {
        (0..bits).fold(0, |value, _| value << 1 | self.decode(EVEN))
    }

    pub(super) fn bit(&mut self, context: &mut Context) -> u64 {
        let bit = self.decode(context.one());
        context.learn(bit);
        bit
    }

    fn decode(&mut self, one: u32) -> u64 {
        let split = split(self.low, self.high, one);
        let bit = u64::from(self.value <= split);
        if bit == 1 {
            self.high = split;
        } else {
            self.low = split + 1;
        }
        loop {
            let settled = self.high < HALF || self.low >= HALF;
            if !settled && self.low >= QUARTER && self.high < THREE_QUARTERS {
                self.low -= QUARTER;
                self.high -= QUARTER;
                self.value -= QUARTER;
            } else if !settled {
                return bit;
            }
            self.low <<= 1;
            self.high = self.high << 1 | 1;
            self.shift();
        }
    }

    fn shift(&mut self) {
        let byte = self.bytes.get(self.next / 8).copied().unwrap_or(0);
        let bit = byte >> (7 - self.next % 8) & 1;
        self.next += 1;
        self.value = self.value << 1 | u32::from(bit);
    }
}

/// Where the interval is divided: at and below it is a 1. The interval is longer than a quarter of everything, so both
/// sides have numbers in them.
fn split(low: u32, high: u32, one: u32) -> u32 {
    let length = u64::from(high - low) + 1;
    low + (((length * u64::from(one)) >> PROBABILITY_BITS) - 1) as u32
}
