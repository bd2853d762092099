use proptest::prelude::*;

use super::mask::{Covering, Region};
use super::*;

/// Width and height of 512 pixels, JPEG without subsampling.
const ASTRONAUT: &[u8] = include_bytes!("../../../../tests/data/pictures/astronaut.jpg");

fn flat(width: u32, height: u32, colour: [u8; 3]) -> Frame {
    let pixels = colour.repeat((width * height) as usize);
    Frame::from_rgb(width, height, pixels.into()).unwrap()
}

/// A small picture with edges and noise.
fn busy(width: u32, height: u32) -> Frame {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|at| {
            let (x, y) = (at % width, at / width);
            let stripe = if (x / 4 + y / 4) % 2 == 0 { 200 } else { 40 };
            [
                stripe,
                (at * 7 % 256) as u8,
                (at.wrapping_mul(2_654_435_761) >> 24) as u8,
            ]
        })
        .collect();
    Frame::from_rgb(width, height, pixels.into()).unwrap()
}

fn mean(frame: &Frame, channel: usize) -> f64 {
    let values = frame.pixels.iter().skip(channel).step_by(3);
    values.map(|&value| f64::from(value)).sum::<f64>() / f64::from(frame.width * frame.height)
}

fn png(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&frame.pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Where the frame header's height stands.
fn size_at(jpeg: &[u8]) -> usize {
    let starts = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]);
    starts.unwrap() + 5
}

#[test]
fn a_real_jpeg_has_the_size_and_the_colours_another_decoder_sees() {
    let frame = Frame::decode(ASTRONAUT).unwrap();
    assert_eq!((frame.width, frame.height), (512, 512));
    // Means of red, green and blue according to Pillow (libjpeg-turbo).
    for (channel, expected) in [141.623, 105.750, 96.494].into_iter().enumerate() {
        let found = mean(&frame, channel);
        assert!((found - expected).abs() < 0.5, "{channel}: {found}");
    }
}

#[test]
fn a_frame_survives_jpeg_nearly_and_png_exactly() {
    let frame = Frame::decode(ASTRONAUT).unwrap();
    assert_eq!(Frame::decode(&png(&frame)).unwrap(), frame);
    let again = Frame::decode(&frame.encode_jpeg(95)).unwrap();
    let off: u64 = frame
        .pixels
        .iter()
        .zip(&again.pixels)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    assert!(off / (frame.pixels.len() as u64) < 4, "{off}");
}

#[test]
fn a_jpeg_of_100_megapixels_is_refused_by_its_header() {
    let mut bomb = flat(64, 64, [9; 3]).encode_jpeg(80);
    let at = size_at(&bomb);
    bomb[at..at + 4].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    let refused = Frame::decode(&bomb).unwrap_err();
    let (width, height) = (10_000, 10_000);
    assert_eq!(refused, FrameError::TooLarge { width, height });
    assert!(
        refused
            .to_string()
            .contains("lower the camera's resolution")
    );
}

#[test]
fn a_png_of_100_megapixels_is_refused_by_its_header() {
    let mut bomb = Vec::new();
    let encoder = png::Encoder::new(&mut bomb, 10_000, 10_000);
    drop(encoder.write_header().unwrap());
    let (width, height) = (10_000, 10_000);
    let refused = Frame::decode(&bomb).unwrap_err();
    assert_eq!(refused, FrameError::TooLarge { width, height });
}

#[test]
fn a_picture_without_pixels_is_refused() {
    let mut empty = flat(64, 64, [9; 3]).encode_jpeg(80);
    let at = size_at(&empty);
    empty[at..at + 2].copy_from_slice(&[0, 0]);
    let refused = Frame::decode(&empty).unwrap_err();
    assert!(
        matches!(refused, FrameError::Empty { height: 0, .. }),
        "{refused}"
    );
}

#[test]
fn what_is_no_picture_is_named_by_its_beginning() {
    let refused = Frame::decode(b"<!DOCTYPE html><title>401</title>").unwrap_err();
    assert!(refused.to_string().contains("`<!DOCTYPE ht`"), "{refused}");
    assert!(
        Frame::decode(&[0, 1])
            .unwrap_err()
            .to_string()
            .contains("00 01")
    );
    assert!(
        Frame::decode(&[])
            .unwrap_err()
            .to_string()
            .contains("nothing")
    );
}

