use millwright_pipeline::{Field, Fields};
use proptest::prelude::*;

use super::*;

fn fields(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn json(paths: &[(&str, &str)], time: Option<&str>, unit: TimeUnit) -> Payload {
    let field = |(name, path): &(&str, &str)| Field {
        name: (*name).to_owned(),
        path: (*path).to_owned(),
    };
    Payload::Json(JsonRow {
        fields: Fields(paths.iter().map(field).collect()),
        time: time.map(str::to_owned),
        time_unit: unit,
    })
}

fn csv(columns: &[&str], separator: char, skip_lines: u32) -> Payload {
    Payload::Csv(CsvRows {
        columns: fields(columns),
        time: columns.contains(&"t").then(|| "t".to_owned()),
        time_unit: TimeUnit::S,
        separator,
        skip_lines,
    })
}

fn rows(reader: &Reader, text: &str) -> Result<Vec<Row>, ReadError> {
    match reader.read(Bytes::copy_from_slice(text.as_bytes()))? {
        Read::Rows(rows) => Ok(rows),
        Read::Whole(content) => panic!("{content:?}"),
    }
}

#[test]
fn values_are_found_by_their_paths_and_put_in_the_rows_order() {
    let payload = json(
        &[("speed", "axes.1.v"), ("on", "on"), ("temp", "t")],
        Some("at"),
        TimeUnit::Rfc3339,
    );
    let reader = Reader::new(&payload, &fields(&["temp", "speed", "on"]), false);
    let text =
        r#"{"axes": [{}, {"v": -1.5}], "on": true, "t": "23.5", "at": "1970-01-01T00:00:01.5Z"}"#;
    let row = Row {
        time_us: Some(1_500_000),
        values: vec![(1, -1.5), (2, 1.0), (0, 23.5)],
    };
    assert_eq!(rows(&reader, text), Ok(vec![row]));
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let payload = json(&[("temp", "a.t")], Some("at"), TimeUnit::Ms);
    let reader = Reader::new(&payload, &fields(&["temp"]), false);
    for (text, words) in [
        (
            r#"{"a": {}, "at": 1}"#,
            "`temp` is missing: there is nothing at `a.t`",
        ),
        (r#"{"a": {"t": null}, "at": 1}"#, "`temp` is missing"),
        (
            r#"{"a": {"t": "hot"}, "at": 1}"#,
            "`temp` is `hot`, which is no number",
        ),
        (r#"{"a": {"t": [1]}, "at": 1}"#, "`temp` is [1]"),
        (r#"{"a": {"t": 1}}"#, "`time` is missing"),
        (
            r#"{"a": {"t": 1}, "at": "noon"}"#,
            "its time is `noon`; `timeUnit: ms` expects milliseconds",
        ),
        ("23.5 C", "it is no JSON object"),
    ] {
        let error = rows(&reader, text).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_message_that_is_joined_with_others_may_lack_values_but_not_all() {
    let payload = json(&[("a", "a"), ("b", "b")], None, TimeUnit::Ms);
    let reader = Reader::new(&payload, &fields(&["a", "b", "c"]), true);
    let row = Row {
        time_us: None,
        values: vec![(1, 2.0)],
    };
    assert_eq!(rows(&reader, r#"{"b": 2, "a": null}"#), Ok(vec![row]));
    let error = rows(&reader, "{}").unwrap_err().to_string();
    assert!(error.contains("none of the values a, b"), "{error}");
}

#[test]
fn lines_are_rows_and_columns_may_be_skipped() {
    let reader = Reader::new(
        &csv(&["t", "-", "b", "a"], ';', 1),
        &fields(&["a", "b"]),
        false,
    );
    let read = rows(&reader, "time;x;b;a\n1.5;9;20; 10\n2;9;21;11\n").unwrap();
    let expected = [(1_500_000, 20.0, 10.0), (2_000_000, 21.0, 11.0)].map(|(time, b, a)| Row {
        time_us: Some(time),
        values: vec![(1, b), (0, a)],
    });
    assert_eq!(read, expected);
    let error = rows(&reader, "h\n1;9;20;10\n2;9;;11\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 3 cannot be read: `b` is missing: there is nothing at `column 3`"
    );
}

#[test]
fn a_bare_number_is_a_row_of_one_column() {
    let reader = Reader::new(&csv(&["temp"], ',', 0), &fields(&["temp"]), false);
    let row = Row {
        time_us: None,
        values: vec![(0, 23.5)],
    };
    assert_eq!(rows(&reader, "23.5"), Ok(vec![row]));
}

#[test]
fn times_of_every_unit_are_microseconds() {
    for (text, unit, expected) in [
        ("1700000000", TimeUnit::S, 1_700_000_000_000_000),
        ("1.25", TimeUnit::S, 1_250_000),
        ("1700000000123", TimeUnit::Ms, 1_700_000_000_123_000),
        ("1700000000123456", TimeUnit::Us, 1_700_000_000_123_456),
        ("1700000000123456789", TimeUnit::Ns, 1_700_000_000_123_456),
        (
            "2023-11-14T23:13:20+01:00",
            TimeUnit::Rfc3339,
            1_700_000_000_000_000,
        ),
    ] {
        assert_eq!(time_us(text, unit), Ok(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let names = fields(&["a", "b"]);
        for payload in [
            json(&[("a", "x.0"), ("b", "y")], Some("t"), TimeUnit::Ns),
            csv(&["t", "a", "-", "b"], ';', 0),
        ] {
            for partial in [false, true] {
                let _ = Reader::new(&payload, &names, partial).read(Bytes::copy_from_slice(&bytes));
            }
        }
    }
}
