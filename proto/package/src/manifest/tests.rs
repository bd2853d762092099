use proptest::prelude::*;

use super::*;
use crate::FileEntry;

const FACE: &str = "\
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: face-detector, version: 1.0.0, description: Finds faces, license: MIT}
spec:
  file: model.onnx
  inputs: [{name: input.1, datatype: FP32, shape: [1, 3, -1, -1]}]
  outputs: [{name: '537', datatype: FP32, shape: [1, 1, -1, -1]}]
  golden:
    - {file: golden/face.safetensors, absoluteTolerance: 0.02, relativeTolerance: 0.01}
  confidence: {output: '537', reduce: max}
  profile: profile.json
  limits: {memoryMib: 512, threads: 2}
";

fn refused(from: &str, to: &str) -> String {
    assert!(FACE.contains(from), "{from}");
    let text = FACE.replace(from, to);
    Manifest::parse(&text, "model.yaml")
        .unwrap_err()
        .to_string()
}

#[test]
fn a_manifest_becomes_types() {
    let manifest = Manifest::parse(FACE, "model.yaml").unwrap();
    assert_eq!(manifest.model_version().to_string(), "face-detector@1.0.0");
    assert_eq!(manifest.license.as_deref(), Some("MIT"));
    let input = manifest.input("input.1").unwrap();
    assert_eq!(
        (input.datatype, input.dims()),
        (Datatype::Fp32, vec![1, 3, -1, -1])
    );
    assert!(input.admits(&[1, 3, 640, 32]));
    assert!(!input.admits(&[2, 3, 640, 32]));
    assert!(!input.admits(&[1, 3, 640]));
    assert_eq!(manifest.golden[0].absolute_tolerance, 0.02);
    let confidence = Confidence {
        output: "537".to_owned(),
        reduce: Reduce::Max,
    };
    assert_eq!(manifest.confidence, Some(confidence));
    assert_eq!(
        (manifest.limits.memory_mib, manifest.limits.threads.get()),
        (NonZeroU32::new(512), 2)
    );
}

#[test]
fn everything_optional_may_be_left_out() {
    let text = FACE.split("  golden:").next().unwrap();
    let manifest = Manifest::parse(text, "model.yaml").unwrap();
    assert_eq!((manifest.golden.len(), manifest.confidence), (0, None));
    assert_eq!(
        (manifest.limits.memory_mib, manifest.limits.threads.get()),
        (None, 1)
    );
}

#[test]
fn a_state_is_neither_sent_nor_got_and_begins_with_zeros_of_a_known_size() {
    let state = |rest: &str| {
        let text = FACE.replace("  golden:", &format!("  state: [{{{rest}}}]\n  golden:"));
        Manifest::parse(&text, "model.yaml").map_err(|error| error.to_string())
    };
    let good = "input: h, output: hn, datatype: FP32, shape: [2, 1, 128]";
    let manifest = state(good).unwrap();
    assert_eq!(manifest.state[0].output, "hn");
    for (from, to, field) in [
        ("input: h,", "input: input.1,", "spec.state[0].input"),
        ("output: hn", "output: '537'", "spec.state[0].output"),
        ("FP32", "BYTES", "spec.state[0].datatype"),
        ("[2, 1", "[0, 1", "spec.state[0].shape"),
        ("128]", "1280000]", "spec.state has more than"),
        (
            "128]",
            "4294967295, 4294967295, 4294967295]",
            "spec.state has more than",
        ),
    ] {
        let error = state(&good.replace(from, to)).unwrap_err();
        assert!(error.contains(field), "{error}");
    }
    assert!(
        state(&format!("{good}}}, {{{good}"))
            .unwrap_err()
            .contains("spec.state[1].input")
    );
}

#[test]
fn only_an_input_may_be_optional() {
    let text = FACE.replacen("-1, -1]}", "-1, -1], optional: true}", 1);
    assert!(Manifest::parse(&text, "model.yaml").unwrap().inputs[0].optional);
    let error = refused("[1, 1, -1, -1]}", "[1, 1, -1, -1], optional: true}");
    assert!(error.contains("spec.outputs[0].optional"), "{error}");
}

#[test]
fn a_misspelled_key_is_answered_with_the_nearest_known_one() {
    let error = refused("  outputs:", "  output:");
    assert!(
        error.contains("`output`") && error.contains("`outputs`"),
        "{error}"
    );
    assert!(error.contains("model.yaml"), "{error}");
}

