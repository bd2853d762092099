//! What the clients saw, held against what cloudcore counted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Table, presets};
use fleet_api::{SummaryReport, Transport};
use millwright_tests::infer::quantile;
use millwright_tests::process::Memory;
use millwright_tests::wait::until;

use crate::stage::{DemoNode, SUMMARY_WINDOW_SECONDS, Stage};
use crate::tally::Tally;

/// The last window is cut and sent within one window; the rest is room for a busy machine.
const COUNTED_DEADLINE: Duration = Duration::from_secs(4 * SUMMARY_WINDOW_SECONDS as u64 + 10);

/// One row per node, model and version.
#[derive(Default)]
pub(crate) struct Report {
    rows: BTreeMap<(String, &'static str, String), Tally>,
    nodes: BTreeMap<String, NodeFigures>,
    held: Vec<String>,
    broken: Vec<String>,
}

struct NodeFigures {
    uplink_bytes_per_minute: u64,
    agent_pss_bytes: u64,
    workers_pss_bytes: u64,
}

impl Report {
    /// Takes in what one client saw of one model on one node.
    pub(crate) fn add(
        &mut self,
        node: &str,
        model: &'static str,
        tallies: BTreeMap<String, Tally>,
    ) {
        for (version, tally) in tallies {
            self.rows.insert((node.to_owned(), model, version), tally);
        }
    }

    /// Waits for the last summaries, compares, and measures the nodes.
    pub(crate) async fn complete(&mut self, stage: &Stage) -> Result<()> {
        self.judge_answers();
        self.judge_counts(stage).await?;
        self.judge_transport(stage);
        let summaries: SummaryReport = stage.cloud().fleetctl_json(&["summaries"])?;
        for DemoNode { agent, .. } in stage.nodes() {
            let summary = summaries
                .nodes
                .iter()
                .find(|summary| summary.node == agent.name())
                .with_context(|| format!("cloudcore has no summary of {}", agent.name()))?;
            let covered_seconds = summary.windows * u64::from(SUMMARY_WINDOW_SECONDS);
            let figures = NodeFigures {
                uplink_bytes_per_minute: summary.payload_bytes * 60 / covered_seconds.max(1),
                agent_pss_bytes: Memory::of(agent.pid()?)?.pss_bytes,
                workers_pss_bytes: Memory::of_children(agent.pid()?)?.pss_bytes,
            };
            self.nodes.insert(agent.name().to_owned(), figures);
        }
        Ok(())
    }

    fn judge_answers(&mut self) {
        let mut requests = 0;
        let before = self.broken.len();
        for ((node, model, version), tally) in &self.rows {
            let at = format!("{node} {model}@{version}");
            requests += tally.latency_ms.len();
            let of = |count: usize, first: Option<&String>| {
                first.map(|first| format!("{at}: {count}, the first: {first}"))
            };
            let failed = of(tally.failures.len(), tally.failures.first());
            self.broken
                .extend(failed.map(|text| format!("failed requests at {text}")));
            let wrong = of(tally.wrong.len(), tally.wrong.first());
            self.broken
                .extend(wrong.map(|text| format!("wrong answers at {text}")));
            if tally.found == 0 {
                self.broken.push(format!("{at} found nothing at all"));
            }
        }
        if self.broken.len() == before {
            self.held.push(format!(
                "{requests} requests, none failed, every answer right"
            ));
        }
    }

    async fn judge_counts(&mut self, stage: &Stage) -> Result<()> {
        let expected: BTreeMap<(String, String, String), u64> = self
            .rows
            .iter()
            .map(|((node, model, version), tally)| {
                let count = tally.latency_ms.len() as u64;
                ((node.clone(), (*model).to_owned(), version.clone()), count)
            })
            .collect();
        let counted = until(
            "agreement of cloudcore with the clients",
            COUNTED_DEADLINE,
            async || {
                let counted = counts(stage)?;
                Ok((counted == expected).then_some(()))
            },
        )
        .await;
        match counted {
            Ok(()) => {
                self.held
                    .push("cloudcore counted every request exactly once".to_owned());
            }
            Err(error) => self.broken.push(format!(
                "{error:#}: the clients saw {expected:?}, cloudcore counted {:?}",
                counts(stage)?
            )),
        }
        Ok(())
    }

    fn judge_transport(&mut self, stage: &Stage) {
        let Some(swallowed) = stage.swallowed() else {
            return;
        };
        let last = stage.nodes().last();
        if swallowed > 0 && last.is_some_and(|node| node.transport == Transport::Websocket) {
            self.held.push(format!(
                "UDP blocked ({swallowed} datagrams swallowed): WebSocket took over"
            ));
        } else {
            self.broken
                .push("the node without UDP did not come up over WebSocket".to_owned());
        }
    }

    /// What held, for people.
    pub(crate) fn held(&self) -> &[String] {
        &self.held
    }

    /// What did not hold; empty when all is well.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.clone()
    }

    /// The table at the end.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "NODE",
            "MODEL",
            "VERSION",
            "REQUESTS",
            "FAILED",
            "P50 MS",
            "P99 MS",
            "FOUND",
            "RIGHT",
            "UPLINK B/MIN",
            "AGENT MIB",
            "WORKERS MIB",
        ]);
        for ((node, model, version), tally) in &self.rows {
            let right = match (&tally.quality, tally.wrong.is_empty()) {
                (Some(quality), _) => quality.clone(),
                (None, true) => "all".to_owned(),
                (None, false) => format!("{} wrong", tally.wrong.len()),
            };
            let latency =
                |q| quantile(&tally.latency_ms, q).map_or("-".into(), |ms| format!("{ms:.1}"));
            let figures = self.nodes.get(node);
            let figure = |read: fn(&NodeFigures) -> String| figures.map_or("-".into(), read);
            let mut cells: Vec<Cell> = [node.as_str(), model, version].map(Cell::new).into();
            cells.extend(
                [
                    tally.latency_ms.len().to_string(),
                    tally.failures.len().to_string(),
                    latency(0.5),
                    latency(0.99),
                    tally.found.to_string(),
                    right,
                    figure(|node| node.uplink_bytes_per_minute.to_string()),
                    figure(|node| mebibytes(node.agent_pss_bytes)),
                    figure(|node| mebibytes(node.workers_pss_bytes)),
                ]
                .map(|text| Cell::new(text).set_alignment(CellAlignment::Right)),
            );
            table.add_row(cells);
        }
        table
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1_048_576.0)
}

/// Requests as cloudcore counted them.
fn counts(stage: &Stage) -> Result<BTreeMap<(String, String, String), u64>> {
    let report: SummaryReport = stage.cloud().fleetctl_json(&["summaries"])?;
    Ok(report
        .nodes
        .into_iter()
        .flat_map(|node| {
            node.models.into_iter().map(move |model| {
                (
                    (node.node.clone(), model.model, model.version),
                    model.requests,
                )
            })
        })
        .collect())
}
