//! Requests and answers, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::worker::{InferOutput, Timing};

fn parse(json: &str) -> Result<Request, RequestError> {
    request(&Bytes::copy_from_slice(json.as_bytes()), None)
}

fn one_input(datatype: &str, shape: &str, data: &str) -> String {
    format!(
        r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#
    )
}

#[track_caller]
fn check_bytes(datatype: &str, data: &str, expected: &[u8]) {
    let request = parse(&one_input(datatype, "[1]", data)).unwrap();
    assert_eq!(
        &*request.question.input.tensors[0].data, expected,
        "{datatype} {data}"
    );
}

#[test]
fn json_data_of_every_kind_becomes_little_endian_elements() {
    check_bytes("FP32", "[[1.5], [2]]", &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x40]);
    check_bytes("FP64", "[-1]", &(-1.0_f64).to_le_bytes());
    check_bytes(
        "BYTES",
        r#"["a", ["\u00e4"]]"#,
        b"\x01\0\0\0a\x02\0\0\0\xc3\xa4",
    );
    check_bytes("INT8", "[-1, 127]", &[0xff, 0x7f]);
    check_bytes("UINT64", "[18446744073709551615]", &[0xff; 8]);
    check_bytes("BOOL", "[true, 0]", &[1, 0]);
}

#[track_caller]
fn check_refused(json: &str, words: &[&str]) {
    let error = parse(json).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error} should say {word}");
    }
}

#[test]
fn what_is_no_request_is_refused_by_name() {
    check_refused(&one_input("FLOAT", "[1]", "[1]"), &["`x`", "FLOAT", "FP32"]);
    check_refused(&one_input("FP32", "[-1]", "[1]"), &["`x`", "[-1]"]);
    check_refused(
        &one_input("UINT8", "[1]", "[256]"),
        &["`x`", "256", "UINT8"],
    );
    check_refused(
        &one_input("INT32", "[1]", "[1.5]"),
        &["`x`", "1.5", "INT32"],
    );
    check_refused(&one_input("FP32", "[1]", "[\"1\"]"), &["`x`", "FP32"]);
    check_refused(&one_input("BYTES", "[1]", "[1]"), &["`x`", "BYTES"]);
    check_refused(
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}"#,
        &["`x`", "data"],
    );
    check_refused(&one_input("FP16", "[1]", "[1]"), &["`x`", "FP16", "binary"]);
    check_refused("{}", &["inputs"]);
    check_refused("not json", &["not valid"]);
    let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    check_refused(&one_input("FP32", "[1]", &nested), &["recursion"]);
}

#[test]
fn binary_data_is_cut_off_the_body_in_the_order_of_the_inputs() {
    let header = r#"{"inputs":[{"name":"a","datatype":"UINT8","shape":[2],"parameters":{"binary_data_size":2}},{"name":"b","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1}}],"parameters":{"binary_data_output":true}}"#;
    let body = |binary: &[u8]| Bytes::from([header.as_bytes(), binary].concat());
    let request_of = |binary: &[u8]| request(&body(binary), Some(header.len()));
    let request = request_of(&[1, 2, 3]).unwrap();
    let data: Vec<&[u8]> = request
        .question
        .input
        .tensors
        .iter()
        .map(|tensor| &*tensor.data)
        .collect();
    assert_eq!(data, [&[1_u8, 2][..], &[3]]);
    assert_eq!(request.form, OutputForm::Each(Encoding::Binary));
    assert!(matches!(
        request_of(&[1, 2]),
        Err(RequestError::BinaryShort {
            wanted: 1,
            left: 0,
            ..
        })
    ));
    assert!(matches!(
        request_of(&[1, 2, 3, 4]),
        Err(RequestError::BinaryLeft(1))
    ));
}

#[test]
fn a_header_length_beyond_the_body_is_refused() {
    for length in [3, usize::MAX] {
        assert!(matches!(
            super::request(&Bytes::from_static(b"{}"), Some(length)),
            Err(RequestError::HeaderLength { body: 2, .. })
        ));
    }
}

