//! The decoders beside an independent implementation (`decoders.py`), and under outputs no model should have.

use edge_vision::preprocess::{Align, Fit};
use edge_vision::{Decode, Decoded, Element, NamedTensor, Placement, Values};
use proptest::prelude::*;
use serde::Deserialize;

/// Numbers of the two sides differ by rounding: `f32` here and there, in another order.
const TOLERANCE: f32 = 0.01;

#[derive(Deserialize)]
struct Golden {
    yolov8: Boxes,
    yolox: Boxes,
    centerface: Faces,
}

#[derive(Deserialize)]
struct Boxes {
    size: Option<(u32, u32)>,
    shape: Vec<usize>,
    numbers: Vec<f32>,
    /// Class, score and corners, in the model's pixels.
    expected: Vec<(u32, f32, f32, f32, f32, f32)>,
}

/// The same with landmarks.
type Face = (u32, f32, f32, f32, f32, f32, Vec<[f32; 2]>);

#[derive(Deserialize)]
struct Faces {
    outputs: [Output; 4],
    expected: Vec<Face>,
}

#[derive(Deserialize)]
struct Output {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("data/decoders.json")).expect("decoders.py writes this form")
}

fn decode(yaml: &str) -> Decode {
    let decode: Decode = millwright_document::yaml(yaml, "test").expect("a decoder");
    decode.check().expect("sound settings");
    decode
}

fn whole(size: (u32, u32)) -> Placement {
    Placement::fit(Fit::Stretch, Align::Centre, size, size)
}

fn assert_near(found: f32, expected: f32, what: &str) {
    assert!(
        (found - expected).abs() < TOLERANCE,
        "{what}: {found}, expected {expected}"
    );
}

/// Compares corners, cut off at the frame where the decoder did.
fn assert_same(
    found: &Decoded,
    expected: &[(u32, f32, f32, f32, f32, f32)],
    frame: Option<(u32, u32)>,
) {
    assert_eq!(found.detections.len(), expected.len());
    let cut = |value: f32, side: Option<u32>| match side {
        Some(side) => value.clamp(0.0, side as f32),
        None => value,
    };
    let (width, height) = (frame.map(|size| size.0), frame.map(|size| size.1));
    for (found, &(class, score, left, top, right, bottom)) in found.detections.iter().zip(expected)
    {
        assert_eq!(found.class, class);
        assert_near(found.score, score, "score");
        assert_near(found.x, cut(left, width), "left");
        assert_near(found.y, cut(top, height), "top");
        assert_near(found.x + found.width, cut(right, width), "right");
        assert_near(found.y + found.height, cut(bottom, height), "bottom");
    }
}

#[test]
fn yolov8_agrees_with_the_other_implementation() {
    let golden = golden().yolov8;
    let output = NamedTensor {
        name: "output0",
        shape: &golden.shape,
        data: Values::F32(&golden.numbers),
    };
    let found =
        decode("yolov8: {classes: [a, b, c], score: 0.25, iou: 0.45}").apply(&[output], None);
    assert!(golden.expected.len() > 5);
    assert_same(&found.unwrap(), &golden.expected, None);
}

#[test]
fn yolox_agrees_with_the_other_implementation() {
    let golden = golden().yolox;
    let size = golden.size.unwrap();
    let output = NamedTensor {
        name: "output",
        shape: &golden.shape,
        data: Values::F32(&golden.numbers),
    };
    let found = decode("yolox: {score: 0.3, iou: 0.45}").apply(&[output], Some(&whole(size)));
    assert!(golden.expected.len() > 5);
    assert_same(&found.unwrap(), &golden.expected, Some(size));
}

#[test]
fn centerface_finds_the_real_face_where_the_other_implementation_does() {
    let golden = golden().centerface;
    let names = ["537", "538", "539", "540"];
    let outputs: Vec<_> = names
        .iter()
        .zip(&golden.outputs)
        .map(|(name, output)| NamedTensor {
            name,
            shape: &output.shape,
            data: Values::F32(&output.numbers),
        })
        .collect();
    let found = decode("centerface: {score: 0.2}")
        .apply(&outputs, None)
        .unwrap();
    let boxes: Vec<_> = golden
        .expected
        .iter()
        .map(|&(class, score, left, top, right, bottom, _)| {
            (class, score, left, top, right, bottom)
        })
        .collect();
    assert_eq!(boxes.len(), 1);
    assert_same(&found, &boxes, None);
    for (found, expected) in found.detections[0]
        .landmarks
        .iter()
        .zip(&golden.expected[0].6)
    {
        assert_near(found[0], expected[0], "landmark's column");
        assert_near(found[1], expected[1], "landmark's row");
    }
    assert_eq!(found.detections[0].landmarks.len(), 5);
}

fn iou(a: &edge_vision::Detection, b: &edge_vision::Detection) -> f32 {
    let overlap = |from: f32, length: f32, other: f32, other_length: f32| {
        ((from + length).min(other + other_length) - from.max(other)).max(0.0)
    };
    let common = overlap(a.x, a.width, b.x, b.width) * overlap(a.y, a.height, b.y, b.height);
    common / (a.width * a.height + b.width * b.height - common)
}

/// Any float there is, often an odd one.
fn odd() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -50.0_f32..200.0,
        2 => 0.0_f32..1.0,
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), Just(-f32::MAX), Just(0.0)],
        1 => any::<f32>(),
    ]
}

/// Middle, size, and the scores of two classes.
type Anchor = (f32, f32, f32, f32, f32, f32);

