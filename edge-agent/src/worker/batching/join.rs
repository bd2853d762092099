//! Requests joined along their first dimension, and the outputs split again. Pure.

use bytes::{Bytes, BytesMut};
use millwright_package::Datatype;

use crate::worker::tensor::{InferInput, InferOutput, OutputSelection, Tensor, string_ends};

/// The rows of a request: what the first dimension of every input is.
pub(super) fn rows(input: &InferInput) -> Option<usize> {
    let rows = *input.tensors.first()?.shape.first()?;
    let same = |tensor: &Tensor| tensor.shape.first() == Some(&rows);
    (rows > 0 && input.tensors.iter().all(same)).then_some(rows)
}

/// Whether two requests differ in nothing but their rows.
pub(super) fn alike(one: &InferInput, other: &InferInput) -> bool {
    let alike = |(one, other): (&Tensor, &Tensor)| {
        one.name == other.name
            && one.datatype == other.datatype
            && one.shape.get(1..) == other.shape.get(1..)
    };
    one.tensors.len() == other.tensors.len()
        && one.outputs == other.outputs
        && one.tensors.iter().zip(&other.tensors).all(alike)
}

/// One request of the rows of all; they have to be alike, and at least one.
pub(super) fn join(inputs: &[&InferInput]) -> InferInput {
    let first = inputs[0];
    let tensors = first.tensors.iter().enumerate().map(|(index, tensor)| {
        let parts = || inputs.iter().map(|input| &input.tensors[index]);
        let mut data = BytesMut::with_capacity(parts().map(|part| part.data.len()).sum());
        parts().for_each(|part| data.extend_from_slice(&part.data));
        let mut shape = tensor.shape.clone();
        shape[0] = parts().map(|part| part.shape[0]).sum();
        Tensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype,
            shape,
            data: data.freeze(),
        }
    });
    InferInput {
        tensors: tensors.collect(),
        outputs: first.outputs.clone(),
        sequence: None,
    }
}

/// Adds `wanted` to the outputs. Returns how many there were before, if it had to.
pub(super) fn also_return(outputs: &mut OutputSelection, wanted: Option<&str>) -> Option<usize> {
    let (OutputSelection::Named(names), Some(wanted)) = (outputs, wanted) else {
        return None;
    };
    if names.iter().any(|name| name == wanted) {
        return None;
    }
    names.push(wanted.to_owned());
    Some(names.len() - 1)
}

/// The outputs of each request; `None` if an output does not have a row for each row of the inputs.
pub(super) fn split(output: InferOutput, rows: &[usize]) -> Option<Vec<InferOutput>> {
    let total: usize = rows.iter().sum();
    let mut parts: Vec<InferOutput> = rows
        .iter()
        .map(|_| InferOutput {
            model: output.model.clone(),
            tensors: Vec::with_capacity(output.tensors.len()),
            confidence: None,
            timing: output.timing,
        })
        .collect();
    for tensor in &output.tensors {
        if tensor.shape.first() != Some(&total) {
            return None;
        }
        let mut data = tensor.data.clone();
        for (part, &rows) in parts.iter_mut().zip(rows) {
            let length = length_of(tensor, rows, total, &data)?;
            let mut shape = tensor.shape.clone();
            shape[0] = rows;
            part.tensors.push(Tensor {
                name: tensor.name.clone(),
                datatype: tensor.datatype,
                shape,
                data: data.split_to(length),
            });
        }
    }
    Some(parts)
}

/// Bytes of the first `rows` rows of what is left of a tensor that had `total` rows.
fn length_of(tensor: &Tensor, rows: usize, total: usize, left: &Bytes) -> Option<usize> {
    if tensor.datatype != Datatype::Bytes {
        return Some(tensor.data.len() / total * rows);
    }
    let strings = tensor.shape[1..].iter().product::<usize>() * rows;
    string_ends(left, strings)
}

#[cfg(test)]
mod tests {
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
}
