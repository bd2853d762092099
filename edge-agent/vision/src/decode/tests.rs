use super::*;
use crate::decoded::Data;
use crate::tensor::{Element, Values};

fn tensor<'a>(name: &'a str, shape: &'a [usize], data: &'a [f32]) -> NamedTensor<'a> {
    NamedTensor {
        name,
        shape,
        data: Values::F32(data),
    }
}

fn decode(yaml: &str) -> Decode {
    let decode = millwright_document::yaml::<Decode>(yaml, "test").unwrap();
    decode.check().unwrap();
    decode
}

fn apply(yaml: &str, outputs: &[NamedTensor<'_>]) -> Result<Decoded, DecodeError> {
    decode(yaml).apply(outputs, None)
}

#[test]
fn every_kind_has_a_form_in_documents() {
    assert_eq!(decode("raw"), Decode::Raw);
    assert_eq!(decode("yolov8: {}"), Decode::Yolov8(Yolov8::default()));
    assert_eq!(decode("yolox: {score: 0.5}").check(), Ok(()));
    assert_eq!(
        decode("centerface: {}"),
        Decode::Centerface(Centerface::default())
    );
    assert_eq!(decode("softmax: {top: 1}").check(), Ok(()));
    assert_eq!(decode("regression: {unit: mm}").check(), Ok(()));
    let Decode::Anomaly(anomaly) = decode("anomaly: {threshold: 0, direction: below}") else {
        panic!("another kind");
    };
    assert_eq!(anomaly.direction, Direction::Below);
    for written in [
        "raw",
        "yolov8: {classes: coco}",
        "anomaly: {threshold: 1.5}",
    ] {
        let json = serde_json::to_string(&decode(written)).unwrap();
        assert_eq!(
            serde_json::from_str::<Decode>(&json).unwrap(),
            decode(written),
            "{json}"
        );
    }
}

#[test]
fn settings_that_cannot_be_meant_are_named() {
    for (yaml, named) in [
        ("yolov8: {score: 1.5}", "score"),
        ("yolov8: {iou: -1}", "iou"),
        ("yolov8: {max: 0}", "max"),
        ("yolov8: {max: 5000}", "max"),
        ("yolox: {strides: []}", "strides"),
        ("yolox: {strides: [0]}", "strides"),
        ("centerface: {score: .nan}", "score"),
        ("softmax: {top: 0}", "top"),
        ("anomaly: {threshold: .inf}", "threshold"),
    ] {
        let decode = millwright_document::yaml::<Decode>(yaml, "test").unwrap();
        let refused = decode.check().unwrap_err().to_string();
        assert!(refused.contains(named), "{yaml}: {refused}");
    }
    for yaml in [
        "yolov8: {classes: cocoo}",
        "yolov8: {clases: [a]}",
        "anomaly: {}",
    ] {
        assert!(
            millwright_document::yaml::<Decode>(yaml, "test").is_err(),
            "{yaml}"
        );
    }
}

/// Two classes and three anchors: a sure one, the same thing again, and one below the score.
const BOXES: [f32; 18] = [
    50., 52., 10., //
    50., 50., 10., //
    20., 20., 8., //
    30., 30., 8., //
    0.9, 0.8, 0.1, //
    0.1, 0.2, 0.2,
];

#[test]
fn yolov8_finds_a_thing_once() {
    let found = apply(
        "yolov8: {classes: [nut, bolt]}",
        &[tensor("out", &[1, 6, 3], &BOXES)],
    );
    let [detection] = &found.unwrap().detections[..] else {
        panic!("not one detection");
    };
    assert_eq!(
        (&*detection.label, detection.class, detection.score),
        ("nut", 0, 0.9)
    );
    let place = (detection.x, detection.y, detection.width, detection.height);
    assert_eq!(place, (40.0, 35.0, 20.0, 30.0));
}

#[test]
fn yolov8_reads_rows_and_columns_exchanged() {
    let exchanged: Vec<f32> = (0..18).map(|at| BOXES[at % 6 * 3 + at / 6]).collect();
    let yaml = "yolov8: {classes: [nut, bolt]}";
    let one = apply(yaml, &[tensor("out", &[1, 6, 3], &BOXES)]).unwrap();
    let other = apply(yaml, &[tensor("out", &[1, 3, 6], &exchanged)]).unwrap();
    assert_eq!(one, other);
}

#[test]
fn boxes_come_back_to_the_frame_and_end_at_its_edge() {
    let placement = Placement::fit(
        crate::preprocess::Fit::Letterbox,
        crate::preprocess::Align::Centre,
        (200, 100),
        (100, 100),
    );
    // 20 x 80 around the middle of the model's left edge.
    let output = [0., 50., 20., 80., 0.9];
    let found = decode("yolov8: {}").apply(&[tensor("out", &[1, 5, 1], &output)], Some(&placement));
    let detection = &found.unwrap().detections[0];
    let place = (detection.x, detection.y, detection.width, detection.height);
    assert_eq!(place, (0.0, 0.0, 20.0, 100.0));
    assert_eq!(detection.label, "class 0");
}

#[test]
fn an_output_of_another_kind_says_what_is_needed() {
    let shape = apply(
        "yolov8: {classes: [a, b, c]}",
        &[tensor("out", &[1, 6, 3], &BOXES)],
    )
    .unwrap_err();
    assert!(shape.to_string().contains("[1, 7, anchors]"), "{shape}");
    let shape = apply("yolox: {}", &[tensor("out", &[1, 3, 6], &BOXES)]).unwrap_err();
    assert_eq!(shape, DecodeError::NoPlacement("yolox"));
    let face = apply("centerface: {}", &[tensor("out", &[1], &[0.0])]).unwrap_err();
    assert!(
        face.to_string()
            .contains("no output `537`; its outputs are `out`"),
        "{face}"
    );
    let length = apply(
        "yolov8: {classes: [a, b]}",
        &[tensor("out", &[1, 6, 4], &BOXES)],
    )
    .unwrap_err();
    assert!(
        matches!(length, DecodeError::Length { found: 18, .. }),
        "{length}"
    );
    let huge = [1, usize::MAX, 6];
    assert!(apply("yolov8: {}", &[tensor("out", &huge, &BOXES)]).is_err());
    assert!(apply("softmax: {}", &[tensor("out", &[0], &[])]).is_err());
    assert!(apply("anomaly: {threshold: 1}", &[tensor("out", &[0], &[])]).is_err());
}

#[test]
fn yolox_says_how_many_anchors_its_input_has() {
    let placement = Placement::fit(
        crate::preprocess::Fit::Stretch,
        crate::preprocess::Align::Centre,
        (64, 64),
        (64, 64),
    );
    let output = tensor("out", &[1, 3, 6], &BOXES);
    let refused = decode("yolox: {}")
        .apply(&[output], Some(&placement))
        .unwrap_err();
    assert!(
        refused.to_string().contains("[1, 84, 5 + classes]"),
        "{refused}"
    );
    let pixels = decode("yolox: {boxes: pixels, score: 0}");
    assert!(pixels.apply(&[output], None).is_ok());
}

#[test]
fn of_several_outputs_the_one_of_floats_is_meant() {
    let labels = NamedTensor {
        name: "label",
        shape: &[1],
        data: Values::I64(&[2]),
    };
    let scores = tensor("probabilities", &[1, 3], &[0.1, 0.2, 0.7]);
    let found = apply(
        "softmax: {values: probabilities, labels: [a, b, c], top: 2}",
        &[labels, scores],
    );
    let found = found.unwrap();
    let told: Vec<_> = found
        .classes
        .iter()
        .map(|class| (&*class.label, class.score))
        .collect();
    assert_eq!(told, [("c", 0.7), ("b", 0.2)]);
    assert_eq!(found.confidence(), Some(f64::from(0.7_f32)));
    assert_eq!(found.class(), Some(2));
    let two = apply("softmax: {}", &[scores, scores]).unwrap_err();
    assert!(two.to_string().contains("say which one"), "{two}");
}

#[test]
fn softmax_survives_large_logits_and_adds_up_to_one() {
    let found = apply(
        "softmax: {}",
        &[tensor("out", &[1, 3, 1, 1], &[1e30, 1e30, -1e30])],
    )
    .unwrap();
    let scores: Vec<f32> = found.classes.iter().map(|class| class.score).collect();
    assert_eq!(scores, [0.5, 0.5, 0.0]);
    let names = apply(
        "softmax: {labels: [a]}",
        &[tensor("out", &[1, 3], &[0.0; 3])],
    )
    .unwrap_err();
    assert!(
        matches!(
            names,
            DecodeError::Names {
                expected: 3,
                found: 1,
                ..
            }
        ),
        "{names}"
    );
}

#[test]
fn an_anomaly_is_the_worst_score_beyond_the_threshold() {
    let rows = [tensor("scores", &[3, 1], &[0.2, -0.1, 0.3])];
    let above = apply("anomaly: {threshold: 0.25}", &rows).unwrap();
    assert_eq!(
        (above.score, above.anomaly),
        (Some(f64::from(0.3_f32)), Some(true))
    );
    let below = apply("anomaly: {threshold: -0.2, direction: below}", &rows).unwrap();
    assert_eq!(
        (below.score, below.anomaly),
        (Some(f64::from(-0.1_f32)), Some(false))
    );
    assert_eq!(below.confidence(), None);
}

#[test]
fn a_score_that_is_not_finite_is_an_error_and_not_all_well() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let numbers = [0.5, bad];
        let output = [tensor("out", &[2], &numbers)];
        for yaml in ["anomaly: {threshold: 1}", "softmax: {}", "regression: {}"] {
            let failed = apply(yaml, &output).unwrap_err();
            assert!(
                matches!(failed, DecodeError::NotFinite { .. }),
                "{yaml}: {failed}"
            );
        }
    }
}

