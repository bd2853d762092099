//! Resampling, row by row: a triangle as wide as the reduction, so that shrinking averages instead of skipping
//! pixels (the filter of Pillow's `BILINEAR`), and linear interpolation when enlarging.

use crate::frame::{CHANNELS, Frame};

use super::placement::Placement;

/// Weights and one row, kept from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    columns: Axis,
    rows: Axis,
    /// One source row after the vertical pass.
    mixed: Vec<f32>,
    /// One row of the model's input, bars included.
    row: Vec<u8>,
}

/// The rows of one frame, from the top.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    resampler: &'a mut Resampler,
    frame: &'a Frame,
    placement: &'a Placement,
    pad: u8,
}

/// What every target pixel along one axis is made of.
#[derive(Debug, Default)]
struct Axis {
    from: u32,
    to: u32,
    /// First source pixel of each target pixel.
    firsts: Vec<u32>,
    /// End of each target pixel's weights in `weights`.
    ends: Vec<u32>,
    weights: Vec<f32>,
}

impl Axis {
    /// Computes the weights, unless they are those of the last frame.
    fn prepare(&mut self, from: u32, to: u32) {
        if (self.from, self.to) == (from, to) {
            return;
        }
        (self.from, self.to) = (from, to);
        self.firsts.clear();
        self.ends.clear();
        self.weights.clear();
        let step = f64::from(from) / f64::from(to);
        let radius = step.max(1.0);
        for target in 0..to {
            let centre = (f64::from(target) + 0.5) * step;
            let first = (centre - radius + 0.5).max(0.0) as u32;
            let end = ((centre + radius + 0.5) as u32).clamp(first + 1, from);
            let weight = |at: u32| (1.0 - ((f64::from(at) + 0.5 - centre) / radius).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            self.weights
                .extend((first..end).map(|at| (weight(at) / sum) as f32));
            self.firsts.push(first);
            self.ends.push(self.weights.len() as u32);
        }
    }

    fn is_identity(&self) -> bool {
        self.from == self.to
    }

    /// The first source pixel of a target pixel, and the weights from there on.
    fn taps(&self, target: usize) -> (usize, &[f32]) {
        let start = match target {
            0 => 0,
            later => self.ends[later - 1] as usize,
        };
        (
            self.firsts[target] as usize,
            &self.weights[start..self.ends[target] as usize],
        )
    }
}

impl Resampler {
    /// Prepares for `frame`, fitted as `placement` says, with `pad` where it does not reach.
    pub(super) fn start<'a>(
        &'a mut self,
        frame: &'a Frame,
        placement: &'a Placement,
        pad: u8,
    ) -> Rows<'a> {
        self.columns
            .prepare(placement.from.width, placement.to.width);
        self.rows
            .prepare(placement.from.height, placement.to.height);
        self.mixed
            .resize(placement.from.width as usize * CHANNELS, 0.0);
        self.row.clear();
        self.row
            .resize(placement.model_size().0 as usize * CHANNELS, pad);
        Rows {
            resampler: self,
            frame,
            placement,
            pad,
        }
    }
}

impl Rows<'_> {
    /// Calls `each` with the number of every row of the model's input and its pixels.
    pub(super) fn each(self, mut each: impl FnMut(usize, &[u8])) {
        let Self {
            resampler,
            frame,
            placement,
            pad,
        } = self;
        let Resampler {
            columns,
            rows,
            mixed,
            row,
        } = resampler;
        let (from, to) = (placement.from, placement.to);
        let height = placement.model_size().1 as usize;
        let (top, bottom) = (to.y as usize, (to.y + to.height) as usize);
        // The same bytes serve for the bars above and below.
        (0..top).for_each(|y| each(y, row));
        let seen = to.x as usize * CHANNELS..(to.x + to.width) as usize * CHANNELS;
        let source = |y: usize| {
            &frame.row(from.y as usize + y)[from.x as usize * CHANNELS..]
                [..from.width as usize * CHANNELS]
        };
        for y in top..bottom {
            let target = &mut row[seen.clone()];
            if columns.is_identity() && rows.is_identity() {
                target.copy_from_slice(source(y - top));
            } else {
                let (first, weights) = rows.taps(y - top);
                mix(source, first, weights, mixed);
                squeeze(columns, mixed, target);
            }
            each(y, row);
        }
        row.fill(pad);
        (bottom..height).for_each(|y| each(y, row));
    }
}

/// The weighted sum of source rows. Contiguous and without branches, so that the compiler makes vectors of it.
fn mix<'a>(source: impl Fn(usize) -> &'a [u8], first: usize, weights: &[f32], into: &mut [f32]) {
    let (head, rest) = weights.split_first().expect("every pixel has a weight");
    for (sum, &value) in into.iter_mut().zip(source(first)) {
        *sum = head * f32::from(value);
    }
    for (offset, weight) in rest.iter().enumerate() {
        for (sum, &value) in into.iter_mut().zip(source(first + 1 + offset)) {
            *sum += weight * f32::from(value);
        }
    }
}

/// The weighted sums along a row.
fn squeeze(columns: &Axis, mixed: &[f32], into: &mut [u8]) {
    for (x, target) in into.chunks_exact_mut(CHANNELS).enumerate() {
        let (first, weights) = columns.taps(x);
        let mut sums = [0.5_f32; CHANNELS];
        for (weight, pixel) in weights
            .iter()
            .zip(mixed[first * CHANNELS..].chunks_exact(CHANNELS))
        {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += weight * value;
            }
        }
        for (target, sum) in target.iter_mut().zip(sums) {
            // Casting cuts off; what is added to the sums makes that rounding.
            *target = sum as u8;
        }
    }
}