#[test]
fn values_that_cannot_be_meant_are_refused_with_their_field() {
    for (from, to, expected) in [
        (
            "millwright/v1",
            "millwright/v2",
            "apiVersion is `millwright/v2`",
        ),
        ("kind: ModelPackage", "kind: Model", "kind is `Model`"),
        (
            "[1, 3, -1, -1]",
            "[1, 0, 2]",
            "spec.inputs[0].shape has a dimension of 0",
        ),
        ("[1, 3, -1, -1]", "[1, -2]", "dimension of -2"),
        ("name: input.1", "name: ''", "spec.inputs[0].name must be"),
        (
            "absoluteTolerance: 0.02",
            "absoluteTolerance: -1",
            "spec.golden[0].absoluteTolerance is -1",
        ),
        (
            "relativeTolerance: 0.01",
            "relativeTolerance: .inf",
            "relativeTolerance is inf",
        ),
        (
            "output: '537'",
            "output: '538'",
            "spec.confidence.output names `538`; spec.outputs has 537",
        ),
        (
            "inputs: [{name: input.1, datatype: FP32, shape: [1, 3, -1, -1]}]",
            "inputs: []",
            "lists 0 tensors",
        ),
        (
            "datatype: FP32, shape: [1, 3",
            "datatype: float, shape: [1, 3",
            "`float` is unknown",
        ),
        (
            "file: model.onnx",
            "file: ../model.onnx",
            "must be relative",
        ),
        ("version: 1.0.0", "version: ../1", "version `../1`"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn the_same_tensor_twice_is_refused() {
    let twice = "[{name: x, datatype: FP32, shape: []}, {name: x, datatype: FP32, shape: []}]";
    let error = refused(
        "[{name: input.1, datatype: FP32, shape: [1, 3, -1, -1]}]",
        twice,
    );
    assert!(error.contains("spec.inputs[1].name repeats `x`"), "{error}");
}

#[test]
fn every_file_the_manifest_names_has_to_be_listed() {
    let manifest = Manifest::parse(FACE, "model.yaml").unwrap();
    let entry = |path: &str| FileEntry {
        path: path.parse().unwrap(),
        digest: millwright_proto::Digest::of(b""),
        size_bytes: 0,
    };
    let all = [
        "model.yaml",
        "model.onnx",
        "golden/face.safetensors",
        "profile.json",
    ];
    let list = |paths: &[&str]| FileList::new(paths.iter().map(|p| entry(p)).collect()).unwrap();
    assert!(matches!(manifest.check_files(&list(&all)), Ok(())));
    let error = manifest
        .check_files(&list(&all[..3]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("spec.profile names `profile.json`"),
        "{error}"
    );
    let error = manifest
        .check_files(&list(&all[..2]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("spec.golden.file names `golden/face.safetensors`"),
        "{error}"
    );
    let error = manifest
        .check_files(&list(&["model.yaml"]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("spec.file names `model.onnx`"), "{error}");
}

#[test]
fn a_manifest_over_the_limit_is_not_even_parsed() {
    let text = "#".repeat(MANIFEST_BYTES_MAX + 1);
    let error = Manifest::parse(&text, "model.yaml").unwrap_err();
    assert!(
        matches!(error, ManifestError::TooLong { bytes: 65_537, .. }),
        "{error}"
    );
}

proptest! {
    #[test]
    fn damaged_manifests_never_panic(at in 0..FACE.len(), cut in 0..40_usize, with in "\\PC{0,6}") {
        let end = (at + cut).min(FACE.len());
        let text = format!("{}{with}{}", &FACE[..at], &FACE[end..]);
        if let Ok(manifest) = Manifest::parse(&text, "model.yaml") {
            prop_assert!(!manifest.inputs.is_empty() && !manifest.outputs.is_empty());
        }
    }
}

#[test]
fn only_what_has_rows_everywhere_and_no_state_may_be_batched() {
    let rows = FACE.replace("shape: [1, ", "shape: [-1, ").replace(
        "  limits",
        "  batching: {maxRows: 32, maxDelayUs: 800}\n  limits",
    );
    let parse = |text: &str| Manifest::parse(text, "model.yaml");
    let batching = parse(&rows).unwrap().batching.unwrap();
    assert_eq!((batching.max_rows.get(), batching.max_delay_us), (32, 800));
    let short = rows.replace(", maxDelayUs: 800", "");
    assert_eq!(parse(&short).unwrap().batching.unwrap().max_delay_us, 500);
    for (from, to, words) in [
        ("[-1, 1, ", "[1, 1, ", "`537`"),
        ("maxRows: 32", "maxRows: 1", "2 to 4096"),
        ("maxDelayUs: 800", "maxDelayUs: 1000000", "maxDelayUs"),
        ("maxRows: 32", "rows: 32", "maxRows"),
    ] {
        let error = parse(&rows.replace(from, to)).unwrap_err();
        let told = format!("{error}");
        assert!(told.contains(words), "{told}");
    }
}
