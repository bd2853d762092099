//! Which way up a camera was held (EXIF tag 0x0112), and the frame turned accordingly.

use super::{CHANNELS, Frame};

/// Entries of the first directory that are looked at; cameras write a dozen.
const ENTRIES_MAX: u16 = 512;

const ORIENTATION_TAG: u16 = 0x0112;

/// How rows and columns of the stored picture become those of the upright one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Rows become columns, before anything is mirrored.
    transpose: bool,
    mirror_columns: bool,
    mirror_rows: bool,
}

/// Reads the orientation from the content of an EXIF segment.
pub(super) fn read(tiff: &[u8]) -> Option<Orientation> {
    let order = match tiff.get(..4)? {
        b"II\x2A\0" => u16::from_le_bytes,
        b"MM\0\x2A" => u16::from_be_bytes,
        _ => return None,
    };
    let short = |at: usize| Some(order(tiff.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let (first, second) = (short(4)?, short(6)?);
    let big_endian = tiff[0] == b'M';
    let (high, low) = if big_endian {
        (first, second)
    } else {
        (second, first)
    };
    let directory = (usize::from(high) << 16) | usize::from(low);
    let entries = short(directory)?.min(ENTRIES_MAX);
    (0..usize::from(entries))
        .map(|index| directory + 2 + index * 12)
        .find(|&at| short(at) == Some(ORIENTATION_TAG))
        .and_then(|at| short(at + 8))
        .and_then(Orientation::from_tag)
}

impl Orientation {
    fn from_tag(value: u16) -> Option<Self> {
        let turned = |transpose, mirror_columns, mirror_rows| {
            Some(Self {
                transpose,
                mirror_columns,
                mirror_rows,
            })
        };
        match value {
            1 => turned(false, false, false),
            2 => turned(false, true, false),
            3 => turned(false, true, true),
            4 => turned(false, false, true),
            5 => turned(true, false, false),
            6 => turned(true, true, false),
            7 => turned(true, true, true),
            8 => turned(true, false, true),
            _ => None,
        }
    }
}

/// The upright frame of stored pixels, which fill `width * height`.
pub(super) fn turn(width: u32, height: u32, rgb: Vec<u8>, orientation: Orientation) -> Frame {
    if orientation == Orientation::default() {
        return Frame {
            width,
            height,
            pixels: rgb.into(),
        };
    }
    let (new_width, new_height) = if orientation.transpose {
        (height, width)
    } else {
        (width, height)
    };
    let mut pixels = Vec::with_capacity(rgb.len());
    for y in 0..new_height {
        let y = if orientation.mirror_rows {
            new_height - 1 - y
        } else {
            y
        };
        for x in 0..new_width {
            let x = if orientation.mirror_columns {
                new_width - 1 - x
            } else {
                x
            };
            let (column, row) = if orientation.transpose {
                (y, x)
            } else {
                (x, y)
            };
            let at = (row as usize * width as usize + column as usize) * CHANNELS;
            pixels.extend_from_slice(&rgb[at..at + CHANNELS]);
        }
    }
    Frame {
        width: new_width,
        height: new_height,
        pixels: pixels.into(),
    }
}
