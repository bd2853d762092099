use proptest::prelude::*;

use super::*;
use crate::worker::tensor::{Timing, byte_length, push_string};

/// A tensor of `rows` rows; of strings, `width` in each row.
fn tensor(datatype: Datatype, rows: usize, width: usize, bytes: &[u8]) -> Tensor {
    let shape = vec![rows, width];
    let mut pool = bytes.iter().copied().cycle();
    let data = match byte_length(datatype, &shape) {
        Some(length) => pool.take(length).collect(),
        None => {
            let mut data = Vec::new();
            for _ in 0..rows * width {
                let length = pool.next().unwrap_or(0) % 5;
                let string: Vec<u8> = pool.by_ref().take(length.into()).collect();
                push_string(&string, &mut data);
            }
            data
        }
    };
    Tensor {
        name: "x".to_owned(),
        datatype,
        shape,
        data: data.into(),
    }
}

fn request(tensors: Vec<Tensor>) -> InferInput {
    InferInput {
        tensors,
        outputs: OutputSelection::All,
        sequence: None,
    }
}

fn answer(tensors: Vec<Tensor>) -> InferOutput {
    InferOutput {
        model: "m@1".parse().unwrap(),
        tensors,
        confidence: None,
        timing: Timing::default(),
    }
}

proptest! {
    #[test]
    fn what_was_joined_comes_apart_as_it_was(
        rows in proptest::collection::vec(1_usize..5, 1..6),
        widths in proptest::collection::vec(0_usize..4, 1..3),
        bytes in proptest::collection::vec(any::<u8>(), 1..64),
        kind in 0_usize..3,
    ) {
        let datatype = [Datatype::Uint8, Datatype::Fp64, Datatype::Bytes][kind];
        let inputs: Vec<InferInput> = rows
            .iter()
            .map(|&rows| {
                let tensors = widths.iter().map(|&width| tensor(datatype, rows, width, &bytes));
                request(tensors.collect())
            })
            .collect();
        let all: Vec<&InferInput> = inputs.iter().collect();
        prop_assert!(all.iter().all(|one| alike(one, all[0])));
        let joined = join(&all);
        prop_assert_eq!(super::rows(&joined), Some(rows.iter().sum()));
        let parts = split(answer(joined.tensors), &rows).unwrap();
        for (part, input) in parts.iter().zip(&inputs) {
            prop_assert_eq!(&part.tensors, &input.tensors);
        }
    }
}

#[test]
fn only_requests_that_differ_in_rows_alone_are_alike() {
    let base = || tensor(Datatype::Uint8, 2, 3, &[1]);
    let one = request(vec![base()]);
    assert!(alike(
        &one,
        &request(vec![tensor(Datatype::Uint8, 5, 3, &[2])])
    ));
    let wider = request(vec![tensor(Datatype::Uint8, 2, 4, &[1])]);
    let signed = request(vec![tensor(Datatype::Int8, 2, 3, &[1])]);
    let named = request(vec![Tensor {
        name: "y".to_owned(),
        ..base()
    }]);
    let more = request(vec![base(), base()]);
    let mut fewer = request(vec![base()]);
    fewer.outputs = OutputSelection::Named(vec!["z".to_owned()]);
    for other in [wider, signed, named, more, fewer] {
        assert!(!alike(&one, &other), "{other:?}");
    }
}

#[test]
fn what_has_no_rows_is_never_joined_and_never_split() {
    let scalar = Tensor {
        shape: vec![],
        ..tensor(Datatype::Uint8, 1, 1, &[1])
    };
    assert_eq!(rows(&request(vec![scalar.clone()])), None);
    let uneven = [
        tensor(Datatype::Uint8, 2, 1, &[1]),
        tensor(Datatype::Uint8, 3, 1, &[1]),
    ];
    assert_eq!(rows(&request(uneven.to_vec())), None);
    assert_eq!(rows(&request(vec![])), None);
    assert!(split(answer(vec![scalar]), &[1]).is_none());
    assert!(split(answer(vec![tensor(Datatype::Uint8, 4, 1, &[1])]), &[1, 2]).is_none());
}

#[test]
fn the_output_of_the_confidence_is_asked_for_once() {
    let mut named = OutputSelection::Named(vec!["a".to_owned()]);
    assert_eq!(also_return(&mut named, Some("b")), Some(1));
    assert_eq!(also_return(&mut named, Some("b")), None);
    assert_eq!(also_return(&mut OutputSelection::All, Some("b")), None);
}
