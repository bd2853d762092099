//! Comparing outputs with tolerances.

use super::*;

fn tensor(values: &[f32]) -> Tensor {
    Tensor {
        name: "scores".to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![values.len()],
        data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

fn golden(absolute_tolerance: f64, relative_tolerance: f64) -> Golden {
    Golden {
        file: "golden/set.safetensors".parse().unwrap(),
        absolute_tolerance,
        relative_tolerance,
    }
}

#[track_caller]
fn check(tolerances: (f64, f64), expected: &[f32], found: &[f32], failing: u64) {
    let golden = golden(tolerances.0, tolerances.1);
    let result = compare(&golden, &tensor(expected), &tensor(found)).unwrap();
    assert_eq!(
        (result.failing, result.elements),
        (failing, expected.len() as u64)
    );
}

#[test]
fn elements_pass_within_absolute_plus_relative_tolerance() {
    check((0.5, 0.0), &[1.0, 2.0], &[1.5, 2.6], 1);
    check((0.0, 0.1), &[100.0, 1.0], &[109.0, 1.2], 1);
    check((1.0, 0.1), &[100.0], &[110.9], 0);
    check(
        (0.0, 0.0),
        &[f32::INFINITY, f32::NAN],
        &[f32::INFINITY, f32::NAN],
        0,
    );
}

#[test]
fn what_is_not_a_number_or_infinite_where_a_number_was_expected_fails() {
    check(
        (1e9, 1e9),
        &[1.0, 1.0, f32::NAN],
        &[f32::NAN, f32::INFINITY, 1.0],
        3,
    );
}

#[test]
fn the_largest_differences_are_reported() {
    let result = compare(
        &golden(9.0, 0.0),
        &tensor(&[2.0, 100.0]),
        &tensor(&[3.0, 104.0]),
    )
    .unwrap();
    assert_eq!((result.max_absolute, result.max_relative), (4.0, 0.5));
}

#[test]
fn another_shape_is_no_match() {
    let error = compare(&golden(1.0, 1.0), &tensor(&[1.0]), &tensor(&[1.0, 1.0])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "golden file golden/set.safetensors: output `scores` is FP32 [2], expected FP32 [1]"
    );
}
