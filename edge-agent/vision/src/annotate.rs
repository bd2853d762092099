//! What a model said, drawn onto its frame: boxes, their labels, landmarks; classes and scores in the corner.
//!
//! For a person who aims a camera: lines and letters grow with the frame, every class has its colour, and letters
//! stand on a ground of that colour. [`canvas`] does the drawing and cuts off what is outside.

mod canvas;

use canvas::{Canvas, Colour};

use crate::decoded::{Decoded, Detection};
use crate::frame::Frame;

/// Frames whose shorter side has so many pixels get lines of one pixel and letters of eight.
const SIDE_AT_SCALE_1: u32 = 320;

/// Lines and letters grow no further.
const SCALE_MAX: u32 = 12;

/// Letters of a label that are drawn.
const LABEL_CHARS_MAX: usize = 40;

/// Lines in the corner: classes, scores, numbers.
const LINES_MAX: usize = 6;

/// Colours that stay apart for the colour-blind (Okabe and Ito 2008), those that show on pictures first.
const CLASS_COLOURS: [Colour; 7] = [
    [86, 180, 233],
    [230, 159, 0],
    [0, 158, 115],
    [240, 228, 66],
    [204, 121, 167],
    [213, 94, 0],
    [0, 114, 178],
];

const ALARM: Colour = [200, 20, 20];
const PLAIN: Colour = [30, 30, 30];

/// Draws `decoded` onto `frame`.
pub fn annotate(frame: &mut Frame, decoded: &Decoded) {
    let shorter = frame.width.min(frame.height);
    let scale = ((shorter + SIDE_AT_SCALE_1 / 2) / SIDE_AT_SCALE_1).clamp(1, SCALE_MAX) as i32;
    let (width, height) = (frame.width, frame.height);
    frame.change(|pixels| {
        let mut canvas = Canvas::new(width, height, pixels);
        // The surest last, so that it is on top.
        for detection in decoded.detections.iter().rev() {
            draw_detection(&mut canvas, detection, scale);
        }
        let mut y = 0;
        for (line, colour) in corner(decoded) {
            y += canvas.label(0, y, scale, &line, colour);
        }
    });
}

fn draw_detection(canvas: &mut Canvas<'_>, detection: &Detection, scale: i32) {
    let colour = CLASS_COLOURS[detection.class as usize % CLASS_COLOURS.len()];
    // Casting saturates, and takes NaN for 0.
    let (left, top) = (detection.x.round() as i32, detection.y.round() as i32);
    let right = (detection.x + detection.width).round() as i32;
    let bottom = (detection.y + detection.height).round() as i32;
    canvas.outline(left, top, right, bottom, 2 * scale, colour);
    for [x, y] in &detection.landmarks {
        canvas.dot(x.round() as i32, y.round() as i32, 2 * scale, colour);
    }
    let name: String = detection.label.chars().take(LABEL_CHARS_MAX).collect();
    let text = format!("{name} {:.2}", detection.score);
    let (text_width, text_height) = Canvas::label_size(scale, &text);
    // Above the box; inside it at the frame's upper edge; never out to the right.
    let y = if top >= text_height {
        top - text_height
    } else {
        top.max(0)
    };
    let x = left.min(canvas.width() - text_width).max(0);
    canvas.label(x, y, scale, &text, colour);
}

/// What there is to say about the whole picture.
fn corner(decoded: &Decoded) -> Vec<(String, Colour)> {
    let mut lines = Vec::new();
    if let Some(score) = decoded.score {
        let (word, colour) = match decoded.anomaly {
            Some(true) => ("ANOMALY", ALARM),
            Some(false) => ("ok", PLAIN),
            None => ("score", PLAIN),
        };
        lines.push((format!("{word} {score:.3}"), colour));
    }
    lines.extend(decoded.classes.iter().map(|class| {
        let colour = CLASS_COLOURS[class.class as usize % CLASS_COLOURS.len()];
        (format!("{} {:.2}", class.label, class.score), colour)
    }));
    lines.extend(decoded.values.iter().map(|value| {
        let text = format!("{} {:.4} {}", value.name, value.value, value.unit);
        (text.trim_end().to_owned(), PLAIN)
    }));
    lines.truncate(LINES_MAX);
    for (line, _) in &mut lines {
        *line = line.chars().take(LABEL_CHARS_MAX).collect();
    }
    lines
}

#[cfg(test)]
mod tests;
