//! Agreement of model and manifest, and refusal of requests that do not fit.

use super::*;
use crate::worker::tensor::{InferInput, Tensor};

const MANIFEST: &str = "
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: detector, version: 1.0.0}
spec:
  file: model.onnx
  inputs:
    - {name: image, datatype: FP32, shape: [1, 3, -1, -1]}
    - {name: threshold, datatype: FP32, shape: [1]}
  outputs:
    - {name: boxes, datatype: FP32, shape: [-1, 4]}
    - {name: scores, datatype: FP32, shape: [-1]}
  confidence: {output: scores, reduce: max}
";

fn tensor_port(name: &str, shape: &[i64]) -> Port {
    Port {
        name: name.to_owned(),
        kind: PortKind::Tensor {
            datatype: Datatype::Fp32,
            shape: shape.to_vec(),
        },
        optional: false,
    }
}

/// What a model that agrees declares, in another order than the manifest.
fn ports() -> Ports {
    Ports {
        inputs: vec![
            tensor_port("threshold", &[1]),
            tensor_port("image", &[1, 3, -1, -1]),
        ],
        outputs: vec![
            tensor_port("unused", &[]),
            tensor_port("scores", &[-1]),
            tensor_port("boxes", &[]),
        ],
    }
}

fn agree(ports: &Ports) -> Result<Signature, SignatureError> {
    let manifest = Manifest::parse(MANIFEST, "model.yaml").unwrap();
    Signature::agree(Arc::new(manifest), ports)
}

fn tensor(name: &str, shape: &[usize]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.to_vec(),
        data: vec![0; 4 * shape.iter().product::<usize>()].into(),
    }
}

fn request() -> InferInput {
    InferInput {
        tensors: vec![tensor("image", &[1, 3, 2, 2]), tensor("threshold", &[1])],
        outputs: OutputSelection::All,
        sequence: None,
    }
}

fn plan(signature: &Signature, input: &InferInput) -> Result<Call, InferError> {
    let tensors: Vec<_> = input.tensors.iter().map(Tensor::as_ref).collect();
    let request = Request {
        tensors: &tensors,
        outputs: &input.outputs,
        sequence: None,
    };
    let mut call = Call::default();
    signature.plan(&request, &mut call).map(|()| call)
}

