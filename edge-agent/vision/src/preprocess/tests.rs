use proptest::prelude::*;

use super::*;

const ASTRONAUT: &[u8] = include_bytes!("../../../../tests/data/pictures/astronaut.jpg");

fn preprocess(json: &str) -> Preprocess {
    let preprocess: Preprocess = serde_json::from_str(json).unwrap();
    preprocess.check().unwrap();
    preprocess
}

fn tensor(preprocess: &Preprocess, frame: &Frame) -> (Vec<u8>, Placement) {
    let mut bytes = vec![7; 3];
    let placement = preprocess.apply(frame, &mut bytes);
    assert_eq!(bytes.len(), preprocess.tensor_bytes());
    (bytes, placement)
}

fn floats(preprocess: &Preprocess, frame: &Frame) -> Vec<f32> {
    let (bytes, _) = tensor(preprocess, frame);
    let floats = bytes.chunks_exact(4);
    floats
        .map(|float| f32::from_le_bytes(float.try_into().unwrap()))
        .collect()
}

fn frame(width: u32, height: u32, pixels: &[u8]) -> Frame {
    Frame::from_rgb(width, height, pixels.to_vec().into()).unwrap()
}

#[test]
fn the_short_form_has_the_defaults_of_the_documents() {
    let short = millwright_document::yaml::<Preprocess>("size: [640, 480]\n", "test").unwrap();
    assert_eq!(short.size, (640, 480));
    assert_eq!(short.shape(), [1, 3, 480, 640]);
    assert_eq!((short.fit, short.colour), (Fit::Letterbox, Colour::Rgb));
    assert_eq!((short.scale, short.pad), (1.0, 114));
    let text =
        "{size: [2, 2], scale: 1/255, mean: [0.5], colour: grey, layout: nhwc, datatype: fp16}";
    let long = millwright_document::yaml::<Preprocess>(text, "test").unwrap();
    assert_eq!(long.scale, 1.0 / 255.0);
    assert_eq!((long.shape(), long.tensor_bytes()), ([1, 2, 2, 1], 8));
}