#[test]
fn a_regression_names_its_numbers() {
    let output = [tensor("size", &[1, 2], &[1.5, 2.5])];
    let named = apply("regression: {names: [length, width], unit: mm}", &output).unwrap();
    let json = serde_json::to_string(&named).unwrap();
    assert_eq!(
        json,
        r#"{"values":[{"name":"length","value":1.5,"unit":"mm"},{"name":"width","value":2.5,"unit":"mm"}]}"#
    );
    let counted = apply("regression: {}", &output).unwrap();
    assert_eq!(counted.values[1].name, "size 1");
    assert!(apply("regression: {names: [length]}", &output).is_err());
}

#[test]
fn raw_outputs_are_repeated_up_to_a_bound() {
    let long = vec![0.5; 5000];
    let text = NamedTensor {
        name: "language",
        shape: &[1],
        data: Values::Le(Element::Bytes, b"\x02\0\0\0de"),
    };
    let found = apply("raw", &[tensor("all", &[5000], &long), text]).unwrap();
    assert_eq!(found.outputs[0].left_out, 5000 - scores::RAW_ELEMENTS_MAX);
    assert_eq!(found.outputs[1].data, Data::Texts(vec!["de".to_owned()]));
    let odd = apply("raw", &[tensor("x", &[2], &[f32::NAN, 1.0])]).unwrap();
    let json = serde_json::to_string(&odd).unwrap();
    assert_eq!(
        json,
        r#"{"outputs":[{"name":"x","shape":[2],"data":[null,1.0]}]}"#
    );
    assert_eq!(serde_json::from_str::<Decoded>(&json).unwrap(), odd);
}