#[track_caller]
fn check_refused(change: impl Fn(&mut InferInput), expected: &str) {
    let mut request = request();
    change(&mut request);
    let error = plan(&agree(&ports()).unwrap(), &request).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn inputs_are_placed_in_the_order_of_the_model_and_aligned() {
    let signature = agree(&ports()).unwrap();
    let request = request();
    let call = plan(&signature, &request).unwrap();
    let places = call.run.inputs.iter().flatten();
    let places: Vec<_> = places
        .map(|placed| (placed.offset, placed.length))
        .collect();
    assert_eq!(places, [(0, 4), (64, 48)]);
    assert_eq!(call.sources, [Some(1), Some(0)]);
    assert_eq!(call.run.outputs, [2, 1]);
}

#[test]
fn the_confidence_output_is_computed_even_when_nobody_asked_for_it() {
    let signature = agree(&ports()).unwrap();
    let mut request = request();
    request.outputs = OutputSelection::Named(vec!["boxes".to_owned()]);
    let call = plan(&signature, &request).unwrap();
    assert_eq!(
        (call.wanted.as_slice(), call.returned),
        ([0, 1].as_slice(), 1)
    );
}

#[test]
fn requests_that_do_not_fit_are_refused_with_what_was_expected() {
    check_refused(
        |request| request.tensors[0].shape = vec![1, 1, 2, 6],
        "input `image` must have shape [1, 3, -1, -1] (-1: any length), got [1, 1, 2, 6]",
    );
    check_refused(
        |request| request.tensors[0].shape = vec![1, 3, 2, 3],
        "input `image` needs 72 bytes for its shape and datatype, got 48",
    );
    check_refused(
        |request| request.tensors[0].shape = vec![1, 3, usize::MAX, 2],
        &format!(
            "input `image` needs {} bytes for its shape and datatype, got 48",
            u64::MAX
        ),
    );
    check_refused(
        |request| request.tensors[1].datatype = Datatype::Int32,
        "input `threshold` must have datatype FP32, got INT32",
    );
    check_refused(
        |request| request.tensors[1].name = "limit".to_owned(),
        "model `detector@1.0.0` has no input `limit`; its inputs are `image`, `threshold`",
    );
    check_refused(
        |request| request.tensors.truncate(1),
        "input `threshold` of model `detector@1.0.0` is missing",
    );
    check_refused(
        |request| request.tensors.push(tensor("threshold", &[1])),
        "input `threshold` is given twice",
    );
    check_refused(
        |request| request.outputs = OutputSelection::Named(vec!["masks".to_owned()]),
        "model `detector@1.0.0` has no output `masks`; its outputs are `boxes`, `scores`",
    );
}

#[test]
fn inputs_over_the_size_of_a_slot_are_refused() {
    let side = 4096;
    check_refused(
        |request| request.tensors[0] = tensor("image", &[1, 3, side, side]),
        "the inputs have 201326596 bytes together; one request may carry 134217728",
    );
}

#[track_caller]
fn check_disagreement(change: impl Fn(&mut Ports), expected: &str) {
    let mut ports = ports();
    change(&mut ports);
    assert_eq!(agree(&ports).unwrap_err().to_string(), expected);
}

#[test]
fn a_model_that_disagrees_with_its_manifest_is_refused_by_name() {
    check_disagreement(
        |ports| ports.inputs[1] = tensor_port("image", &[1, 3, 32, 32]),
        "input `image`: model.yaml says FP32 [1, 3, -1, -1], the model has FP32 [1, 3, 32, 32]",
    );
    check_disagreement(
        |ports| ports.inputs[1] = tensor_port("input.1", &[1, 3, -1, -1]),
        "model.yaml lists input `image`, which the model does not have; it has `threshold`, `input.1`",
    );
    check_disagreement(
        |ports| ports.inputs.push(tensor_port("state", &[1])),
        "the model needs input `state`, which model.yaml does not list",
    );
    check_disagreement(
        |ports| ports.outputs[1].kind = PortKind::Unsupported("Sequence<Map<i64, f32>>".to_owned()),
        "output `scores`: model.yaml says FP32 [-1], the model has Sequence<Map<i64, f32>>",
    );
}

/// The detector with more lines in its manifest, before the confidence.
fn agree_with(more: &str, ports: &Ports) -> Result<Signature, SignatureError> {
    let text = MANIFEST.replace("  confidence:", &format!("{more}\n  confidence:"));
    let manifest = Manifest::parse(&text, "model.yaml").unwrap();
    Signature::agree(Arc::new(manifest), ports)
}

#[test]
fn a_state_has_to_be_on_both_sides_of_the_model_and_is_not_sent() {
    const STATE: &str = "  state: [{input: h, output: hn, datatype: FP32, shape: [2, 1, 8]}]";
    let mut ports = ports();
    ports.inputs.push(tensor_port("h", &[2, -1, 8]));
    let error = agree_with(STATE, &ports).unwrap_err().to_string();
    assert!(error.contains("lists output `hn`"), "{error}");
    ports.outputs.push(tensor_port("hn", &[2, 1, 9]));
    let error = agree_with(STATE, &ports).unwrap_err().to_string();
    assert!(error.contains("the model has FP32 [2, 1, 9]"), "{error}");
    ports.outputs[3] = tensor_port("hn", &[2, -1, 8]);
    let call = plan(&agree_with(STATE, &ports).unwrap(), &request()).unwrap();
    assert_eq!((call.run.inputs.len(), call.run.inputs[2]), (3, None));
}

#[test]
fn only_what_the_model_has_a_value_for_may_be_left_out() {
    let text = MANIFEST.replace("shape: [1]}", "shape: [1], optional: true}");
    let manifest = Arc::new(Manifest::parse(&text, "model.yaml").unwrap());
    let mut ports = ports();
    let error = Signature::agree(Arc::clone(&manifest), &ports).unwrap_err();
    assert_eq!(error, SignatureError::NotOptional("threshold".to_owned()));
    ports.inputs[0].optional = true;
    let signature = Signature::agree(manifest, &ports).unwrap();
    let mut request = request();
    request.tensors.truncate(1);
    let call = plan(&signature, &request).unwrap();
    assert_eq!(call.run.inputs[0], None);
    // One that the manifest does not list stays as it is in the model.
    ports.inputs.push(Port {
        optional: true,
        ..tensor_port("scale", &[1])
    });
    agree(&ports).unwrap();
}
