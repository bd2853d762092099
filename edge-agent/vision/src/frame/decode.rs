//! Bytes to pixels: JPEG and PNG, told apart by their first bytes.

use std::io::Cursor;

use png::{ColorType, Limits, Transformations};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::jpeg::{self, JPEG, damaged};
use super::{CHANNELS, ENCODED_BYTES_MAX, Frame, FrameError, SIDE_MAX, check_size, orientation};

/// Name of the format in errors.
const PNG: &str = "PNG";

/// Memory a PNG may take for what is not pixels: comments, colour profiles.
const PNG_EXTRAS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Scans of a progressive JPEG. Every one costs a walk over all pixels; encoders make about ten.
const SCANS_MAX: usize = 64;

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(FrameError::TooLong(bytes.len()));
    }
    match bytes {
        [0xFF, 0xD8, ..] => decode_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        _ => Err(FrameError::Format(beginning(bytes))),
    }
}

/// The first bytes, for a person to see what was sent instead (`<!DOCTYPE`, `RIFF`).
fn beginning(bytes: &[u8]) -> String {
    let first = &bytes[..bytes.len().min(12)];
    match first {
        [] => "nothing".to_owned(),
        text if text.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            format!("`{}`", String::from_utf8_lossy(text))
        }
        binary => binary
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Frame, FrameError> {
    let header = jpeg::header(bytes)?;
    let pixels = check_size(header.width, header.height)?;
    if !jpeg::is_complete(bytes, header.scan_at) {
        return Err(FrameError::Truncated { format: JPEG });
    }
    let completed;
    let complete = if header.has_tables {
        bytes
    } else {
        completed = jpeg::with_tables(bytes, header.scan_at);
        &completed
    };
    let options = DecoderOptions::default()
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize)
        .jpeg_set_max_scans(SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(complete), options);
    let rgb = decoder
        .decode()
        .map_err(|error| damaged(&error.to_string()))?;
    if rgb.len() != pixels * CHANNELS {
        return Err(damaged("its header gives two sizes"));
    }
    let upright = header.exif.and_then(orientation::read);
    Ok(orientation::turn(
        header.width,
        header.height,
        rgb,
        upright.unwrap_or_default(),
    ))
}

fn decode_png(bytes: &[u8]) -> Result<Frame, FrameError> {
    let failed = |error: png::DecodingError| match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            FrameError::Truncated { format: PNG }
        }
        other => FrameError::Damaged {
            format: PNG,
            reason: other.to_string(),
        },
    };
    let limits = Limits {
        bytes: PNG_EXTRAS_BYTES_MAX,
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(failed)?;
    let (width, height) = (header.width, header.height);
    let count = check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(failed)?;
    let (colours, _bits) = reader.output_color_type();
    let mut pixels = vec![0; count * colours.samples()];
    reader.next_frame(&mut pixels).map_err(failed)?;
    let rgb = match colours {
        ColorType::Rgb => pixels,
        ColorType::Grayscale => pixels.iter().flat_map(|&grey| [grey; CHANNELS]).collect(),
        ColorType::GrayscaleAlpha => pixels
            .chunks_exact(2)
            .flat_map(|pixel| [pixel[0]; CHANNELS])
            .collect(),
        ColorType::Rgba => pixels
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
        ColorType::Indexed => {
            return Err(FrameError::Damaged {
                format: PNG,
                reason: "its palette is missing".to_owned(),
            });
        }
    };
    Frame::from_rgb(width, height, rgb.into())
}