proptest! {
    #[test]
    fn no_two_kept_boxes_of_a_class_overlap_and_the_surest_come_first(
        anchors in prop::collection::vec((0.0_f32..100.0, 0.0_f32..100.0, 1.0_f32..60.0, 1.0_f32..60.0, 0.0_f32..1.0, 0.0_f32..1.0), 1..80),
        most in 0.05_f32..0.95,
        max in 1_usize..20,
    ) {
        let count = anchors.len();
        let channels: [fn(&Anchor) -> f32; 6] =
            [|a| a.0, |a| a.1, |a| a.2, |a| a.3, |a| a.4, |a| a.5];
        let numbers: Vec<f32> = channels.iter().flat_map(|channel| anchors.iter().map(channel)).collect();
        let shape = [1, 6, count];
        let output = NamedTensor { name: "o", shape: &shape, data: Values::F32(&numbers) };
        let yaml = format!("yolov8: {{classes: [a, b], score: 0.3, iou: {most}, max: {max}}}");
        let found = decode(&yaml).apply(&[output], None).unwrap().detections;
        prop_assert!(found.len() <= max);
        for (index, one) in found.iter().enumerate() {
            prop_assert!(one.score >= 0.3);
            for other in &found[index + 1..] {
                prop_assert!(one.score >= other.score);
                prop_assert!(one.class != other.class || iou(one, other) <= most + 1e-3);
            }
        }
        // Whatever is sure enough was kept, or overlaps what was, unless there was no room.
        if found.len() < max {
            for anchor in anchors {
                let (score, class) = if anchor.5 > anchor.4 { (anchor.5, 1) } else { (anchor.4, 0) };
                let it = edge_vision::Detection {
                    x: anchor.0 - anchor.2 / 2.0, y: anchor.1 - anchor.3 / 2.0, width: anchor.2, height: anchor.3,
                    ..edge_vision::Detection::default()
                };
                let is_told = found.iter().any(|kept| kept.class == class && iou(kept, &it) > most - 1e-3);
                prop_assert!(score < 0.3 || is_told);
            }
        }
    }

    #[test]
    fn no_number_makes_a_detector_panic_or_tell_what_is_none(numbers in prop::collection::vec(odd(), 42 * 7)) {
        let size = (64, 32);
        let yolov8 = NamedTensor { name: "o", shape: &[1, 7, 42], data: Values::F32(&numbers) };
        let yolox = NamedTensor { name: "o", shape: &[1, 42, 7], data: Values::F32(&numbers) };
        for (yaml, output) in [("yolov8: {score: 0}", yolov8), ("yolox: {score: 0}", yolox), ("yolox: {score: 0, boxes: pixels}", yolox)] {
            let found = decode(yaml).apply(&[output], Some(&whole(size))).unwrap();
            for found in found.detections {
                prop_assert!(found.score.is_finite() && found.width > 0.0 && found.height > 0.0);
                prop_assert!(found.x >= 0.0 && found.x + found.width <= 64.001);
                prop_assert!(found.y >= 0.0 && found.y + found.height <= 32.001);
            }
        }
    }

    #[test]
    fn no_number_makes_the_face_decoder_panic(numbers in prop::collection::vec(odd(), 15 * 8)) {
        let shapes = [[1, 1, 2, 4], [1, 2, 2, 4], [1, 2, 2, 4], [1, 10, 2, 4]];
        let mut rest = &numbers[..];
        let mut outputs = Vec::new();
        for (name, shape) in ["537", "538", "539", "540"].into_iter().zip(&shapes) {
            let (own, others) = rest.split_at(shape[1] * 8);
            rest = others;
            outputs.push(NamedTensor { name, shape, data: Values::F32(own) });
        }
        let found = decode("centerface: {score: 0}").apply(&outputs, Some(&whole((16, 8)))).unwrap();
        for found in found.detections {
            prop_assert!(found.score.is_finite() && found.width > 0.0);
            prop_assert!(found.landmarks.iter().flatten().all(|number| number.is_finite()));
        }
    }

    #[test]
    fn no_bytes_and_no_shape_make_any_decoder_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        shape in prop::collection::vec(prop_oneof![0_usize..20, any::<usize>()], 0..5),
        element in prop::sample::select(&[
            Element::Bool, Element::Int8, Element::Uint16, Element::Int64, Element::Uint64, Element::Fp16, Element::Bf16,
            Element::Fp32, Element::Fp64, Element::Bytes,
        ][..]),
    ) {
        let outputs: Vec<_> = ["537", "538", "539", "540"]
            .map(|name| NamedTensor { name, shape: &shape, data: Values::Le(element, &bytes) })
            .into();
        for yaml in [
            "raw", "yolov8: {output: '537'}", "yolox: {output: '537'}", "centerface: {}", "softmax: {output: '537'}",
            "anomaly: {threshold: 0, output: '537'}", "regression: {output: '537'}",
        ] {
            if let Ok(found) = decode(yaml).apply(&outputs, Some(&whole((64, 32)))) {
                prop_assert!(serde_json::to_string(&found).is_ok());
            }
        }
    }
}

#[test]
fn suppression_ends_in_time_when_everything_is_a_candidate() {
    // 20,000 boxes that do not overlap, every one as sure as the others.
    let anchors = 20_000;
    let mut numbers = vec![1.0; anchors * 5];
    for anchor in 0..anchors {
        numbers[anchor] = (anchor % 200) as f32 * 3.0;
        numbers[anchors + anchor] = (anchor / 200) as f32 * 3.0;
    }
    let shape = [1, 5, anchors];
    let output = NamedTensor {
        name: "o",
        shape: &shape,
        data: Values::F32(&numbers),
    };
    let found = decode("yolov8: {max: 1000}")
        .apply(&[output], None)
        .unwrap();
    assert_eq!(found.detections.len(), 1000);
    // As sure as each other: in the model's order.
    assert_eq!((found.detections[1].x, found.detections[1].y), (2.5, -0.5));
}
