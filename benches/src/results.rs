//! Results as they are kept and shown: every repeat, the median and the spread.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use millwright_tests::checkout;
use serde::Serialize;

/// One benchmark.
#[derive(Serialize)]
pub(crate) struct Results {
    name: &'static str,
    goal: &'static str,
    machine: BTreeMap<&'static str, String>,
    rows: BTreeMap<String, Row>,
}

/// One figure of one program.
#[derive(Default, Serialize)]
struct Row {
    unit: &'static str,
    values: Vec<f64>,
    median: f64,
    min: f64,
    max: f64,
}

impl Results {
    pub(crate) fn new(name: &'static str, goal: &'static str) -> Self {
        Self {
            name,
            goal,
            machine: machine(),
            rows: BTreeMap::new(),
        }
    }

    /// Adds one repeat of a figure.
    pub(crate) fn add(&mut self, row: &str, unit: &'static str, value: f64) {
        let row = self.rows.entry(row.to_owned()).or_default();
        row.unit = unit;
        row.values.push(value);
        let mut sorted = row.values.clone();
        sorted.sort_by(f64::total_cmp);
        row.median = sorted[sorted.len() / 2];
        (row.min, row.max) = (sorted[0], sorted[sorted.len() - 1]);
    }

    /// Prints the figures and writes them to `benches/results`.
    pub(crate) fn keep(&self) -> Result<()> {
        println!("\n{} ({})", self.name, self.goal);
        println!(
            "  {:<52} {:>10} {:>10} {:>10}  unit",
            "", "median", "min", "max"
        );
        for (name, row) in &self.rows {
            println!(
                "  {name:<52} {:>10.2} {:>10.2} {:>10.2}  {}",
                row.median, row.min, row.max, row.unit
            );
        }
        let file = checkout()
            .join("benches/results")
            .join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self).context("encoding the results")?;
        std::fs::write(&file, text + "\n").with_context(|| format!("writing {}", file.display()))
    }
}

/// What the figures were taken on.
fn machine() -> BTreeMap<&'static str, String> {
    let first = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    BTreeMap::from([
        ("processor", first("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", first("/proc/meminfo", "MemTotal")),
        ("arch", std::env::consts::ARCH.to_owned()),
    ])
}
