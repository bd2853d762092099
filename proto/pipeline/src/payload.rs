//! What one message, file or request holds.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What one message, file or request holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Payload {
    /// A picture: JPEG or PNG.
    Image,
    /// Millwright's own JSON: `{"id": .., "timestamp": .., "values": [..]}`, or `inputs` with one list per input.
    Message,
    /// A JSON object some of whose numbers are a row of sensor values.
    Json(JsonRow),
    /// Lines of text, each a row of sensor values.
    Csv(CsvRows),
    /// The elements of one input tensor as they lie in memory, little-endian.
    Bytes(RawBytes),
}

/// Where the values of a row stand in a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonRow {
    /// Name of each value and the path to it: `temperature: data.temp`, `speed: axes.0.speed`.
    pub fields: Fields,
    /// Path to the time the row was measured at. Default: when it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How that time is written. Default `ms`.
    #[serde(default)]
    pub time_unit: TimeUnit,
}

/// Where the values of a row stand in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CsvRows {
    /// Name of each column, from the left; `-` for one that is not wanted.
    pub columns: Vec<String>,
    /// The column with the time the row was measured at. Default: when it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How that time is written. Default `ms`.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// What stands between columns. Default `,`.
    #[serde(default = "comma")]
    pub separator: char,
    /// Lines at the beginning that are no rows. Default 0.
    #[serde(default)]
    pub skip_lines: u32,
}

/// Bytes that are the elements of a tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBytes {
    /// The input they are. Default: the model's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970, with or without a fraction.
    S,
    /// Milliseconds since 1970.
    #[default]
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// Text such as `2026-03-01T12:00:00.250Z`.
    Rfc3339,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called from here on.
    pub name: String,
    /// Where it stands: keys and indices joined by dots.
    pub path: String,
}

/// The values of a row, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<Field>);

const fn comma() -> char {
    ','
}

impl CsvRows {
    /// The columns that are values: not skipped, not the time.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.columns
            .iter()
            .map(String::as_str)
            .filter(|column| *column != "-" && self.time.as_deref() != Some(*column))
    }
}

impl Payload {
    /// Names of the values of its rows, in their order; `None` when it holds no rows.
    #[must_use]
    pub fn row_fields(&self) -> Option<Vec<&str>> {
        match self {
            Self::Json(row) => Some(row.fields.0.iter().map(|f| f.name.as_str()).collect()),
            Self::Csv(rows) => Some(rows.values().collect()),
            Self::Image | Self::Message | Self::Bytes(_) => None,
        }
    }

    /// Whether its rows say when they were measured.
    #[must_use]
    pub fn has_time(&self) -> bool {
        match self {
            Self::Json(row) => row.time.is_some(),
            Self::Csv(rows) => rows.time.is_some(),
            Self::Image | Self::Message | Self::Bytes(_) => false,
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for field in &self.0 {
            map.serialize_entry(&field.name, &field.path)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads a map without losing its order, which is the order of the model's input.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names with their paths, as in `temperature: data.temp`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, path)) = map.next_entry()? {
            fields.push(Field { name, path });
        }
        Ok(Fields(fields))
    }
}
