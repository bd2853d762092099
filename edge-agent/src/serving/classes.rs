//! The classification extension: the best classes of an output, instead of all its scores.

use millwright_package::Datatype;

use crate::worker::tensor::push_string;
use crate::worker::{Tensor, numbers};

/// Turns scores into their `count` best classes, as `score:index` each, best first. An output of two or more dimensions
/// has one list for each place of the first. `None`: its elements are no numbers.
pub(super) fn best(scores: &Tensor, count: usize) -> Option<Tensor> {
    if scores.datatype == Datatype::Bytes {
        return None;
    }
    let rows = match scores.shape.as_slice() {
        [] | [_] => 1,
        [rows, ..] => *rows,
    };
    let numbers: Vec<f64> = numbers::of(scores.datatype, &scores.data).collect();
    let width = numbers.len().checked_div(rows).unwrap_or(0);
    let count = count.min(width);
    let mut data = Vec::new();
    for row in numbers.chunks_exact(width.max(1)).take(rows) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // Stable: of two equal scores the first one is better.
        order.sort_by(|&one, &other| row[other].total_cmp(&row[one]));
        for &index in &order[..count] {
            push_string(format!("{:.6}:{index}", row[index]).as_bytes(), &mut data);
        }
    }
    let shape = if scores.shape.len() < 2 {
        vec![count]
    } else {
        vec![rows, count]
    };
    Some(Tensor {
        name: scores.name.clone(),
        datatype: Datatype::Bytes,
        shape,
        data: data.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::tensor::strings;

    fn scores(shape: &[usize], values: &[f32]) -> Tensor {
        let data: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Tensor {
            name: "scores".to_owned(),
            datatype: Datatype::Fp32,
            shape: shape.to_vec(),
            data: data.into(),
        }
    }

    #[test]
    fn the_best_classes_of_each_row_come_first() {
        let table = scores(&[2, 3], &[0.5, 0.25, 0.75, 1.0, 1.0, -2.0]);
        let found = best(&table, 2).unwrap();
        assert_eq!(found.shape, [2, 2]);
        let expected: [&[u8]; 4] = [b"0.750000:2", b"0.500000:0", b"1.000000:0", b"1.000000:1"];
        assert_eq!(strings(&found.data).unwrap(), expected);
        let flat = best(&scores(&[2], &[1.0, 3.0]), 9).unwrap();
        assert_eq!(flat.shape, [2]);
        assert_eq!(best(&scores(&[0, 3], &[]), 2).unwrap().shape, [0, 0]);
    }
}
