//! Messages in, results out.

use super::*;

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
fn a_message_that_is_no_input_still_says_who_it_is() {
    let (echo, input) = parse(br#"{"id": 7, "values": [1]}"#, &manifest("[-1, 3]"));
    assert!(matches!(input, Err(MessageError::Count { count: 1, .. })));
    assert_eq!(serde_json::to_string(&echo).unwrap(), r#"{"id":7}"#);
    let (echo, input) = parse(b"not json", &manifest("[-1, 3]"));
    assert!(matches!(input, Err(MessageError::Json(_))));
    assert_eq!(serde_json::to_string(&echo).unwrap(), "{}");
}