#[test]
fn a_document_survives_being_written() {
    let long =
        preprocess(r#"{"size":[32,16],"fit":"crop","std":[2],"scale":"1/255","align":"corner"}"#);
    let text = serde_json::to_string(&long).unwrap();
    assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), long);
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    for (json, named) in [
        (r#"{"size":[0,640]}"#, "size"),
        (r#"{"size":[640,5000]}"#, "size"),
        (r#"{"size":[8,8],"mean":[1,2]}"#, "mean"),
        (r#"{"size":[8,8],"std":[0]}"#, "std"),
        (r#"{"size":[8,8],"scale":"1/0"}"#, "scale"),
        (r#"{"size":[8,8],"colour":"grey","std":[1,1,1]}"#, "std"),
    ] {
        let parsed: Preprocess = serde_json::from_str(json).unwrap();
        let refused = parsed.check().unwrap_err().to_string();
        assert!(refused.contains(named), "{json}: {refused}");
    }
    let unknown = millwright_document::yaml::<Preprocess>("{size: [8, 8], layuot: nchw}", "x.yaml");
    assert!(unknown.unwrap_err().to_string().contains("layout"));
    assert!(serde_json::from_str::<Preprocess>(r#"{"size":[8,8],"scale":"half"}"#).is_err());
}

#[test]
fn a_frame_of_the_models_size_goes_in_unchanged() {
    let frame = frame(2, 2, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let planes = preprocess(r#"{"size":[2,2]}"#);
    let expected = [1., 4., 7., 10., 2., 5., 8., 11., 3., 6., 9., 12.];
    assert_eq!(floats(&planes, &frame), expected);
    let pixels = preprocess(r#"{"size":[2,2],"layout":"nhwc","colour":"bgr"}"#);
    let expected = [3., 2., 1., 6., 5., 4., 9., 8., 7., 12., 11., 10.];
    assert_eq!(floats(&pixels, &frame), expected);
}

#[test]
fn numbers_are_scaled_then_shifted_then_divided_per_channel() {
    let frame = frame(1, 1, &[255, 51, 0]);
    let imagenet = preprocess(
        r#"{"size":[1,1],"scale":"1/255","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#,
    );
    let found = floats(&imagenet, &frame);
    let expected = [(1.0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, -0.406 / 0.225];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let one_for_all = preprocess(r#"{"size":[1,1],"mean":[1],"std":[2]}"#);
    assert_eq!(floats(&one_for_all, &frame), [127.0, 25.0, -0.5]);
}

#[test]
fn halves_and_bytes_have_the_same_numbers_as_floats() {
    let frame = frame(1, 1, &[255, 51, 0]);
    let halves = preprocess(r#"{"size":[1,1],"scale":"1/255","datatype":"fp16"}"#);
    let (bytes, _) = tensor(&halves, &frame);
    let found: Vec<f32> = bytes
        .chunks_exact(2)
        .map(|half| half::f16::from_le_bytes([half[0], half[1]]).to_f32())
        .collect();
    assert_eq!(found, [1.0, half::f16::from_f32(0.2).to_f32(), 0.0]);
    let shifted = preprocess(r#"{"size":[1,1],"mean":[60],"datatype":"uint8"}"#);
    assert_eq!(tensor(&shifted, &frame).0, [195, 0, 0]);
}

#[test]
fn grey_is_the_luma() {
    let frame = frame(3, 1, &[255, 0, 0, 0, 255, 0, 255, 255, 255]);
    let grey = preprocess(r#"{"size":[3,1],"colour":"grey"}"#);
    assert_eq!(floats(&grey, &frame), [76.0, 150.0, 255.0]);
}

#[test]
fn resizing_is_that_of_pillow() {
    let astronaut = Frame::decode(ASTRONAUT).unwrap();
    // `Image.resize(size, Image.BILINEAR)`: (size, [(x, y, pixel)]).
    let expected = [
        (
            (200, 150),
            [
                (0, 0, [163, 158, 165]),
                (100, 37, [209, 175, 149]),
                (66, 75, [37, 16, 9]),
                (80, 30, [152, 126, 104]),
            ],
        ),
        (
            (96, 400),
            [
                (0, 0, [103, 100, 119]),
                (48, 100, [196, 161, 136]),
                (32, 200, [40, 23, 17]),
                (95, 399, [36, 35, 32]),
            ],
        ),
        (
            (700, 700),
            [
                (0, 0, [153, 147, 157]),
                (350, 175, [217, 182, 157]),
                (233, 350, [38, 16, 9]),
                (699, 699, [4, 0, 5]),
            ],
        ),
    ];
    for ((width, height), pixels) in expected {
        let json = format!(
            r#"{{"size":[{width},{height}],"fit":"stretch","layout":"nhwc","datatype":"uint8"}}"#
        );
        let (bytes, _) = tensor(&preprocess(&json), &astronaut);
        for (x, y, pixel) in pixels {
            let found = &bytes[(y * width + x) * 3..][..3];
            for (found, expected) in found.iter().zip(pixel) {
                // The decoders of the JPEG differ by one or two levels already.
                assert!(
                    found.abs_diff(expected) <= 3,
                    "{width} x {height}, {x} {y}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn shrinking_averages_instead_of_skipping() {
    // One white column in ten: picking every tenth pixel would see all or nothing.
    let pixels: Vec<u8> = (0..100 * 10)
        .flat_map(|at| [if at % 10 == 3 { 255 } else { 0 }; 3])
        .collect();
    let small = preprocess(r#"{"size":[10,1],"fit":"stretch","colour":"grey"}"#);
    for value in floats(&small, &frame(100, 10, &pixels)) {
        assert!((20.0..32.0).contains(&value), "{value}");
    }
}

#[test]
fn a_letterbox_has_bars_of_its_grey() {
    let white = frame(4, 2, &[255; 24]);
    let centre = preprocess(r#"{"size":[4,4],"colour":"grey"}"#);
    let rows: Vec<f32> = floats(&centre, &white).into_iter().step_by(4).collect();
    assert_eq!(rows, [114.0, 255.0, 255.0, 114.0]);
    let corner = preprocess(r#"{"size":[4,4],"colour":"grey","align":"corner","pad":0}"#);
    let rows: Vec<f32> = floats(&corner, &white).into_iter().step_by(4).collect();
    assert_eq!(rows, [255.0, 255.0, 0.0, 0.0]);
}

#[test]
fn a_crop_sees_the_middle() {
    let pixels: Vec<u8> = (0..6).flat_map(|x| [x * 10; 3]).collect();
    let crop = preprocess(r#"{"size":[2,1],"fit":"crop","colour":"grey"}"#);
    let (_, placement) = tensor(&crop, &frame(6, 1, &pixels));
    assert_eq!(floats(&crop, &frame(6, 1, &pixels)), [20.0, 30.0]);
    assert_eq!(placement.to_frame((0.0, 0.0)), (2.0, 0.0));
    assert_eq!(placement.to_frame((2.0, 1.0)), (4.0, 1.0));
}

#[test]
fn a_frame_of_another_size_in_between_does_not_matter() {
    let astronaut = Frame::decode(ASTRONAUT).unwrap();
    let other = frame(3, 5, &[90; 45]);
    let fit = preprocess(r#"{"size":[96,64]}"#);
    let first = tensor(&fit, &astronaut);
    tensor(&fit, &other);
    tensor(&preprocess(r#"{"size":[31,70],"fit":"crop"}"#), &astronaut);
    assert_eq!(tensor(&fit, &astronaut), first);
}

#[derive(Clone, Copy, Debug)]
struct Case {
    frame: (u32, u32),
    model: (u32, u32),
    fit: Fit,
    align: Align,
}

fn cases() -> impl Strategy<Value = Case> {
    let side = || (8_u32..200, 8_u32..200);
    let fits = prop_oneof![Just(Fit::Letterbox), Just(Fit::Stretch), Just(Fit::Crop)];
    let aligns = prop_oneof![Just(Align::Centre), Just(Align::Corner)];
    (side(), side(), fits, aligns).prop_map(|(frame, model, fit, align)| Case {
        frame,
        model,
        fit,
        align,
    })
}

proptest! {
    #[test]
    fn a_point_of_the_frame_comes_back_to_where_it_was(case in cases(), part in (0.0_f32..1.0, 0.0_f32..1.0)) {
        let placement = Placement::fit(case.fit, case.align, case.frame, case.model);
        let point = (part.0 * case.frame.0 as f32, part.1 * case.frame.1 as f32);
        let (x, y) = placement.to_frame(placement.to_model(point));
        prop_assert!((x - point.0).abs() < 0.01 && (y - point.1).abs() < 0.01, "{:?} {:?}", point, (x, y));
    }

    /// Draws a box, looks for it in the tensor and asks where that is in the frame.
    #[test]
    fn a_box_drawn_in_the_frame_is_found_there_again(
        case in cases(),
        (left, top, right, bottom) in (0.1_f32..0.4, 0.1_f32..0.4, 0.6_f32..0.9, 0.6_f32..0.9),
    ) {
        let (width, height) = case.frame;
        let drawn = [left * width as f32, top * height as f32, right * width as f32, bottom * height as f32]
            .map(|edge| edge.round() as u32);
        let pixels: Vec<u8> = (0..width * height).flat_map(|at| {
            let (x, y) = (at % width, at / width);
            let inside = (drawn[0]..drawn[2]).contains(&x) && (drawn[1]..drawn[3]).contains(&y);
            [if inside { 255 } else { 0 }; 3]
        }).collect();
        let preprocess = Preprocess {
            size: case.model, fit: case.fit, align: case.align, colour: Colour::Grey, pad: 0,
            ..preprocess(r#"{"size":[1,1]}"#)
        };
        let frame = frame(width, height, &pixels);
        let (bytes, placement) = tensor(&preprocess, &frame);
        let level = |at: usize| f32::from_le_bytes(bytes[at * 4..][..4].try_into().unwrap());
        // A box narrower than a pixel of the model is nowhere white: its edge is where half of its own brightness is.
        let brightest = (0..bytes.len() / 4).map(level).fold(0.0, f32::max);
        let bright = |at: usize| level(at) > brightest / 2.0;
        let (columns, rows) = (case.model.0 as usize, case.model.1 as usize);
        let seen: Vec<(usize, usize)> = (0..columns * rows).filter(|&at| bright(at)).map(|at| (at % columns, at / columns)).collect();
        prop_assume!(!seen.is_empty());
        let edge = |least: Option<usize>| least.unwrap() as f32;
        let found = (
            placement.to_frame((edge(seen.iter().map(|p| p.0).min()), edge(seen.iter().map(|p| p.1).min()))),
            placement.to_frame((edge(seen.iter().map(|p| p.0).max()) + 1.0, edge(seen.iter().map(|p| p.1).max()) + 1.0)),
        );
        // One pixel of the coarser of the two; what a crop cuts off cannot be found.
        let origin = placement.to_frame((0.0, 0.0));
        let one = placement.to_frame((1.0, 1.0));
        let pixel = ((one.0 - origin.0).max(1.0), (one.1 - origin.1).max(1.0));
        let (from, until) = (placement.from, (placement.from.x + placement.from.width, placement.from.y + placement.from.height));
        let expected = [
            drawn[0].max(from.x), drawn[1].max(from.y), drawn[2].min(until.0), drawn[3].min(until.1),
        ].map(|edge| edge as f32);
        prop_assert!((found.0.0 - expected[0]).abs() <= pixel.0, "{found:?} {expected:?}");
        prop_assert!((found.0.1 - expected[1]).abs() <= pixel.1, "{found:?} {expected:?}");
        prop_assert!((found.1.0 - expected[2]).abs() <= pixel.0, "{found:?} {expected:?}");
        prop_assert!((found.1.1 - expected[3]).abs() <= pixel.1, "{found:?} {expected:?}");
    }

    #[test]
    fn every_frame_fills_every_model_within_its_range(case in cases(), level in any::<u8>()) {
        let preprocess = Preprocess {
            size: case.model, fit: case.fit, align: case.align, pad: level, datatype: Datatype::Uint8,
            ..preprocess(r#"{"size":[1,1]}"#)
        };
        let pixels = vec![level; case.frame.0 as usize * case.frame.1 as usize * 3];
        let (bytes, _) = tensor(&preprocess, &frame(case.frame.0, case.frame.1, &pixels));
        prop_assert!(bytes.iter().all(|&value| value == level));
    }
}
