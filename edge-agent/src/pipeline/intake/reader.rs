//! What one message, file or request says.

use bytes::Bytes;
use millwright_pipeline::{CsvRows, JsonRow, Payload, TimeUnit};
use serde_json::Value;
use thiserror::Error;

use crate::pipeline::item::Content;

/// Most rows of one message or file. A day at one row a second fits; more is a file to be split.
const ROWS_MAX: usize = 100_000;

/// Longest part of what was found that is repeated.
const SHOWN_CHARS_MAX: usize = 60;

/// Why it cannot be read.
#[derive(Debug, Error, PartialEq)]
pub(in crate::pipeline) enum ReadError {
    #[error("it is no JSON object: {0}")]
    Json(String),
    #[error("line {line} cannot be read: {problem}")]
    Line { line: usize, problem: String },
    #[error("`{field}` is missing: there is nothing at `{path}`")]
    Missing { field: String, path: String },
    #[error("`{field}` is {found}, which is no number")]
    Number { field: String, found: String },
    #[error("its time is {found}; `timeUnit: {unit}` expects {expected}")]
    Time {
        found: String,
        unit: &'static str,
        expected: &'static str,
    },
    #[error("it has none of the values {0}")]
    Empty(String),
    #[error("it has more than {ROWS_MAX} rows: split it")]
    TooLong,
}

/// Some values of a row.
#[derive(Debug, PartialEq)]
pub(in crate::pipeline) struct Row {
    /// When they were measured; `None` when nothing says it.
    pub(in crate::pipeline) time_us: Option<i64>,
    /// Position in the row and value.
    pub(in crate::pipeline) values: Vec<(usize, f64)>,
}

/// What was read.
#[derive(Debug)]
pub(in crate::pipeline) enum Read {
    /// A whole input.
    Whole(Content),
    /// Rows, or parts of some.
    Rows(Vec<Row>),
}

/// Reads one kind of payload.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Reader {
    payload: Payload,
    /// Position in the row of each field of the payload, in its order; `None`: not wanted.
    positions: Vec<Option<usize>>,
    /// Whether other messages bring what this one lacks.
    partial: bool,
}

impl Reader {
    /// `fields` are those of a row; `partial`: a message may lack some, others bring them.
    pub(in crate::pipeline) fn new(payload: &Payload, fields: &[String], partial: bool) -> Self {
        let own = payload.row_fields().unwrap_or_default();
        let position = |name: &&str| fields.iter().position(|field| field == name);
        Self {
            positions: own.iter().map(position).collect(),
            payload: payload.clone(),
            partial,
        }
    }

    pub(in crate::pipeline) fn read(&self, bytes: Bytes) -> Result<Read, ReadError> {
        match &self.payload {
            Payload::Image => Ok(Read::Whole(Content::Picture(bytes))),
            Payload::Message => Ok(Read::Whole(Content::Message(bytes))),
            Payload::Bytes(raw) => Ok(Read::Whole(Content::Elements(raw.input.clone(), bytes))),
            Payload::Json(row) => self.json(row, &bytes).map(|row| Read::Rows(vec![row])),
            Payload::Csv(rows) => self.csv(rows, &bytes).map(Read::Rows),
        }
    }

