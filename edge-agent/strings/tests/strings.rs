//! Strings through tensors of the real library.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with the place"
)]

use std::path::Path;
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::memory::Allocator;
use ort::value::{DynTensor, TensorElementType};
use proptest::prelude::*;

/// Loads ONNX Runtime, where the set-up puts it.
fn load() {
    static LOADED: OnceLock<Environment> = OnceLock::new();
    LOADED.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/onnxruntime")
            .join(std::env::consts::ARCH)
            .join("libonnxruntime.so.1.31.1");
        let file = path.display();
        assert!(path.exists(), "{file} is missing: run `make setup`");
        ort::init_from(&path).unwrap().build().unwrap()
    });
}

fn tensor(element: TensorElementType, count: usize) -> DynTensor {
    load();
    let shape = [i64::try_from(count).unwrap()];
    DynTensor::new(&Allocator::default(), element, shape).unwrap()
}

fn read(tensor: DynTensor) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    edge_strings::read(&tensor.into_dyn(), |string| found.push(string.to_vec())).unwrap();
    found
}

proptest! {
    #[test]
    fn any_bytes_come_back_as_they_went_in(
        strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
        before in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 20),
    ) {
        let mut tensor = tensor(TensorElementType::String, strings.len());
        // A tensor that held something else already, longer or shorter.
        let before: Vec<&[u8]> = before.iter().take(strings.len()).map(Vec::as_slice).collect();
        edge_strings::fill(&mut tensor, &before).unwrap();
        let given: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        edge_strings::fill(&mut tensor, &given).unwrap();
        prop_assert_eq!(read(tensor), strings);
    }
}

#[test]
fn only_a_tensor_of_as_many_strings_is_filled_or_read() {
    let mut two = tensor(TensorElementType::String, 2);
    let error = edge_strings::fill(&mut two, &[b"one"]).unwrap_err();
    assert_eq!(error.to_string(), "1 strings for a tensor of 2");
    let mut numbers = tensor(TensorElementType::Int64, 1);
    let error = edge_strings::fill(&mut numbers, &[b"12345678"]).unwrap_err();
    assert!(
        error.to_string().contains("no tensor of strings"),
        "{error}"
    );
    let error = edge_strings::read(&numbers.into_dyn(), |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("no tensor of strings"),
        "{error}"
    );
}
