//! Rows of numbers: `.csv` files.

use std::path::Path;

use millwright_package::{Dim, TensorSpec};

use super::PackError;
use super::array::Array;

/// Most numbers of a file: as many as a profile has at most.
const NUMBERS_MAX: usize = 64 * 1_000_000;

/// Rows of a file for one input, and what its columns are called.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) array: Array,
    pub(super) names: Option<Vec<String>>,
}

/// Reads `path` for `input`; of its columns only `columns` when any are named.
pub(super) fn read(
    path: &Path,
    columns: &[String],
    input: &TensorSpec,
) -> Result<Table, PackError> {
    let problem = |what: String| PackError::data(path, what);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_path(path)
        .map_err(|error| problem(error.to_string()))?;
    let mut records = reader.records();
    let first = match records.next() {
        None => return Err(problem("is empty".to_owned())),
        Some(first) => first.map_err(|error| problem(error.to_string()))?,
    };
    let header = first.iter().any(|cell| number(cell).is_none());
    let names: Option<Vec<String>> = header.then(|| first.iter().map(str::to_owned).collect());
    let chosen = chosen(columns, names.as_deref(), first.len()).map_err(problem)?;
    check_width(&chosen, names.as_deref(), input).map_err(problem)?;
    let mut values = Vec::new();
    let mut rows = 0;
    let begin = (!header).then_some(Ok(first));
    for record in begin.into_iter().chain(records) {
        let record = record.map_err(|error| problem(error.to_string()))?;
        for &column in &chosen {
            let cell = record.get(column).unwrap_or_default();
            values.push(number(cell).ok_or_else(|| {
                let line = record.position().map_or(0, csv::Position::line);
                problem(format!(
                    "line {line}, column {}: `{cell}` is no number",
                    column + 1
                ))
            })?);
        }
        rows += 1;
        if values.len() > NUMBERS_MAX {
            return Err(problem(format!(
                "has more than {NUMBERS_MAX} numbers: take every tenth row"
            )));
        }
    }
    if rows == 0 {
        return Err(problem("has no rows below its header".to_owned()));
    }
    let shape = vec![rows, chosen.len()];
    let array = Array::of_numbers(&input.name, input.datatype, shape, &values);
    Ok(Table {
        array: array.ok_or_else(|| {
            problem(format!(
                "rows of numbers are made for FP32, FP64, FP16, INT64, INT32 and UINT8; input `{}` takes {}",
                input.name, input.datatype
            ))
        })?,
        names: names.map(|names| chosen.iter().map(|&column| names[column].clone()).collect()),
    })
}

/// A cell; one without anything in it is a value that is missing.
fn number(cell: &str) -> Option<f64> {
    if cell.is_empty() {
        Some(f64::NAN)
    } else {
        cell.parse().ok()
    }
}

/// The columns that are wanted, in the order in which they are named.
fn chosen(
    columns: &[String],
    names: Option<&[String]>,
    width: usize,
) -> Result<Vec<usize>, String> {
    let names = match (columns, names) {
        ([], _) => return Ok((0..width).collect()),
        (_, None) => {
            return Err(
                "has no header, so --columns names nothing in it: add a first line with names"
                    .to_owned(),
            );
        }
        (_, Some(names)) => names,
    };
    let find = |column: &String| {
        names.iter().position(|name| name == column).ok_or_else(|| {
            format!(
                "has no column `{column}` (--columns); its columns are {}",
                names.join(", ")
            )
        })
    };
    columns.iter().map(find).collect()
}

fn check_width(
    chosen: &[usize],
    names: Option<&[String]>,
    input: &TensorSpec,
) -> Result<(), String> {
    let width = match input.shape.as_slice() {
        [_, Dim::Fixed(width)] => width.get() as usize,
        [_, Dim::Dynamic] => return Ok(()),
        _ => {
            return Err(format!(
                "is rows of numbers, and input `{}` takes {:?}: give an .npz file",
                input.name,
                input.dims()
            ));
        }
    };
    if chosen.len() == width {
        return Ok(());
    }
    let remedy = match names {
        Some(names) => format!(
            "name the {width} that are meant, in the model's order, with --columns; there are {}",
            names.join(", ")
        ),
        None => format!(
            "give a file of {width} columns, or one with names in its first line and --columns"
        ),
    };
    Err(format!(
        "has {} columns and input `{}` takes {width}: {remedy}",
        chosen.len(),
        input.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[u32]) -> TensorSpec {
        let dim =
            |&length: &u32| std::num::NonZeroU32::new(length).map_or(Dim::Dynamic, Dim::Fixed);
        TensorSpec {
            name: "x".to_owned(),
            datatype: millwright_package::Datatype::Fp32,
            shape: shape.iter().map(dim).collect(),
            optional: false,
        }
    }

    fn table(text: &str, columns: &[&str], shape: &[u32]) -> Result<Table, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        read(file.path(), &columns, &spec(shape)).map_err(|error| error.to_string())
    }

    #[test]
    fn named_columns_come_in_the_order_of_their_names_and_empty_cells_are_missing() {
        let found = table("a,b,label\n1,2,0\n3,,1\n", &["b", "a"], &[0, 2]).unwrap();
        assert_eq!(found.names.unwrap(), ["b", "a"]);
        let numbers: Vec<f64> = found.array.numbers().collect();
        assert_eq!(numbers[..2], [2.0, 1.0]);
        assert!(numbers[2].is_nan() && numbers[3] == 3.0, "{numbers:?}");
        let bare = table("1,2\n3,4\n", &[], &[0, 2]).unwrap();
        assert_eq!((bare.names, bare.array.shape), (None, vec![2, 2]));
    }

    #[test]
    fn tables_that_do_not_fit_say_what_would() {
        for (text, columns, shape, words) in [
            (
                "a,b,c\n1,2,3\n",
                &[][..],
                &[0, 2][..],
                "--columns; there are a, b, c",
            ),
            ("1,2,3\n", &[], &[0, 2], "give a file of 2 columns"),
            ("a,b\n1,2\n", &["z"], &[0, 1], "no column `z`"),
            ("1,2\n", &["a"], &[0, 1], "has no header"),
            (
                "a\n1\nred\n",
                &[],
                &[0, 1],
                "line 3, column 1: `red` is no number",
            ),
            ("a,b\n1\n", &[], &[0, 2], "record"),
            ("", &[], &[0, 1], "is empty"),
            ("a\n", &[], &[0, 1], "no rows"),
            ("1\n", &[], &[1, 3, 8, 8], "give an .npz file"),
        ] {
            let error = table(text, columns, shape).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
