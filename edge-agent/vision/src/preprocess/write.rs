//! Rows of pixels into tensor bytes: colour, normalisation, layout.

use crate::frame::CHANNELS;

use super::resample::Rows;
use super::{Colour, Layout, Preprocess};

/// Grey levels of a pixel.
const LEVELS: usize = 256;

/// What every grey level of every channel becomes.
struct Tables<const N: usize>([[[u8; N]; LEVELS]; CHANNELS]);

impl<const N: usize> Tables<N> {
    fn new(preprocess: &Preprocess, encode: impl Fn(f32) -> [u8; N]) -> Self {
        let mut tables = [[[0; N]; LEVELS]; CHANNELS];
        let of = |values: &[f32], channel: usize, otherwise| {
            values
                .get(channel)
                .or(values.first())
                .copied()
                .unwrap_or(otherwise)
        };
        for (channel, table) in tables.iter_mut().enumerate() {
            let mean = of(&preprocess.mean, channel, 0.0);
            let std = of(&preprocess.std, channel, 1.0);
            for (level, value) in table.iter_mut().enumerate() {
                *value = encode((level as f32 * preprocess.scale - mean) / std);
            }
        }
        Self(tables)
    }
}

/// Writes every row, one element being `encode` of its number. `into` has the tensor's length.
pub(super) fn write<const N: usize>(
    preprocess: &Preprocess,
    rows: Rows<'_>,
    encode: impl Fn(f32) -> [u8; N],
    into: &mut [u8],
) {
    let tables = Tables::new(preprocess, encode).0;
    let (width, height) = (preprocess.size.0 as usize, preprocess.size.1 as usize);
    // Which channel of a pixel each channel of the tensor is.
    let order: [usize; CHANNELS] = match preprocess.colour {
        Colour::Rgb | Colour::Grey => [0, 1, 2],
        Colour::Bgr => [2, 1, 0],
    };
    let row_bytes = width * N;
    rows.each(|y, row| match (preprocess.colour, preprocess.layout) {
        (Colour::Grey, Layout::Nchw | Layout::Nhwc) => {
            let target = &mut into[y * row_bytes..][..row_bytes];
            for (element, pixel) in target.chunks_exact_mut(N).zip(row.chunks_exact(CHANNELS)) {
                element.copy_from_slice(&tables[0][luma(pixel)]);
            }
        }
        (Colour::Rgb | Colour::Bgr, Layout::Nchw) => {
            for (channel, table) in tables.iter().enumerate() {
                let target = &mut into[(channel * height + y) * row_bytes..][..row_bytes];
                let source = row[order[channel]..].iter().step_by(CHANNELS);
                for (element, &level) in target.chunks_exact_mut(N).zip(source) {
                    element.copy_from_slice(&table[usize::from(level)]);
                }
            }
        }
        (Colour::Rgb | Colour::Bgr, Layout::Nhwc) => {
            let target = &mut into[y * row_bytes * CHANNELS..][..row_bytes * CHANNELS];
            for (elements, pixel) in target
                .chunks_exact_mut(N * CHANNELS)
                .zip(row.chunks_exact(CHANNELS))
            {
                for (channel, element) in elements.chunks_exact_mut(N).enumerate() {
                    element.copy_from_slice(&tables[channel][usize::from(pixel[order[channel]])]);
                }
            }
        }
    });
}

/// BT.601, rounded as Pillow's `L` is.
fn luma(pixel: &[u8]) -> usize {
    let sum = 19_595 * u32::from(pixel[0])
        + 38_470 * u32::from(pixel[1])
        + 7_471 * u32::from(pixel[2])
        + 0x8000;
    (sum >> 16) as usize
}
