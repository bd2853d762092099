//! Privacy: parts of the picture that nobody may see, covered before anything else happens to it.

use serde::{Deserialize, Serialize};

use super::{CHANNELS, Frame};

/// A pixelated region has at most this many blocks along its longer side: too few to know a face.
const BLOCKS_MAX: usize = 8;

/// No block is smaller than this, in pixels, however small the region.
const BLOCK_SIDE_MIN: usize = 8;

/// A rectangle in parts of the frame, so that it stays where it is when a camera changes its resolution:
/// `x: 0.5` begins in the middle. What lies outside the frame is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Region {
    /// Left edge, 0 to 1.
    pub x: f32,
    /// Upper edge, 0 to 1.
    pub y: f32,
    /// Width, 0 to 1.
    pub width: f32,
    /// Height, 0 to 1.
    pub height: f32,
    /// How it is covered.
    #[serde(default)]
    pub covering: Covering,
}

/// How a region is covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Covering {
    /// Black. Nothing can be recovered.
    #[default]
    Fill,
    /// Blocks of their mean colour: one sees that something is there and moves.
    Pixelate,
}

impl Region {
    /// Whether it is a rectangle that covers some part of a frame.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Self {
            x,
            y,
            width,
            height,
            covering: _,
        } = *self;
        [x, y, width, height]
            .iter()
            .all(|part| (0.0..=1.0).contains(part))
            && width > 0.0
            && height > 0.0
    }

    /// Columns and rows it covers. Rounded outwards: a mask rather covers too much.
    fn pixels(&self, frame: &Frame) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let span = |start: f32, length: f32, side: u32| {
            let side_f = f64::from(side);
            // Casting saturates, and takes NaN for 0.
            let from = (f64::from(start) * side_f).floor() as usize;
            let until = ((f64::from(start) + f64::from(length)) * side_f).ceil() as usize;
            let until = until.min(side as usize);
            from.min(until)..until
        };
        (
            span(self.x, self.width, frame.width),
            span(self.y, self.height, frame.height),
        )
    }
}

impl Frame {
    /// Covers every region.
    pub fn mask(&mut self, regions: &[Region]) {
        if regions.is_empty() {
            return;
        }
        let spans: Vec<_> = regions
            .iter()
            .map(|region| (region.pixels(self), region.covering))
            .collect();
        let stride = self.width as usize * CHANNELS;
        self.change(|pixels| {
            for ((columns, rows), covering) in spans {
                match covering {
                    Covering::Fill => {
                        for y in rows {
                            pixels[y * stride + columns.start * CHANNELS..]
                                [..columns.len() * CHANNELS]
                                .fill(0);
                        }
                    }
                    Covering::Pixelate => pixelate(pixels, stride, columns, rows),
                }
            }
        });
    }
}

fn pixelate(
    pixels: &mut [u8],
    stride: usize,
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
) {
    let side = columns
        .len()
        .max(rows.len())
        .div_ceil(BLOCKS_MAX)
        .max(BLOCK_SIDE_MIN);
    for top in rows.clone().step_by(side) {
        let bottom = (top + side).min(rows.end);
        for left in columns.clone().step_by(side) {
            let right = (left + side).min(columns.end);
            let mut sums = [0_u64; CHANNELS];
            for y in top..bottom {
                for pixel in pixels[y * stride + left * CHANNELS..y * stride + right * CHANNELS]
                    .chunks_exact(CHANNELS)
                {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += u64::from(value);
                    }
                }
            }
            let count = ((bottom - top) * (right - left)) as u64;
            let mean = sums.map(|sum| (sum / count) as u8);
            for y in top..bottom {
                for pixel in pixels[y * stride + left * CHANNELS..y * stride + right * CHANNELS]
                    .chunks_exact_mut(CHANNELS)
                {
                    pixel.copy_from_slice(&mean);
                }
            }
        }
    }
}
