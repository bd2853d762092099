//! Messages in, results out.

use super::*;
use millwright_package::Datatype;

fn manifest(shape: &str) -> Manifest {
    let text = format!(
        "apiVersion: millwright/v1
kind: ModelPackage
metadata: {{name: anomaly, version: 1.0.0}}
spec:
  file: model.onnx
  inputs: [{{name: sensors, datatype: FP32, shape: {shape}}}]
  outputs: [{{name: scores, datatype: FP32, shape: [-1]}}]
"
    );
    Manifest::parse(&text, "model.yaml").unwrap()
}

#[track_caller]
fn check_shape(shape: &str, message: &str, expected: &[usize]) {
    let (_, input) = parse(message.as_bytes(), &manifest(shape));
    assert_eq!(input.unwrap().tensors[0].shape, expected);
}

#[test]
fn numbers_fill_the_open_dimension() {
    check_shape("[-1, 3]", r#"{"values": [1, 2, 3]}"#, &[1, 3]);
    check_shape(
        "[-1, 3]",
        r#"{"inputs": {"sensors": [[1, 2, 3], [4, 5, 6]]}}"#,
        &[2, 3],
    );
    check_shape(
        "[-1, -1]",
        r#"{"values": [1, 2, 3], "unit": "bar"}"#,
        &[1, 3],
    );
    check_shape("[3]", r#"{"values": [1, 2, 3]}"#, &[3]);
}

#[track_caller]
fn check_refused(message: &str, expected: &str) {
    let (_, input) = parse(message.as_bytes(), &manifest("[-1, 3]"));
    assert_eq!(input.unwrap_err().to_string(), expected);
}

#[test]
fn messages_that_do_not_fit_are_refused_by_name() {
    check_refused(
        r#"{"values": [1, 2]}"#,
        "input `sensors` takes shape [-1, 3], which 2 numbers do not fill",
    );
    check_refused(
        r#"{"inputs": {"pressure": [1]}}"#,
        "the model has no input `pressure`",
    );
    check_refused(
        r#"{"id": 1}"#,
        "the message must have either `inputs` or `values`",
    );
    check_refused(
        r#"{"values": []}"#,
        "input `sensors` takes shape [-1, 3], which 0 numbers do not fill",
    );
}

#[test]
fn results_repeat_id_and_timestamp_as_they_were() {
    let message = br#"{"id": "r\u0031", "timestamp": 17.50, "values": [1, 2, 3]}"#;
    let (echo, _) = parse(message, &manifest("[-1, 3]"));
    let output = InferOutput {
        model: "anomaly@1.0.0".parse().unwrap(),
        tensors: vec![Tensor {
            name: "scores".to_owned(),
            datatype: Datatype::Fp32,
            shape: vec![1],
            data: 0.25_f32.to_le_bytes().to_vec().into(),
        }],
        confidence: None,
        timing: crate::worker::Timing::default(),
    };
    assert_eq!(
        String::from_utf8(result(&echo, &output)).unwrap(),
        r#"{"id":"r\u0031","timestamp":17.50,"model":"anomaly","version":"1.0.0","outputs":{"scores":{"datatype":"FP32","shape":[1],"data":[0.25]}}}"#
    );
}

#[test]
fn errors_name_the_message_as_far_as_it_could_be_read() {
    let (echo, input) = parse(br#"{"id": 7, "values": [1]}"#, &manifest("[-1, 3]"));
    let text = refused(&echo, &"anomaly".parse().unwrap(), &input.unwrap_err());
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"id":7,"model":"anomaly","error":{"class":"message","message":"input `sensors` takes shape [-1, 3], which 1 numbers do not fill"}}"#
    );
    let (echo, input) = parse(b"not json", &manifest("[-1, 3]"));
    assert!(matches!(input, Err(MessageError::Json(_))));
    assert!(
        refused(&echo, &"anomaly".parse().unwrap(), &MessageError::Form).starts_with(b"{\"model\"")
    );
}
