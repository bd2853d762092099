//! How bright, how rich in contrast and how sharp a picture is: what tells a dirty lens, a failed lamp or a
//! camera that was knocked out of focus from a line that makes other parts.

use serde::{Deserialize, Serialize};

use super::{CHANNELS, Frame};

/// The picture is measured at this width at most: a camera's noise is averaged away, and it takes under a millisecond.
const WIDTH_MAX: usize = 640;

/// Weights of red, green and blue in luma (BT.601), in 1/256.
const LUMA: [u32; CHANNELS] = [77, 150, 29];

/// Three numbers of one picture, in grey levels from 0 (black) to 255 (white).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// Mean of the luma, 0 to 255.
    pub brightness: f32,
    /// Standard deviation of the luma, 0 to 127.5.
    pub contrast: f32,
    /// Variance of the Laplacian of the luma (Pech-Pacheco 2000): the higher, the sharper. It compares pictures of
    /// one camera and scene, not of different ones.
    pub sharpness: f32,
}

/// Sums of one pass over rows.
#[derive(Default)]
struct Sums {
    count: u64,
    sum: u64,
    squares: u64,
}

impl Frame {
    /// Measures the picture, on a copy made smaller where it is wide. Allocates nothing.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let side = (self.width as usize).div_ceil(WIDTH_MAX).max(2);
        // A picture can be narrower or lower than a block.
        let block = (
            side.min(self.width as usize),
            side.min(self.height as usize),
        );
        let (width, height) = (
            self.width as usize / block.0,
            self.height as usize / block.1,
        );
        let mut lines = [[0_i32; WIDTH_MAX]; 3];
        let mut levels = Sums::default();
        let mut edges = (0_u64, 0_i64, 0_u64);
        for y in 0..height {
            let line = &mut lines[y % 3][..width];
            self.shrink(y, block, line);
            for &mut value in line {
                levels.sum += value as u64;
                levels.squares += (value * value) as u64;
            }
            levels.count += width as u64;
            if y >= 2 {
                let [above, here, below] = [y - 2, y - 1, y].map(|y| &lines[y % 3][..width]);
                laplacian(above, here, below, &mut edges);
            }
        }
        let mean = ratio(levels.sum as f64, levels.count);
        let variance = ratio(levels.squares as f64, levels.count) - mean * mean;
        let edge_mean = ratio(edges.1 as f64, edges.0);
        let edge_variance = ratio(edges.2 as f64, edges.0) - edge_mean * edge_mean;
        Quality {
            brightness: mean as f32,
            contrast: variance.max(0.0).sqrt() as f32,
            sharpness: edge_variance.max(0.0) as f32,
        }
    }

    /// The luma of row `y` of the picture made smaller: the mean over each block of so many columns and rows.
    fn shrink(&self, y: usize, (columns, rows): (usize, usize), line: &mut [i32]) {
        line.fill(0);
        for row in 0..rows {
            let row = self.row(y * rows + row);
            for (value, block) in line.iter_mut().zip(row.chunks_exact(columns * CHANNELS)) {
                let luma: u32 = block
                    .chunks_exact(CHANNELS)
                    .map(|pixel| {
                        LUMA[0] * u32::from(pixel[0])
                            + LUMA[1] * u32::from(pixel[1])
                            + LUMA[2] * u32::from(pixel[2])
                    })
                    .sum();
                *value += luma as i32;
            }
        }
        let weight = (columns * rows * 256) as i32;
        for value in line {
            *value = (*value + weight / 2) / weight;
        }
    }
}

fn laplacian(above: &[i32], here: &[i32], below: &[i32], edges: &mut (u64, i64, u64)) {
    for (x, centre) in here.windows(3).enumerate() {
        let value = above[x + 1] + below[x + 1] + centre[0] + centre[2] - 4 * centre[1];
        edges.1 += i64::from(value);
        edges.2 += u64::from(value.unsigned_abs()).pow(2);
    }
    edges.0 += here.len().saturating_sub(2) as u64;
}

fn ratio(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}
