use crate::decoded::Class;

use super::*;

fn black(width: u32, height: u32) -> Frame {
    let pixels = vec![0; width as usize * height as usize * 3];
    Frame::from_rgb(width, height, pixels.into()).unwrap()
}

fn detection(x: f32, y: f32, width: f32, height: f32) -> Detection {
    Detection {
        label: "face".to_owned(),
        score: 0.93,
        x,
        y,
        width,
        height,
        ..Detection::default()
    }
}

fn drawn(decoded: &Decoded, (width, height): (u32, u32)) -> Frame {
    let mut frame = black(width, height);
    annotate(&mut frame, decoded);
    frame
}

fn with(detections: Vec<Detection>) -> Decoded {
    Decoded {
        detections,
        ..Decoded::default()
    }
}

fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
    let row = frame.row(y as usize);
    row[x as usize * 3..][..3].try_into().unwrap()
}

#[test]
fn a_box_has_edges_in_its_colour_and_is_empty_inside() {
    let frame = drawn(&with(vec![detection(100.0, 100.0, 80.0, 60.0)]), (320, 320));
    let colour = CLASS_COLOURS[0];
    for (x, y) in [(100, 130), (179, 130), (140, 100), (140, 159), (101, 101)] {
        assert_eq!(pixel(&frame, x, y), colour, "{x} {y}");
    }
    for (x, y) in [(140, 130), (99, 130), (180, 130), (140, 160)] {
        assert_eq!(pixel(&frame, x, y), [0; 3], "{x} {y}");
    }
}

#[test]
fn the_label_stands_above_the_box_in_black_on_its_colour() {
    let frame = drawn(&with(vec![detection(100.0, 100.0, 80.0, 60.0)]), (320, 320));
    // "face 0.93": 9 letters of 8 pixels and two margins of 2.
    let rows = 88..100;
    let ground = rows
        .clone()
        .flat_map(|y| (100..176).map(move |x| (x, y)))
        .filter(|&(x, y)| pixel(&frame, x, y) == CLASS_COLOURS[0])
        .count();
    assert!((500..76 * 12 - 100).contains(&ground), "{ground}");
    let ink = |x: u32| {
        rows.clone()
            .filter(|&y| pixel(&frame, x, y) == [0; 3])
            .count()
    };
    assert!((102..174).map(ink).sum::<usize>() > 100);
}

#[test]
fn a_label_at_the_frames_edge_stays_inside() {
    let frame = drawn(&with(vec![detection(300.0, 0.0, 20.0, 40.0)]), (320, 320));
    let ground = (240..320).filter(|&x| pixel(&frame, x, 1) == CLASS_COLOURS[0]);
    assert!(ground.count() >= 70);
}

#[test]
fn landmarks_are_dots() {
    let mut face = detection(100.0, 100.0, 80.0, 60.0);
    face.landmarks = vec![[120.0, 120.0]];
    let frame = drawn(&with(vec![face]), (320, 320));
    assert_eq!(pixel(&frame, 120, 120), CLASS_COLOURS[0]);
}

#[test]
fn an_anomaly_is_told_in_the_corner() {
    let corner = |anomaly| {
        let decoded = Decoded {
            score: Some(0.912_34),
            anomaly: Some(anomaly),
            ..Decoded::default()
        };
        pixel(&drawn(&decoded, (320, 240)), 1, 1)
    };
    assert_eq!(corner(true), ALARM);
    assert_eq!(corner(false), PLAIN);
}

#[test]
fn classes_are_told_one_below_the_other() {
    let class = |class| Class {
        label: "Schraube größer".to_owned(),
        class,
        score: 0.5,
    };
    let decoded = Decoded {
        classes: (0..20).map(class).collect(),
        ..Decoded::default()
    };
    let frame = drawn(&decoded, (320, 320));
    for (line, colour) in (0..).zip(CLASS_COLOURS).take(LINES_MAX) {
        assert_eq!(pixel(&frame, 1, line * 12 + 1), colour, "{line}");
    }
    assert_eq!(pixel(&frame, 1, LINES_MAX as u32 * 12 + 1), [0; 3]);
}

#[test]
fn letters_grow_with_the_frame() {
    let height_of_label = |side| {
        let decoded = Decoded {
            score: Some(1.0),
            ..Decoded::default()
        };
        let frame = drawn(&decoded, (side, side));
        (0..side)
            .take_while(|&y| pixel(&frame, 0, y) == PLAIN)
            .count()
    };
    assert_eq!(height_of_label(200), 12);
    assert_eq!(height_of_label(640), 24);
    assert_eq!(height_of_label(1280), 48);
}

#[test]
fn numbers_that_are_none_and_boxes_outside_do_no_harm() {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e30,
        -1e30,
        -5.0,
        0.0,
    ];
    for x in odd {
        for width in odd {
            let mut detection = detection(x, width, width, x);
            detection.landmarks = vec![[x, width]];
            detection.label = "\u{1F980}\u{0}\u{20AC}".repeat(1000);
            drawn(&with(vec![detection]), (33, 7));
        }
    }
}

#[test]
fn the_picture_somebody_else_holds_stays_as_it_is() {
    let mut frame = black(64, 64);
    let held = frame.clone();
    annotate(&mut frame, &with(vec![detection(10.0, 10.0, 20.0, 20.0)]));
    assert_ne!(frame, held);
    assert!(held.pixels.iter().all(|&value| value == 0));
}
