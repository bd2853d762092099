//! The stored form of a sketch; `proto/window.proto` documents it. Written packed; the fields before that are read.

use thiserror::Error;

use super::{BUCKETS_MAX, Buckets, Sketch, mapping};
use crate::sum::Sum;
use crate::{COUNT_MAX, wire};

/// Why a stored sketch is not one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum SketchError {
    #[error("its buckets span more than {BUCKETS_MAX} indices")]
    Span,
    #[error("a bucket index lies outside of what a number can have")]
    Index,
    #[error("a count is over {COUNT_MAX}")]
    Count,
    #[error("minimum and maximum are not finite or swapped")]
    Extremes,
    #[error("its sum has more than 16 bytes")]
    Sum,
    #[error("its packed form is too long, or one of a newer program")]
    Packed,
}

impl Sketch {
    pub(crate) fn to_wire(&self) -> wire::Sketch {
        wire::Sketch {
            packed: self.to_bytes(),
            ..wire::Sketch::default()
        }
    }

    pub(crate) fn from_wire(wire: &wire::Sketch) -> Result<Self, SketchError> {
        if !wire.packed.is_empty() {
            return Self::from_bytes(&wire.packed);
        }
        let (positive, above) = buckets_from_wire(wire.positive.as_ref())?;
        let (negative, below) = buckets_from_wire(wire.negative.as_ref())?;
        if wire.zero > COUNT_MAX || wire.not_finite > COUNT_MAX {
            return Err(SketchError::Count);
        }
        let count = [below, wire.zero, above]
            .into_iter()
            .fold(0, crate::add_counts);
        let (min, max) = (wire.min + 0.0, wire.max + 0.0);
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(SketchError::Extremes);
        }
        let sum = Sum::from_bytes(&wire.sum).ok_or(SketchError::Sum)?;
        let not_finite = wire.not_finite;
        if count == 0 {
            // Extremes and a sum of nothing mean nothing.
            return Ok(Self {
                not_finite,
                ..Self::new()
            });
        }
        Ok(Self {
            positive,
            negative,
            zero: wire.zero,
            not_finite,
            count,
            min,
            max,
            sum,
        })
    }
}

/// The buckets and the sum of their counts.
fn buckets_from_wire(wire: Option<&wire::Buckets>) -> Result<(Buckets, u64), SketchError> {
    let mut buckets = Buckets::default();
    let Some(wire) = wire else {
        return Ok((buckets, 0));
    };
    if wire.runs.len() > BUCKETS_MAX {
        return Err(SketchError::Span);
    }
    let span = wire.runs.iter().try_fold(0_u64, |span, run| {
        let width = if run & 1 == 1 { run >> 1 } else { 1 };
        span.checked_add(width)
            .filter(|span| *span <= BUCKETS_MAX as u64)
            .ok_or(SketchError::Span)
    })?;
    let last = i64::from(wire.first) + span as i64 - 1;
    let indices = i64::from(mapping::INDEX_MIN)..=i64::from(mapping::INDEX_MAX);
    if !(indices.contains(&i64::from(wire.first)) && indices.contains(&last)) {
        return Err(SketchError::Index);
    }
    let mut total = 0;
    let mut index = wire.first;
    for run in &wire.runs {
        if run & 1 == 1 {
            index += i32::try_from(run >> 1).map_err(|_| SketchError::Span)?;
        } else {
            buckets.add(index, run >> 1);
            total = crate::add_counts(total, run >> 1);
            index += 1;
        }
    }
    Ok((buckets, total))
}
