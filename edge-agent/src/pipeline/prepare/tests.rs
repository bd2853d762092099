use millwright_pipeline::Pipeline;

use super::*;

fn manifest(inputs: &str) -> Manifest {
    let text = format!(
        "apiVersion: millwright/v1
kind: ModelPackage
metadata: {{name: m, version: 1.0.0}}
spec:
  file: model.onnx
  inputs: {inputs}
  outputs: [{{name: y, datatype: FP32, shape: [-1]}}]
"
    );
    Manifest::parse(&text, "model.yaml").unwrap()
}

fn pipeline(payload: &str, rest: &str) -> Pipeline {
    let text = format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: p}}
spec:
  source: {{push: {{payload: {payload}}}}}
  model: m
{rest}"
    );
    Pipeline::parse(&text, "p.yaml").unwrap()
}

/// A package without a profile.
fn taker(manifest: &Manifest) -> Taker<'_> {
    Taker {
        manifest,
        profile: None,
    }
}

const ROW: &str = "{json: {fields: {a: a, b: b}}}";

fn floats(tensor: &Tensor) -> Vec<f32> {
    let element = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    tensor.data.chunks(4).map(element).collect()
}

#[test]
fn rows_are_scaled_field_by_field_and_fill_the_input() {
    let scale = "scale: {standard: {mean: [1, 10], std: [2, 5]}}";
    for (window, values, shape, expected) in [
        ("", vec![3.0, 20.0], vec![1, 2], vec![1.0, 2.0]),
        (
            ", window: {size: 2}",
            vec![3.0, 20.0, 1.0, 10.0],
            vec![2, 2],
            vec![1.0, 2.0, 0.0, 0.0],
        ),
        (
            ", window: {size: 2, order: fields}",
            vec![3.0, 1.0, 20.0, 10.0],
            vec![2, 2],
            vec![1.0, 0.0, 2.0, 0.0],
        ),
    ] {
        let rest = format!("  preprocess: {{sensors: {{{scale}{window}}}}}\n");
        let manifest = manifest("[{name: x, datatype: FP32, shape: [-1, 2]}]");
        let preparation = Preparation::of(&pipeline(ROW, &rest));
        let prepared = preparation
            .prepare(&Content::Rows(values), taker(&manifest))
            .unwrap();
        let tensor = &prepared.input.tensors[0];
        assert_eq!(
            (&tensor.shape, floats(tensor)),
            (&shape, expected),
            "{window}"
        );
    }
}

#[test]
fn a_pipeline_that_does_not_fit_its_model_is_told_what_to_write() {
    let image = "  preprocess: {image: {size: [64, 32]}}\n";
    for (payload, rest, inputs, words) in [
        (
            ROW,
            "",
            "[{name: x, datatype: FP32, shape: [1, 3]}]",
            "`x` takes shape [1, 3], which 2 values",
        ),
        (
            ROW,
            "",
            "[{name: x, datatype: BOOL, shape: [-1]}]",
            "`x` takes BOOL",
        ),
        (
            ROW,
            "",
            "[{name: x, datatype: FP32, shape: [2]}, {name: y, datatype: FP32, shape: [2]}]",
            "2 inputs: name the one",
        ),
        (
            ROW,
            "  preprocess: {sensors: {input: z}}\n",
            "[{name: x, datatype: FP32, shape: [2]}]",
            "no input `z`",
        ),
        (
            ROW,
            "  preprocess: {sensors: {scale: profile}}\n",
            "[{name: x, datatype: FP32, shape: [2]}]",
            "needs a profile",
        ),
        (
            "image",
            image,
            "[{name: x, datatype: UINT8, shape: [1, 3, -1, -1]}]",
            "`datatype: uint8`",
        ),
        (
            "image",
            image,
            "[{name: x, datatype: FP32, shape: [1, 3, 64, 64]}]",
            "[1, 3, 32, 64]",
        ),
        (
            "image",
            "",
            "[{name: x, datatype: FP32, shape: [1, 3, -1, -1]}]",
            "preprocess: {image: ..}",
        ),
    ] {
        let error = fits(&pipeline(payload, rest), taker(&manifest(inputs))).unwrap_err();
        assert!(error.is_misfit(), "{error}");
        let error = error.to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn bytes_are_the_elements_of_the_input() {
    let preparation = Preparation::of(&pipeline("{bytes: {}}", ""));
    let manifest = |datatype: &str| {
        manifest(&format!(
            "[{{name: x, datatype: {datatype}, shape: [1, -1]}}]"
        ))
    };
    let content = Content::Elements(None, Bytes::from_static(&[1, 2, 3, 4]));
    let tensor = |datatype: &str| {
        let prepared = preparation
            .prepare(&content, taker(&manifest(datatype)))
            .unwrap();
        let tensor = &prepared.input.tensors[0];
        (tensor.shape.clone(), tensor.data.to_vec())
    };
    assert_eq!(tensor("INT16"), (vec![1, 2], vec![1, 2, 3, 4]));
    assert_eq!(tensor("BYTES"), (vec![1, 1], vec![4, 0, 0, 0, 1, 2, 3, 4]));
    let (error, _) = preparation
        .prepare(
            &Content::Elements(None, Bytes::from_static(&[1])),
            taker(&manifest("INT16")),
        )
        .unwrap_err();
    assert!(error.to_string().contains("no whole elements"), "{error}");
}

#[test]
fn a_picture_that_is_none_fails_alone() {
    let image = "  preprocess: {image: {size: [64, 32]}}\n";
    let preparation = Preparation::of(&pipeline("image", image));
    let manifest = manifest("[{name: x, datatype: FP32, shape: [1, 3, -1, -1]}]");
    let content = Content::Picture(Bytes::from_static(b"no picture"));
    let (error, _) = preparation.prepare(&content, taker(&manifest)).unwrap_err();
    assert!(!error.is_misfit(), "{error}");
    let white = Frame::from_rgb(32, 32, vec![255; 32 * 32 * 3].into()).unwrap();
    let content = Content::Picture(white.encode_jpeg(90).into());
    let prepared = preparation.prepare(&content, taker(&manifest)).unwrap();
    assert_eq!(prepared.input.tensors[0].shape, [1, 3, 32, 64]);
    assert!(prepared.picture.is_some());
}