#[test]
fn a_jpeg_cut_off_anywhere_is_an_error_and_never_half_a_frame() {
    let whole = busy(48, 32).encode_jpeg(70);
    for length in 0..whole.len() {
        assert!(Frame::decode(&whole[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_a_camera_appends_to_a_jpeg_does_not_matter() {
    let mut padded = busy(48, 32).encode_jpeg(70);
    let plain = Frame::decode(&padded).unwrap();
    padded.extend([0; 1000]);
    assert_eq!(Frame::decode(&padded).unwrap(), plain);
}

#[test]
fn a_usb_camera_that_leaves_out_the_huffman_tables_is_understood() {
    let whole = busy(48, 32).encode_jpeg(70);
    let mut bare = whole[..2].to_vec();
    let mut at = 2;
    loop {
        let length = 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
        match whole[at + 1] {
            0xC4 => {}
            0xDA => break bare.extend(&whole[at..]),
            _ => bare.extend(&whole[at..at + length]),
        }
        at += length;
    }
    assert!(bare.len() + 400 < whole.len());
    assert_eq!(
        Frame::decode(&bare).unwrap(),
        Frame::decode(&whole).unwrap()
    );
}

/// A JPEG of four colours, one per corner, with an orientation in its EXIF segment.
fn oriented(value: u8, is_big_endian: bool) -> Vec<u8> {
    let colours = [[250, 10, 10], [10, 250, 10], [10, 10, 250], [240, 240, 240]];
    let pixels = (0..32 * 16).flat_map(|at| {
        let (x, y) = (at % 32, at / 32);
        colours[2 * (y / 8) + x / 16]
    });
    let frame = Frame::from_rgb(32, 16, pixels.collect()).unwrap();
    let jpeg = frame.encode_jpeg(95);
    let tiff: &[&[u8]] = if is_big_endian {
        &[
            b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0",
            &[value],
            b"\0\0\0\0\0\0",
        ]
    } else {
        &[
            b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
            &[value],
            b"\0\0\0\0\0\0\0",
        ]
    };
    let exif = [b"Exif\0\0", &tiff.concat()[..]].concat();
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn a_picture_is_turned_the_way_its_camera_was_held() {
    // Corners in reading order after turning; `r` is the upper left of the stored picture, then g, b, w.
    let expected = [
        "rgbw", "grwb", "wbgr", "bwrg", "rbgw", "brwg", "wgbr", "gwrb",
    ];
    for (value, corners) in (1..).zip(expected) {
        for is_big_endian in [false, true] {
            let frame = Frame::decode(&oriented(value, is_big_endian)).unwrap();
            let (width, height) = if value < 5 { (32, 16) } else { (16, 32) };
            assert_eq!((frame.width, frame.height), (width, height), "{value}");
            let places = [
                (4, 4),
                (width - 4, 4),
                (4, height - 4),
                (width - 4, height - 4),
            ];
            let seen: String = places.map(|(x, y)| name_of(&frame, x, y)).iter().collect();
            assert_eq!(seen, corners, "{value}");
        }
    }
}

fn name_of(frame: &Frame, x: u32, y: u32) -> char {
    match frame.row(y as usize)[x as usize * 3..][..3] {
        [200..=255, 200..=255, 200..=255] => 'w',
        [200..=255, _, _] => 'r',
        [_, 200..=255, _] => 'g',
        _ => 'b',
    }
}

#[test]
fn an_orientation_that_is_none_leaves_the_picture_as_it_is() {
    for value in [0, 9, 255] {
        let frame = Frame::decode(&oriented(value, false)).unwrap();
        assert_eq!((frame.width, name_of(&frame, 4, 4)), (32, 'r'));
    }
}

#[test]
fn uncompressed_pixels_of_a_usb_camera_become_rgb() {
    // Black, white; then red twice.
    let yuyv = [16, 128, 235, 128, 81, 90, 81, 240];
    let frame = Frame::from_yuyv(4, 1, &yuyv).unwrap();
    assert_eq!(frame.pixels[..6], [0, 0, 0, 255, 255, 255]);
    assert!(
        matches!(frame.pixels[6..9], [250..=255, 0..=5, 0..=5]),
        "{frame:?}"
    );
    assert!(Frame::from_yuyv(3, 1, &yuyv).is_err());
    let short = Frame::from_yuyv(4, 2, &yuyv).unwrap_err();
    assert!(matches!(
        short,
        FrameError::Length {
            expected: 16,
            found: 8,
            ..
        }
    ));
}

#[test]
fn grey_pixels_become_rgb_and_must_fill_the_frame() {
    let frame = Frame::from_grey(2, 1, &[7, 9]).unwrap();
    assert_eq!(frame.pixels[..], [7, 7, 7, 9, 9, 9]);
    assert!(Frame::from_grey(2, 2, &[7, 9]).is_err());
    assert!(Frame::from_rgb(1, 1, Bytes::from_static(&[1, 2])).is_err());
}

#[test]
fn a_masked_region_shows_nothing_and_the_rest_is_as_it_was() {
    let original = busy(64, 48);
    let mut masked = original.clone();
    masked.mask(&[Region {
        x: 0.26,
        y: 0.5,
        width: 0.2,
        height: 0.9,
        covering: Covering::Fill,
    }]);
    for y in 0..48 {
        for x in 0..64 {
            let pixel = &masked.row(y)[x * 3..][..3];
            // From 16.64 to 29.44 columns, rounded outwards.
            if (16..30).contains(&x) && y >= 24 {
                assert_eq!(pixel, [0; 3], "{x} {y}");
            } else {
                assert_eq!(pixel, &original.row(y)[x * 3..][..3], "{x} {y}");
            }
        }
    }
    assert_eq!(original, busy(64, 48));
}

#[test]
fn a_pixelated_region_keeps_its_mean_and_loses_its_detail() {
    let mut frame = busy(64, 64);
    let before = mean(&frame, 0);
    frame.mask(&[Region {
        x: 0.0,
        y: 0.0,
        width: 1.0,
        height: 1.0,
        covering: Covering::Pixelate,
    }]);
    assert!((mean(&frame, 0) - before).abs() < 1.0);
    let block = &frame.row(0)[..3];
    assert!((0..8).all(|y| frame.row(y)[..24].chunks(3).all(|pixel| pixel == block)));
}

#[test]
fn brightness_and_contrast_are_those_of_the_luma() {
    let flat = flat(100, 100, [200, 200, 200]).quality();
    assert_eq!(
        (flat.brightness, flat.contrast, flat.sharpness),
        (200.0, 0.0, 0.0)
    );
    // According to Pillow: mean 115.4, deviation 75.1 at full size.
    let real = Frame::decode(ASTRONAUT).unwrap().quality();
    assert!((real.brightness - 115.4).abs() < 1.0, "{real:?}");
    assert!((real.contrast - 75.1).abs() < 2.5, "{real:?}");
}

#[test]
fn a_picture_out_of_focus_is_less_sharp() {
    let sharp = Frame::decode(ASTRONAUT).unwrap();
    let mut last = sharp.quality().sharpness;
    for side in [256, 128, 64] {
        // Made smaller and larger again: what a lens out of focus does.
        let smaller = resized(&sharp, side);
        let sharpness = resized(&smaller, 512).quality().sharpness;
        assert!(sharpness < last * 0.8, "{side}: {sharpness} after {last}");
        last = sharpness;
    }
}

fn resized(frame: &Frame, side: u32) -> Frame {
    let json = format!(r#"{{"size":[{side},{side}],"layout":"nhwc","datatype":"uint8"}}"#);
    let resize: crate::Preprocess = serde_json::from_str(&json).unwrap();
    let mut pixels = Vec::new();
    resize.apply(frame, &mut pixels);
    Frame::from_rgb(side, side, pixels.into()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_jpegs_never_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut jpeg = busy(40, 24).encode_jpeg(60);
        for (at, value) in damage {
            let at = at.index(jpeg.len());
            jpeg[at] = value;
        }
        if let Ok(frame) = Frame::decode(&jpeg) {
            prop_assert_eq!(frame.pixels.len(), frame.width as usize * frame.height as usize * 3);
        }
    }

    #[test]
    fn damaged_pngs_never_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut png = png(&busy(40, 24));
        for (at, value) in damage {
            let at = at.index(png.len());
            png[at] = value;
        }
        let _ = Frame::decode(&png);
    }

    #[test]
    fn any_region_and_any_size_can_be_masked_and_measured(
        (width, height) in (1_u32..80, 1_u32..80),
        parts in prop::array::uniform4(any::<f32>()),
        is_pixelated in any::<bool>(),
    ) {
        let mut frame = busy(width, height);
        let covering = if is_pixelated { Covering::Pixelate } else { Covering::Fill };
        let [x, y, width, height] = parts;
        frame.mask(&[Region { x, y, width, height, covering }]);
        let quality = frame.quality();
        prop_assert!((0.0..=255.0).contains(&quality.brightness));
        prop_assert!(quality.sharpness >= 0.0);
    }
}

#[test]
fn a_very_long_and_narrow_picture_is_measured_too() {
    for (width, height) in [(SIDE_MAX, 1), (1, SIDE_MAX), (1, 1), (641, 3)] {
        let quality = flat(width, height, [50; 3]).quality();
        assert_eq!(quality.brightness, 50.0, "{width} x {height}");
    }
}
