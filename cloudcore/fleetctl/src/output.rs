//! How data is written to stdout: tables for people, JSON and YAML for programs, names for scripts.
//!
//! Nothing is coloured, so `NO_COLOR` and a redirected stdout change nothing.

mod page;
pub(crate) mod progress;
mod table;

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use fleet_api::{API_VERSION, Kind, List, ListMetadata, Resource};
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use self::page::Page;
pub(crate) use self::table::{Column, age, age_of, bytes, table};
use crate::view::View;

/// `-o`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// How to print
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with the columns that matter most
    #[default]
    Table,
    /// A table with all columns
    Wide,
    /// JSON, for programs
    Json,
    /// YAML, as `apply -f` takes it
    Yaml,
    /// Only `Kind/name`, one a line
    Name,
}

/// Prints the objects of a list.
pub(crate) fn list<K: View>(
    out: &mut dyn Write,
    format: Format,
    items: Vec<Resource<K>>,
    now: Timestamp,
) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            let rows = items.iter().map(|object| K::cells(object, now)).collect();
            write!(out, "{}", table(K::COLUMNS, rows, format))?;
        }
        Format::Json => json(out, &as_list(items))?,
        Format::Yaml => {
            for (index, object) in items.iter().enumerate() {
                if index > 0 {
                    writeln!(out, "---")?;
                }
                yaml(out, object)?;
            }
        }
        Format::Name => names(out, &items)?,
    }
    Ok(())
}

/// Prints one object.
pub(crate) fn object<K: View>(
    out: &mut dyn Write,
    format: Format,
    object: Resource<K>,
    now: Timestamp,
) -> anyhow::Result<()> {
    match format {
        Format::Json => json(out, &object),
        Format::Table | Format::Wide | Format::Yaml | Format::Name => {
            list(out, format, vec![object], now)
        }
    }
}

fn as_list<K: Kind>(items: Vec<Resource<K>>) -> List<K> {
    List {
        api_version: API_VERSION.to_owned(),
        kind: format!("{}List", K::KIND),
        metadata: ListMetadata::default(),
        items,
    }
}

fn names<K: Kind>(out: &mut dyn Write, items: &[Resource<K>]) -> io::Result<()> {
    for object in items {
        writeln!(out, "{}/{}", K::KIND, object.metadata.name)?;
    }
    Ok(())
}

/// Prints anything as JSON.
pub(crate) fn json<T: Serialize>(out: &mut dyn Write, value: &T) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Prints anything as one YAML document.
pub(crate) fn yaml<T: Serialize>(out: &mut dyn Write, value: &T) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(value)?;
    write!(out, "{text}")?;
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    Ok(())
}
