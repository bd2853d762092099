//! How arrays fit a model.

use std::num::NonZeroU32;

use super::*;

fn spec(name: &str, datatype: Datatype, shape: &[u32]) -> TensorSpec {
    let dim = |&length: &u32| NonZeroU32::new(length).map_or(Dim::Dynamic, Dim::Fixed);
    TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.iter().map(dim).collect(),
        optional: false,
    }
}

fn floats(name: &str, shape: &[usize]) -> Array {
    let count = shape.iter().product();
    Array::of_numbers(name, Datatype::Fp32, shape.to_vec(), &vec![1.0; count]).unwrap()
}

/// A model of an input `x` of rows of two, and an output `y`.
fn assigned(arrays: Vec<Array>, first: First) -> Result<Assigned, String> {
    let inputs = [spec("x", Datatype::Fp32, &[0, 2])];
    let outputs = [spec("y", Datatype::Fp32, &[0])];
    assign(arrays, &inputs, &outputs, first)
}

#[test]
fn arrays_are_found_by_name_with_or_without_a_side_and_a_single_one_without_any() {
    for name in ["x", "input/x", "arr_0"] {
        let found = assigned(vec![floats(name, &[3, 2])], First::Request).unwrap();
        assert_eq!(found.inputs[0].name, "x");
    }
    let both = vec![floats("x", &[1, 2]), floats("output/y", &[1])];
    let found = assigned(both, First::Request).unwrap();
    assert_eq!(
        (found.inputs.len(), found.outputs[0].name.as_str()),
        (1, "y")
    );
}

#[test]
fn arrays_that_do_not_fit_say_how_to_save_them() {
    let mut double = floats("x", &[2]);
    double.datatype = Datatype::Fp64;
    double.shape = vec![1, 1];
    for (arrays, words) in [
        (
            vec![floats("z", &[1, 2])],
            "no input or output `z`; it takes `x` and gives `y`",
        ),
        (vec![floats("y", &[1])], "input `x` is missing"),
        (
            vec![floats("x", &[1, 3])],
            "shape [1, 3] and the model takes [-1, 2]",
        ),
        (vec![floats("x", &[2])], "shape [2]"),
        (vec![double], ".astype(float32)"),
    ] {
        let error = assigned(arrays, First::Request).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn of_sample_data_the_first_length_is_how_many_there_are() {
    let inputs = [spec("x", Datatype::Fp32, &[1, 2])];
    let take = |first| assign(vec![floats("x", &[5, 2])], &inputs, &[], first);
    assert!(take(First::Request).unwrap_err().contains("[5, 2]"));
    assert_eq!(
        take(First::Rows).unwrap().inputs[0].part(2, 1).shape,
        [1, 2]
    );
}

#[test]
fn files_for_the_agent_read_back_and_rows_are_put_together_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    let values = [1.0, -2.0, 250.0, 4.0];
    for datatype in [
        Datatype::Fp32,
        Datatype::Fp64,
        Datatype::Fp16,
        Datatype::Int64,
        Datatype::Int32,
    ] {
        let array = Array::of_numbers("y", datatype, vec![2, 2], &values).unwrap();
        assert_eq!(array.numbers().collect::<Vec<_>>(), values);
        let parts = [array.part(0, 1), array.part(1, 1)];
        assert_eq!(Array::joined(&parts).unwrap(), array);
        write(&path, &[floats("x", &[1])], std::slice::from_ref(&array)).unwrap();
        assert_eq!(outputs(&path).unwrap(), [array]);
    }
}
