//! Rectangles, dots and letters in RGB pixels. What is outside is cut off.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::frame::CHANNELS;

/// Red, green, blue.
pub(super) type Colour = [u8; CHANNELS];

/// Rows and columns of a letter.
const LETTER: i32 = 8;

/// Space around a label's letters, in parts of the scale.
const MARGIN: i32 = 2;

/// Ground that is brighter than this gets black letters.
const BRIGHT: u32 = 140;

/// What is drawn for a character the font does not have: a box.
const UNKNOWN: [u8; 8] = [0, 0x7E, 0x42, 0x42, 0x42, 0x42, 0x7E, 0];

/// Pixels to draw on.
pub(super) struct Canvas<'a> {
    width: i32,
    height: i32,
    pixels: &'a mut [u8],
}

impl<'a> Canvas<'a> {
    pub(super) fn new(width: u32, height: u32, pixels: &'a mut [u8]) -> Self {
        // Sides of a frame are far below 2^31.
        Self {
            width: width as i32,
            height: height as i32,
            pixels,
        }
    }

    pub(super) fn width(&self) -> i32 {
        self.width
    }

    /// A filled rectangle; `right` and `bottom` are not part of it.
    fn fill(&mut self, left: i32, top: i32, right: i32, bottom: i32, colour: Colour) {
        let (left, right) = (left.max(0), right.min(self.width));
        if left >= right {
            return;
        }
        for y in top.max(0)..bottom.min(self.height) {
            let start = (y as usize * self.width as usize + left as usize) * CHANNELS;
            let row = &mut self.pixels[start..start + (right - left) as usize * CHANNELS];
            for pixel in row.chunks_exact_mut(CHANNELS) {
                pixel.copy_from_slice(&colour);
            }
        }
    }

    /// A rectangle's edges, drawn inwards.
    pub(super) fn outline(
        &mut self,
        left: i32,
        top: i32,
        right: i32,
        bottom: i32,
        thickness: i32,
        colour: Colour,
    ) {
        let inner = |edge: i32, by: i32| edge.saturating_add(by);
        self.fill(left, top, right, inner(top, thickness).min(bottom), colour);
        self.fill(
            left,
            inner(bottom, -thickness).max(top),
            right,
            bottom,
            colour,
        );
        self.fill(left, top, inner(left, thickness).min(right), bottom, colour);
        self.fill(
            inner(right, -thickness).max(left),
            top,
            right,
            bottom,
            colour,
        );
    }

    /// A square with a dark edge, around a point.
    pub(super) fn dot(&mut self, x: i32, y: i32, side: i32, colour: Colour) {
        let corner = |by: i32| {
            (
                x.saturating_sub(side / 2 + by),
                y.saturating_sub(side / 2 + by),
            )
        };
        let (left, top) = corner(1);
        let end = |start: i32| start.saturating_add(side + 2);
        self.fill(left, top, end(left), end(top), [0; CHANNELS]);
        let (left, top) = corner(0);
        let end = |start: i32| start.saturating_add(side);
        self.fill(left, top, end(left), end(top), colour);
    }

    /// Width and height of a label.
    pub(super) fn label_size(scale: i32, text: &str) -> (i32, i32) {
        let letters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
        let margin = 2 * MARGIN * scale;
        (
            letters
                .saturating_mul(LETTER * scale)
                .saturating_add(margin),
            LETTER * scale + margin,
        )
    }

    /// Text on a ground of `colour`, from its upper left corner. Returns its height.
    pub(super) fn label(&mut self, x: i32, y: i32, scale: i32, text: &str, colour: Colour) -> i32 {
        let (width, height) = Self::label_size(scale, text);
        self.fill(
            x,
            y,
            x.saturating_add(width),
            y.saturating_add(height),
            colour,
        );
        let brightness =
            (77 * u32::from(colour[0]) + 150 * u32::from(colour[1]) + 29 * u32::from(colour[2]))
                / 256;
        let ink = if brightness > BRIGHT {
            [0; CHANNELS]
        } else {
            [255; CHANNELS]
        };
        let mut left = x.saturating_add(MARGIN * scale);
        for character in text.chars() {
            self.letter(
                left,
                y.saturating_add(MARGIN * scale),
                scale,
                character,
                ink,
            );
            left = left.saturating_add(LETTER * scale);
        }
        height
    }

    fn letter(&mut self, left: i32, top: i32, scale: i32, character: char, ink: Colour) {
        let glyph = BASIC_FONTS
            .get(character)
            .or_else(|| LATIN_FONTS.get(character))
            .or_else(|| GREEK_FONTS.get(character))
            .unwrap_or(UNKNOWN);
        for (row, bits) in (0..).zip(glyph) {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                let x = left.saturating_add(column * scale);
                let y = top.saturating_add(row * scale);
                self.fill(x, y, x.saturating_add(scale), y.saturating_add(scale), ink);
            }
        }
    }
}