#[test]
fn answers_carry_each_output_in_the_form_asked_for() {
    let tensor = |name: &str, datatype, data: Vec<u8>| Tensor {
        name: name.to_owned(),
        datatype,
        shape: vec![1, 2],
        data: data.into(),
    };
    let floats = [0.5_f32, f32::NAN].map(f32::to_le_bytes).concat();
    let output = InferOutput {
        model: "detector@1.0.0".parse().unwrap(),
        tensors: vec![
            tensor("scores", Datatype::Fp32, floats),
            tensor("labels", Datatype::Uint8, vec![7, 8]),
        ],
        confidence: None,
        timing: Timing::default(),
    };
    let form = OutputForm::Listed(vec![Encoding::Json, Encoding::Binary]);
    let answer = answer(output, Some("a\"b"), &form).unwrap();
    assert_eq!(
        std::str::from_utf8(&answer.parts[0]).unwrap(),
        r#"{"model_name":"detector","model_version":"1.0.0","id":"a\"b","outputs":[{"name":"scores","datatype":"FP32","shape":[1, 2],"data":[0.5,null]},{"name":"labels","datatype":"UINT8","shape":[1, 2],"parameters":{"binary_data_size":2}}]}"#
    );
    assert_eq!(&*answer.parts[1], [7, 8]);
    assert_eq!(answer.header_length, Some(answer.parts[0].len()));
}

#[test]
fn what_json_cannot_carry_is_told_to_go_as_binary() {
    let output = |datatype, data: &'static [u8]| InferOutput {
        model: "reader@1.0.0".parse().unwrap(),
        tensors: vec![Tensor {
            name: "words".to_owned(),
            datatype,
            shape: vec![1],
            data: Bytes::from_static(data),
        }],
        confidence: None,
        timing: Timing::default(),
    };
    let json = OutputForm::Each(Encoding::Json);
    let good = answer(output(Datatype::Bytes, b"\x02\0\0\0\"a"), None, &json).unwrap();
    assert!(good.parts[0].ends_with(br#""data":["\"a"]}]}"#));
    for (datatype, data) in [
        (Datatype::Bytes, &b"\x01\0\0\0\xff"[..]),
        (Datatype::Fp16, &[0, 0]),
    ] {
        let refused = answer(output(datatype, data), None, &json).unwrap_err();
        assert!(refused.to_string().contains("`words`"), "{refused}");
        let binary = OutputForm::Each(Encoding::Binary);
        assert!(answer(output(datatype, data), None, &binary).is_ok());
    }
}

#[test]
fn parameters_say_the_sequence_the_limit_and_the_classes() {
    let of = |parameters: &str| {
        let json = format!(
            r#"{{"inputs":[],"outputs":[{{"name":"y","parameters":{{"classification":3}}}}],"parameters":{parameters}}}"#
        );
        parse(&json).unwrap().question
    };
    let question = of(r#"{"sequence_id":7,"sequence_start":true,"timeout":1500,"priority":1}"#);
    let begun = Sequence {
        id: SequenceId::Number(7),
        start: true,
        end: false,
    };
    assert_eq!(question.input.sequence, Some(begun));
    assert_eq!(question.limit, Some(Duration::from_micros(1500)));
    assert_eq!(question.classes, [3]);
    let text = of(r#"{"sequence_id":"press-4","sequence_end":true}"#);
    let id = SequenceId::Text("press-4".to_owned());
    assert_eq!(text.input.sequence.map(|s| (s.id, s.end)), Some((id, true)));
    for none in [
        r#"{"sequence_id":0,"timeout":0}"#,
        r#"{"sequence_id":""}"#,
        "{}",
    ] {
        let question = of(none);
        assert_eq!((question.input.sequence, question.limit), (None, None));
    }
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(body: Vec<u8>, length in proptest::option::of(0_usize..80)) {
        let _ = request(&body.into(), length);
    }

    #[test]
    fn floats_survive_json(values: Vec<f32>) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut json = Vec::new();
        elements_to_json(Datatype::Fp32, &bytes, &mut json);
        let finite = values.iter().all(|value| value.is_finite());
        let raw: Box<RawValue> = serde_json::from_slice(&json).unwrap();
        let back = elements_from_json(&raw, Datatype::Fp32);
        prop_assert_eq!(back.ok(), finite.then_some(bytes));
    }
}
