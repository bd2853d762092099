use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;

const MANIFEST: &str = "\
apiVersion: millwright/v1
kind: ModelPackage
metadata: {name: adder, version: 1.0.0, description: Adds}
spec:
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
  outputs: [{name: y, datatype: FP32, shape: [-1, 1]}]
  golden: [{file: golden/one.safetensors, absoluteTolerance: 0.1}]
";

/// IR version 8, an empty graph of three bytes, an opset import: enough for the outer check.
const MODEL: &[u8] = b"\x08\x08\x3a\x03\x0a\x01x\x42\x02\x10\x11";

fn golden(tensors: &[(&str, Dtype, &[usize])]) -> Vec<u8> {
    let zeros = [0; 64];
    let view = |dtype: Dtype, shape: &[usize]| {
        let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        TensorView::new(dtype, shape.to_vec(), &zeros[..bytes]).unwrap()
    };
    let named: HashMap<String, TensorView<'_>> = tensors
        .iter()
        .map(|(name, dtype, shape)| ((*name).to_owned(), view(*dtype, shape)))
        .collect();
    safetensors::serialize(named, None).unwrap()
}

const GOOD: &[(&str, Dtype, &[usize])] = &[
    ("input/x", Dtype::F32, &[1, 2]),
    ("output/y", Dtype::F32, &[1, 1]),
];

/// Writes a good package.
pub(crate) fn good(root: &Path) {
    fs::create_dir_all(root.join("golden")).unwrap();
    fs::write(root.join("model.yaml"), MANIFEST).unwrap();
    fs::write(root.join("model.onnx"), MODEL).unwrap();
    fs::write(root.join("golden/one.safetensors"), golden(GOOD)).unwrap();
}

/// What is said of a good package after `damage`.
fn refused(damage: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    good(directory.path());
    damage(directory.path());
    crate::exit::in_full(&PackageDirectory::read(directory.path()).unwrap_err().into())
}

#[test]
fn a_good_directory_is_listed_without_what_is_not_signed() {
    let directory = tempfile::tempdir().unwrap();
    good(directory.path());
    fs::write(directory.path().join("model.sig"), "{}").unwrap();
    fs::create_dir(directory.path().join(".git")).unwrap();
    fs::write(directory.path().join(".git/config"), "").unwrap();
    let package = PackageDirectory::read(directory.path()).unwrap();
    let paths: Vec<_> = package
        .files
        .entries()
        .iter()
        .map(|e| e.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["golden/one.safetensors", "model.onnx", "model.yaml"]
    );
    let model = package.files.get(&"model.onnx".parse().unwrap()).unwrap();
    assert_eq!(model.digest, millwright_proto::Digest::of(MODEL));
    assert_eq!(model.size_bytes, MODEL.len() as u64);
}

#[test]
fn models_that_are_not_onnx_or_cut_off_are_refused() {
    let with = |content: &'static [u8]| {
        refused(move |root| fs::write(root.join("model.onnx"), content).unwrap())
    };
    for (content, expected) in [
        (&b"PK\x03\x04 a zip archive"[..], "is not an ONNX model"),
        (b"", "it has no IR version"),
        (b"\x08\x08", "it has no graph"),
        (b"{\"json\": 1}", "is not an ONNX model"),
        (
            &MODEL[..6],
            "is cut off: byte 7 is announced, the file ends at 6",
        ),
        (&MODEL[..3], "is cut off"),
        (
            b"\x3a\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "it is no protobuf",
        ),
        (
            b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "is cut off",
        ),
    ] {
        let error = with(content);
        assert!(
            error.contains("model.onnx") && error.contains(expected),
            "{content:?}: {error}"
        );
    }
}

#[test]
fn golden_sets_that_do_not_fit_the_manifest_are_refused() {
    for (tensors, expected) in [
        (
            &[("input/x", Dtype::F32, &[1, 2][..])][..],
            "no `output/...` tensor",
        ),
        (&[("output/y", Dtype::F32, &[1, 1])], "`input/x` is missing"),
        (
            &[("x", Dtype::F32, &[1, 2])],
            "`x` is none of the manifest's: known are input/x, output/y",
        ),
        (
            &[("input/x", Dtype::F64, &[1, 2])],
            "`input/x` is FP64; the manifest says FP32",
        ),
        (
            &[("input/x", Dtype::F32, &[1, 3])],
            "has shape [1, 3]; the manifest says [-1, 2]",
        ),
    ] {
        let error = refused(|root| {
            fs::write(root.join("golden/one.safetensors"), golden(tensors)).unwrap();
        });
        assert!(
            error.contains("one.safetensors") && error.contains(expected),
            "{error}"
        );
    }
    let error = refused(|root| fs::write(root.join("golden/one.safetensors"), "no").unwrap());
    assert!(error.contains("is not a safetensors file"), "{error}");
}

#[test]
fn directories_that_are_no_package_are_refused() {
    let error = refused(|root| fs::remove_file(root.join("model.yaml")).unwrap());
    assert!(
        error.contains("cannot read") && error.contains("model.yaml"),
        "{error}"
    );
    let error = refused(|root| fs::remove_file(root.join("model.onnx")).unwrap());
    assert!(error.contains("spec.file names `model.onnx`"), "{error}");
    let error = refused(|root| {
        std::os::unix::fs::symlink("/etc/passwd", root.join("LICENSE")).unwrap();
    });
    assert!(
        error.contains("LICENSE is neither a file nor a directory"),
        "{error}"
    );
    let error = refused(|root| fs::write(root.join("a\\b"), "").unwrap());
    assert!(error.contains("rename it"), "{error}");
    let error = refused(|root| {
        (0..300).for_each(|i| fs::write(root.join(format!("f{i}")), "").unwrap());
    });
    assert!(error.contains("more than 256 files"), "{error}");
}
