//! Sensor fusion at 1,000 messages a second on one core: mosquitto, the agent and its worker share it.
//!
//! No peer: the figures are whether the anomalies are found, how late, and how much of the core it takes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::broker::Broker;
use millwright_tests::fusion::{self, Load};
use millwright_tests::infer::quantile;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;

use crate::results::Results;

/// Thirty seconds at 1,000 messages a second.
const LOAD: Load = Load {
    rows: 10_000,
    messages_per_second: 1000,
    unanswered_max: None,
};

/// Ticks of the processor's clock in a second, as `/proc/<pid>/stat` counts on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a row waits for a part of it.
const JOIN_WAIT: Duration = Duration::from_millis(500);

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "fusion",
        "sensor fusion over mosquitto at 1,000 messages/s on one core, AUC of the Shuttle data",
    );
    for repeat in 0..repeats {
        println!("fusion: repeat {} of {repeats}", repeat + 1);
        let directory = tempfile::tempdir()?;
        let mut broker = Broker::start(directory.path()).await?;
        let pipeline = directory.path().join("fusion.yaml");
        std::fs::write(&pipeline, fusion::pipeline(broker.address(), JOIN_WAIT))?;
        let options = AgentOptions {
            pipelines: vec![pipeline],
            ..AgentOptions::quick()?
        };
        let package = Package::ShuttleAnomaly1.source()?;
        let mut trial = Trial::start(directory.path(), &package, &options).await?;
        let client = trial.client()?;
        until("connection of the pipeline", CONNECT_DEADLINE, async || {
            let (_, state) = client.get("/pipelines/fusion/state.json").await?;
            Ok(state.contains("\"running\"").then_some(()))
        })
        .await?;
        let agent = trial.process().id()?;
        let worker = children(agent)?;
        let mut all = worker.clone();
        all.extend([agent, broker.process().id()?]);
        all.iter().try_for_each(|process| pin(*process))?;
        let before = (seconds(agent)?, worker_seconds(&worker)?);
        let report = fusion::run(broker.address(), LOAD).await?;
        let after = (seconds(agent)?, worker_seconds(&worker)?);
        let took = report.sending.as_secs_f64();
        results.add("messages sent", "1/s", report.messages as f64 / took);
        let lost = LOAD.rows - report.incomplete - report.answered;
        results.add("whole rows without an answer", "rows", lost as f64);
        results.add("AUC of the Shuttle anomalies", "", report.auc);
        let found = report.anomalies.1 as f64 / report.anomalies.0 as f64;
        results.add("anomalies told as such", "share", found);
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
            let latency = quantile(&report.latency_ms, q).context("no latency")?;
            results.add(
                &format!("last part of a row to its answer, {name}"),
                "ms",
                latency,
            );
        }
        results.add(
            "edge-agent: share of the core",
            "%",
            (after.0 - before.0) / took * 100.0,
        );
        results.add(
            "worker: share of the core",
            "%",
            (after.1 - before.1) / took * 100.0,
        );
    }
    Ok(results)
}

/// Binds every thread of a process to the first core.
fn pin(process: u32) -> Result<()> {
    let output = Command::new("taskset")
        .args(["-a", "-c", "-p", "0", &process.to_string()])
        .output()
        .context("running taskset (util-linux)")?;
    ensure!(output.status.success(), "taskset: {output:?}");
    Ok(())
}

fn children(process: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let listed = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for child in listed.split_whitespace() {
            children.push(child.parse()?);
        }
    }
    Ok(children)
}

/// Processor time of a process, in seconds.
fn seconds(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold spaces; fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
    let field = |at: usize| -> Result<f64> {
        let field = fields.split_whitespace().nth(at).context("a short stat")?;
        Ok(field.parse()?)
    };
    Ok((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

fn worker_seconds(workers: &[u32]) -> Result<f64> {
    workers.iter().map(|worker| seconds(*worker)).sum()
}