    fn json(&self, row: &JsonRow, bytes: &[u8]) -> Result<Row, ReadError> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| ReadError::Json(error.to_string()))?;
        let mut values = Vec::with_capacity(self.positions.len());
        for (field, position) in row.fields.0.iter().zip(&self.positions) {
            let Some(position) = position else { continue };
            match at(&value, &field.path) {
                Some(Value::Null) | None if self.partial => {}
                Some(Value::Null) | None => {
                    return Err(ReadError::Missing {
                        field: field.name.clone(),
                        path: field.path.clone(),
                    });
                }
                Some(found) => values.push((*position, number(&field.name, found)?)),
            }
        }
        if values.is_empty() {
            let names = row.fields.0.iter().map(|field| field.name.as_str());
            return Err(ReadError::Empty(names.collect::<Vec<_>>().join(", ")));
        }
        let time_us = match &row.time {
            None => None,
            Some(path) => {
                let found = at(&value, path).ok_or_else(|| ReadError::Missing {
                    field: "time".to_owned(),
                    path: path.clone(),
                })?;
                let text = match found {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Some(time_us(&text, row.time_unit)?)
            }
        };
        Ok(Row { time_us, values })
    }

    fn csv(&self, rows: &CsvRows, bytes: &[u8]) -> Result<Vec<Row>, ReadError> {
        let mut lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(u8::try_from(rows.separator).unwrap_or(b','))
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let mut read = Vec::new();
        for (at, record) in lines.records().enumerate() {
            let line = at + 1;
            let problem = |problem: String| ReadError::Line { line, problem };
            let record = record.map_err(|error| problem(error.to_string()))?;
            if at < rows.skip_lines as usize {
                continue;
            }
            if read.len() >= ROWS_MAX {
                return Err(ReadError::TooLong);
            }
            let row = self
                .line(rows, &record)
                .map_err(|e| problem(e.to_string()))?;
            read.push(row);
        }
        Ok(read)
    }

    fn line(&self, rows: &CsvRows, record: &csv::StringRecord) -> Result<Row, ReadError> {
        let mut row = Row {
            time_us: None,
            values: Vec::with_capacity(self.positions.len()),
        };
        let mut positions = self.positions.iter();
        for (at, column) in rows.columns.iter().enumerate() {
            let is_time = rows.time.as_ref() == Some(column);
            if column == "-" {
                continue;
            }
            let position = if is_time {
                None
            } else {
                positions.next().copied().flatten()
            };
            let cell = record.get(at).filter(|cell| !cell.is_empty());
            match (cell, position) {
                (Some(cell), _) if is_time => row.time_us = Some(time_us(cell, rows.time_unit)?),
                (Some(cell), Some(position)) => row.values.push((position, text(column, cell)?)),
                (None, Some(_)) if !self.partial => {
                    return Err(ReadError::Missing {
                        field: column.clone(),
                        path: format!("column {}", at + 1),
                    });
                }
                (None, _) if is_time => {
                    return Err(ReadError::Missing {
                        field: "time".to_owned(),
                        path: format!("column {}", at + 1),
                    });
                }
                (Some(_), None) | (None, _) => {}
            }
        }
        Ok(row)
    }
}

/// What stands at `path`: keys and indices joined by dots.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Gateways write numbers as text and switches as words.
fn number(field: &str, value: &Value) -> Result<f64, ReadError> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(on) => Some(f64::from(u8::from(*on))),
        Value::String(written) => return text(field, written),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| ReadError::Number {
        field: field.to_owned(),
        found: shown(&value.to_string()),
    })
}

fn text(field: &str, text: &str) -> Result<f64, ReadError> {
    let number = match text.trim() {
        "true" => Some(1.0),
        "false" => Some(0.0),
        other => other.parse().ok().filter(|number: &f64| number.is_finite()),
    };
    number.ok_or_else(|| ReadError::Number {
        field: field.to_owned(),
        found: format!("`{}`", shown(text)),
    })
}

fn time_us(text: &str, unit: TimeUnit) -> Result<i64, ReadError> {
    let text = text.trim();
    // Whole numbers stay whole: nanoseconds since 1970 have more digits than a float.
    let scaled = |multiply: i64, divide: i64| match text.parse::<i64>() {
        Ok(whole) => (whole / divide).checked_mul(multiply),
        Err(_) => {
            let number = text
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())?;
            Some((number * multiply as f64 / divide as f64).round() as i64)
        }
    };
    let (time, unit, expected) = match unit {
        TimeUnit::S => (scaled(1_000_000, 1), "s", "seconds"),
        TimeUnit::Ms => (scaled(1000, 1), "ms", "milliseconds"),
        TimeUnit::Us => (scaled(1, 1), "us", "microseconds"),
        TimeUnit::Ns => (scaled(1, 1000), "ns", "nanoseconds"),
        TimeUnit::Rfc3339 => {
            let parsed = text.parse::<jiff::Timestamp>().ok();
            (
                parsed.map(jiff::Timestamp::as_microsecond),
                "rfc3339",
                "text such as 2026-03-01T12:00:00.250Z",
            )
        }
    };
    time.ok_or_else(|| ReadError::Time {
        found: format!("`{}`", shown(text)),
        unit,
        expected,
    })
}

fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests;
