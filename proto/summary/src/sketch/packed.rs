//! A sketch in as few bytes as it says something: what a window carries.

use super::{BUCKETS_MAX, Buckets, Sketch, SketchError, mapping};
use crate::COUNT_MAX;
use crate::coder::{Counts, Decoder, Encoder};

/// Bits that a first index usually has: 35 an octave, so 2^9 are the thirty octaves around 1.
const INDEX_ORDER: u32 = 9;

/// Bits that a span usually has.
const SPAN_ORDER: u32 = 5;

/// Longest packed sketch. Two signs of 1024 buckets of 16 bytes, and the rest of it.
const PACKED_BYTES_MAX: usize = 2 * BUCKETS_MAX * 16 + 256;

impl Sketch {
    /// The packed form; equal sketches have equal bytes. Empty for a sketch of nothing.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.count == 0 && self.not_finite == 0 {
            return Vec::new();
        }
        let mut encoder = Encoder::new();
        encoder.whole(self.not_finite, 0);
        encoder.whole(self.zero, 0);
        let mut counts = Counts::new();
        put(&mut encoder, &mut counts, &self.positive);
        put(&mut encoder, &mut counts, &self.negative);
        if self.count > 0 {
            encoder.number(self.min);
            encoder.number(self.max);
            encoder.sum(self.sum);
        }
        // A first byte that is never zero, so that no sketch is empty bytes.
        let mut bytes = vec![FORM];
        bytes.extend(encoder.finish());
        bytes
    }

    /// Reads the packed form.
    ///
    /// # Errors
    /// When the bytes are not a sketch that anybody can have counted.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, SketchError> {
        if bytes.len() > PACKED_BYTES_MAX || bytes.first() != Some(&FORM) {
            return Err(SketchError::Packed);
        }
        let mut decoder = Decoder::new(&bytes[1..]);
        let not_finite = decoder.whole(0).ok_or(SketchError::Count)?;
        let zero = decoder.whole(0).ok_or(SketchError::Count)?;
        let mut counts = Counts::new();
        let (positive, above) = take(&mut decoder, &mut counts)?;
        let (negative, below) = take(&mut decoder, &mut counts)?;
        let count = [below, zero, above].into_iter().fold(0, crate::add_counts);
        if not_finite.max(zero) > COUNT_MAX || count == 0 && not_finite == 0 {
            return Err(SketchError::Count);
        }
        if count == 0 {
            return Ok(Self {
                not_finite,
                ..Self::new()
            });
        }
        let mut extreme = || Some(decoder.number()? + 0.0);
        let (Some(min), Some(max)) = (extreme(), extreme()) else {
            return Err(SketchError::Extremes);
        };
        if min > max {
            return Err(SketchError::Extremes);
        }
        Ok(Self {
            positive,
            negative,
            zero,
            not_finite,
            count,
            min,
            max,
            sum: decoder.sum().ok_or(SketchError::Sum)?,
        })
    }
}

/// Names this form; another one would begin with another byte.
const FORM: u8 = 1;

fn put(encoder: &mut Encoder, counts: &mut Counts, buckets: &Buckets) {
    let mut ascending = buckets.ascending();
    let first = ascending.next().map(|(index, _)| index);
    let last = ascending.next_back().map(|(index, _)| index).or(first);
    let (Some(first), Some(last)) = (first, last) else {
        return encoder.raw(0, 1);
    };
    encoder.raw(1, 1);
    encoder.signed(i64::from(first), INDEX_ORDER);
    encoder.whole(u64::try_from(last - first).unwrap_or(0), SPAN_ORDER);
    counts.begin_row();
    let mut next = first;
    for (index, count) in buckets.ascending() {
        for _ in next..index {
            counts.encode(encoder, 0);
        }
        counts.encode(encoder, count);
        next = index + 1;
    }
}

/// The buckets and the sum of their counts.
fn take(decoder: &mut Decoder<'_>, counts: &mut Counts) -> Result<(Buckets, u64), SketchError> {
    let mut buckets = Buckets::default();
    if decoder.raw(1) == 0 {
        return Ok((buckets, 0));
    }
    let first = decoder.signed(INDEX_ORDER).ok_or(SketchError::Index)?;
    let span = decoder.whole(SPAN_ORDER).ok_or(SketchError::Span)?;
    if span >= BUCKETS_MAX as u64 {
        return Err(SketchError::Span);
    }
    let indices = i64::from(mapping::INDEX_MIN)..=i64::from(mapping::INDEX_MAX);
    let last = first.saturating_add(span.cast_signed());
    if !(indices.contains(&first) && indices.contains(&last)) {
        return Err(SketchError::Index);
    }
    counts.begin_row();
    let mut total = 0;
    for index in first..=last {
        let count = counts.decode(decoder);
        buckets.add(i32::try_from(index).map_err(|_| SketchError::Index)?, count);
        total = crate::add_counts(total, count);
    }
    Ok((buckets, total))
}
