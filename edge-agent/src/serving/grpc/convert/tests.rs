//! Messages as clients build them.

use super::*;
use crate::worker::tensor::strings;

fn input(datatype: &str, contents: Option<wire::InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: "x".to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![2],
        parameters: Parameters::new(),
        contents,
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> wire::ModelInferRequest {
    wire::ModelInferRequest {
        inputs,
        raw_input_contents: raw,
        ..Default::default()
    }
}

fn parameter(choice: ParameterChoice) -> wire::InferParameter {
    wire::InferParameter {
        parameter_choice: Some(choice),
    }
}

#[track_caller]
fn check_contents(datatype: &str, contents: wire::InferTensorContents, expected: &[u8]) {
    let asked = question(request(vec![input(datatype, Some(contents))], vec![])).unwrap();
    assert_eq!(&*asked.input.tensors[0].data, expected, "{datatype}");
}

#[test]
fn contents_of_every_field_become_little_endian_elements() {
    let empty = wire::InferTensorContents::default;
    let of = |int_contents| wire::InferTensorContents {
        int_contents,
        ..empty()
    };
    check_contents("INT8", of(vec![-1, 2]), &[0xff, 2]);
    check_contents("INT16", of(vec![-1, 2]), &[0xff, 0xff, 2, 0]);
    let fp32_contents = vec![1.5, 2.0];
    let floats = wire::InferTensorContents {
        fp32_contents,
        ..empty()
    };
    check_contents("FP32", floats, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x40]);
    let bool_contents = vec![true, false];
    let bits = wire::InferTensorContents {
        bool_contents,
        ..empty()
    };
    check_contents("BOOL", bits, &[1, 0]);
    let bytes_contents = vec![Bytes::from_static(b"\xff"), Bytes::new()];
    let words = wire::InferTensorContents {
        bytes_contents,
        ..empty()
    };
    let asked = question(request(vec![input("BYTES", Some(words))], vec![])).unwrap();
    let found = strings(&asked.input.tensors[0].data).unwrap();
    assert_eq!(found, [&b"\xff"[..], b""]);
}

#[test]
fn contents_that_are_not_those_of_the_datatype_are_refused_by_name() {
    let int_contents = vec![300, 0];
    let large = wire::InferTensorContents {
        int_contents,
        ..Default::default()
    };
    let half = wire::InferTensorContents::default();
    for (request, words) in [
        (
            request(vec![input("INT8", Some(large.clone()))], vec![]),
            ["300", "INT8"],
        ),
        (
            request(vec![input("FP16", Some(half))], vec![]),
            ["FP16", "raw_input_contents"],
        ),
        (
            request(vec![input("FP32", None)], vec![]),
            ["`x`", "no contents"],
        ),
        (
            request(vec![input("FP32", None)], vec![Bytes::new(); 2]),
            ["2", "1 inputs"],
        ),
        (
            request(vec![input("INT8", Some(large))], vec![Bytes::new()]),
            ["`x`", "raw"],
        ),
    ] {
        let error = question(request).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn parameters_say_the_sequence_the_limit_and_the_classes() {
    let mut asked = request(
        vec![input("UINT8", None)],
        vec![Bytes::from_static(&[1, 2])],
    );
    let of = |name: &str, choice| (name.to_owned(), parameter(choice));
    asked.parameters = Parameters::from([
        of(
            "sequence_id",
            ParameterChoice::StringParam("press-4".to_owned()),
        ),
        of("sequence_end", ParameterChoice::BoolParam(true)),
        of("timeout", ParameterChoice::Int64Param(2_000)),
    ]);
    asked.outputs = vec![wire::model_infer_request::InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: Parameters::from([of("classification", ParameterChoice::Int64Param(4))]),
    }];
    let asked = question(asked).unwrap();
    let sequence = asked.input.sequence.unwrap();
    assert_eq!(sequence.id, SequenceId::Text("press-4".to_owned()));
    assert!(sequence.end && !sequence.start);
    assert_eq!(asked.limit, Some(std::time::Duration::from_millis(2)));
    assert_eq!(asked.classes, [4]);
}
