//! One picture in memory: 8 bits each of red, green and blue, row by row from the top left.
//!
//! Bytes become a frame in [`decode`], which reads the size from the header and refuses a picture that is too large
//! before memory is taken for it. [`orientation`] turns it the way its camera was held, [`mask`] covers what nobody
//! may see, [`quality`] says how bright and how sharp it is.

pub mod mask;
pub mod quality;

mod decode;
mod jpeg;
mod orientation;

use bytes::{Bytes, BytesMut};
use jpeg_encoder::{ColorType, Encoder};
use thiserror::Error;

/// Largest frame in pixels: the largest sensors of industrial cameras (5120 x 5120), 75 MiB as RGB.
pub const PIXELS_MAX: u64 = 5120 * 5120;

/// Longest side in pixels: line-scan cameras make long and narrow pictures. JPEG ends at 65,535.
pub const SIDE_MAX: u32 = 16_384;

/// Longest encoded picture in bytes: a frame of the largest size as PNG hardly compresses noise.
pub const ENCODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a pixel.
pub(crate) const CHANNELS: usize = 3;

/// One picture. `pixels` always holds `width * height * 3` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue of every pixel, row by row.
    pub pixels: Bytes,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Neither JPEG nor PNG.
    #[error(
        "the picture is neither JPEG nor PNG (it begins with {0}): set the camera or the program that sends it to JPEG"
    )]
    Format(String),
    /// Too many bytes.
    #[error("the picture has {0} bytes; at most {ENCODED_BYTES_MAX} are taken")]
    TooLong(usize),
    /// Too many pixels.
    #[error(
        "the picture has {width} x {height} pixels; at most {PIXELS_MAX} with sides of at most {SIDE_MAX} are taken: lower the camera's resolution"
    )]
    TooLarge {
        /// Columns according to the header.
        width: u32,
        /// Rows according to the header.
        height: u32,
    },
    /// No pixels at all.
    #[error("the picture has {width} x {height} pixels")]
    Empty {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// It ends in the middle.
    #[error("the {format} picture ends before its last row: the transfer was cut off")]
    Truncated {
        /// JPEG or PNG.
        format: &'static str,
    },
    /// It cannot be decoded.
    #[error("cannot decode the {format} picture: {reason}")]
    Damaged {
        /// JPEG or PNG.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// Pixels that are not `width * height` many.
    #[error("{width} x {height} pixels take {expected} bytes, got {found}")]
    Length {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes these pixels take.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl Frame {
    /// Decodes a JPEG or a PNG and turns it upright (EXIF). 16 bits become 8, grey becomes RGB, alpha is dropped.
    ///
    /// # Errors
    /// When it is neither, too large (told from its header, before memory is taken), cut off or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        decode::decode(bytes)
    }

    /// A frame of pixels a source already has, in RGB.
    ///
    /// # Errors
    /// When the size is not taken or the bytes do not fill it.
    pub fn from_rgb(width: u32, height: u32, pixels: Bytes) -> Result<Self, FrameError> {
        let expected = check_size(width, height)? * CHANNELS;
        check_length(width, height, expected, pixels.len())?;
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// A frame of a monochrome camera, one byte a pixel.
    ///
    /// # Errors
    /// When the size is not taken or the bytes do not fill it.
    pub fn from_grey(width: u32, height: u32, grey: &[u8]) -> Result<Self, FrameError> {
        let expected = check_size(width, height)?;
        check_length(width, height, expected, grey.len())?;
        let mut pixels = Vec::with_capacity(expected * CHANNELS);
        pixels.extend(grey.iter().flat_map(|&value| [value; CHANNELS]));
        Ok(Self {
            width,
            height,
            pixels: pixels.into(),
        })
    }

    /// A frame as USB cameras send it uncompressed (YUYV, BT.601, limited range): two pixels in four bytes.
    ///
    /// # Errors
    /// When the width is odd, the size is not taken or the bytes do not fill it.
    pub fn from_yuyv(width: u32, height: u32, yuyv: &[u8]) -> Result<Self, FrameError> {
        let count = check_size(width, height)?;
        let expected = if width.is_multiple_of(2) {
            count * 2
        } else {
            // No picture in this form has an odd width.
            (width as usize + 1) * height as usize * 2
        };
        check_length(width, height, expected, yuyv.len())?;
        if !width.is_multiple_of(2) {
            return Err(FrameError::Empty { width, height });
        }
        let mut pixels = Vec::with_capacity(count * CHANNELS);
        for pair in yuyv.chunks_exact(4) {
            pixels.extend(rgb_of_yuv(pair[0], pair[1], pair[3]));
            pixels.extend(rgb_of_yuv(pair[2], pair[1], pair[3]));
        }
        Ok(Self {
            width,
            height,
            pixels: pixels.into(),
        })
    }

    /// The frame as JPEG. `quality` goes from 1 to 100; 80 is good for people.
    #[must_use]
    pub fn encode_jpeg(&self, quality: u8) -> Vec<u8> {
        let side = |length: u32| u16::try_from(length).expect("a frame's sides fit in 16 bits");
        let mut jpeg = Vec::with_capacity(self.pixels.len() / 8);
        Encoder::new(&mut jpeg, quality.clamp(1, 100))
            .encode(
                &self.pixels,
                side(self.width),
                side(self.height),
                ColorType::Rgb,
            )
            .expect("a frame's pixels fill it, and writing to memory does not fail");
        jpeg
    }

    /// One row of pixels.
    pub(crate) fn row(&self, y: usize) -> &[u8] {
        let bytes = self.width as usize * CHANNELS;
        &self.pixels[y * bytes..][..bytes]
    }

    /// Changes pixels in place, or in a copy when somebody else holds them too.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut [u8])) {
        let mut pixels = std::mem::take(&mut self.pixels)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        change(&mut pixels);
        self.pixels = pixels.freeze();
    }
}

/// The number of pixels of a size that is taken.
fn check_size(width: u32, height: u32) -> Result<usize, FrameError> {
    if width == 0 || height == 0 {
        return Err(FrameError::Empty { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PIXELS_MAX || width > SIDE_MAX || height > SIDE_MAX {
        return Err(FrameError::TooLarge { width, height });
    }
    Ok(usize::try_from(pixels).expect("PIXELS_MAX fits"))
}

fn check_length(width: u32, height: u32, expected: usize, found: usize) -> Result<(), FrameError> {
    if expected == found {
        return Ok(());
    }
    Err(FrameError::Length {
        width,
        height,
        expected,
        found,
    })
}

/// BT.601 with luma from 16 to 235, in 16.16 fixed point.
fn rgb_of_yuv(y: u8, u: u8, v: u8) -> [u8; CHANNELS] {
    let luma = 76_309 * (i32::from(y) - 16) + 32_768;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let clamp = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [
        clamp(luma + 104_597 * v),
        clamp(luma - 25_675 * u - 53_279 * v),
        clamp(luma + 132_201 * u),
    ]
}

#[cfg(test)]
mod tests;
