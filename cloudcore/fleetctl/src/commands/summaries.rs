//! `fleetctl summaries`.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use fleet_api::{ModelSummary, NodeSummary};
use jiff::Timestamp;

use super::duration;
use crate::client::{Client, SummaryFilter};
use crate::output::{self, Column, Format, OutputArgs, bytes, table};

const COLUMNS: [Column; 14] = [
    Column::Always("NODE"),
    Column::Always("MODEL"),
    Column::Always("VERSION"),
    Column::Always("REQUESTS"),
    Column::Always("ERRORS"),
    Column::Always("P50 MS"),
    Column::Wide("P90 MS"),
    Column::Always("P99 MS"),
    Column::Wide("MAX MS"),
    Column::Wide("CONFIDENCE P50"),
    Column::Always("DRIFT"),
    Column::Wide("WINDOWS"),
    Column::Wide("LOST"),
    Column::Wide("PAYLOAD"),
];

/// Arguments of `summaries`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  fleetctl summaries
  fleetctl summaries --model face-detector --since 1h
  fleetctl summaries --node press-1 -o wide")]
pub(crate) struct SummariesArgs {
    /// Only of this node
    #[arg(long)]
    node: Option<String>,
    /// Only of this model
    #[arg(long)]
    model: Option<String>,
    /// Only windows that began within this time
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    since: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(
    args: SummariesArgs,
    client: &Client,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    let since = args.since.map(|since| now.checked_sub(since)).transpose();
    let since = since.context("--since reaches back too far")?;
    let filter = SummaryFilter {
        node: args.node,
        model: args.model,
        since,
    };
    let report = client.summaries(&filter).await?;
    match args.output.output {
        Format::Json => output::json(out, &report),
        Format::Yaml => output::yaml(out, &report),
        Format::Name => {
            for node in &report.nodes {
                writeln!(out, "Node/{}", node.node)?;
            }
            Ok(())
        }
        format @ (Format::Table | Format::Wide) => {
            let rows: Vec<_> = report.nodes.iter().flat_map(rows_of).collect();
            if rows.is_empty() {
                eprintln!("No summaries found; a node sends one a minute once it is connected");
                return Ok(());
            }
            write!(out, "{}", table(&COLUMNS, rows, format))?;
            Ok(())
        }
    }
}

/// One row per model version; one without a model for a node that ran none.
fn rows_of(node: &NodeSummary) -> Vec<Vec<String>> {
    let tail = || {
        [
            node.windows.to_string(),
            node.lost.to_string(),
            bytes(node.payload_bytes),
        ]
    };
    let row = |cells: Vec<String>| [vec![node.node.clone()], cells, tail().to_vec()].concat();
    if node.models.is_empty() {
        let blank = COLUMNS.len() - 1 - tail().len();
        return vec![row(vec![String::new(); blank])];
    }
    node.models.iter().map(|model| row(cells(model))).collect()
}

fn cells(model: &ModelSummary) -> Vec<String> {
    let latency = &model.latency_ms;
    let ms = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
    vec![
        model.model.clone(),
        model.version.clone(),
        model.requests.to_string(),
        model.errors.values().sum::<u64>().to_string(),
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        ms(latency.max),
        model
            .confidence
            .p50
            .map(|value| format!("{value:.3}"))
            .unwrap_or_default(),
        model
            .drift
            .as_ref()
            .map(|drift| drift.verdict.clone())
            .unwrap_or_default(),
    ]
}
