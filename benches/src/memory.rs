//! P1: what a connected agent weighs, without a model and with one, beside an updater plus a metrics exporter.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::Fleet;
use millwright_tests::packages::Package;
use millwright_tests::process::{Memory, Process};
use millwright_tests::program;

use crate::peers;
use crate::results::Results;

/// Start-up allocations are returned or in use by then, for every program here.
const SETTLE: Duration = Duration::from_secs(10);

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "memory",
        "P1: PSS of a connected agent <= 4.5 MiB, private dirty <= 2 MiB",
    );
    let binary = std::fs::metadata(program("edge-agent")?).context("looking at edge-agent")?;
    results.add(
        "edge-agent: size of the stripped binary",
        "MiB",
        mebibytes(binary.len()),
    );
    for repeat in 0..repeats {
        println!("memory: repeat {} of {repeats}", repeat + 1);
        // A plant's windows, not the short ones of the cases.
        let options = AgentOptions {
            summary_window_seconds: 60,
            ..AgentOptions::quick()?
        };
        let fleet = Fleet::start(options).await?;
        fleet.connected(CONNECT_DEADLINE).await?;
        tokio::time::sleep(SETTLE).await;
        add(
            &mut results,
            "edge-agent: connected, no model",
            Memory::of(fleet.agent.pid()?)?,
        );

        fleet.roll_out(Package::ShuttleAnomaly1)?;
        tokio::time::sleep(SETTLE).await;
        let agent = fleet.agent.pid()?;
        add(
            &mut results,
            "edge-agent: with shuttle-anomaly loaded",
            Memory::of(agent)?,
        );
        add(
            &mut results,
            "worker: shuttle-anomaly",
            Memory::of_children(agent)?,
        );

        let directory = tempfile::tempdir()?;
        let mender = weigh(
            "mender",
            &mut peers::mender_command(directory.path())?,
            directory.path(),
        )
        .await?;
        let exporter =
            peers::debian("prometheus-node-exporter")?.join("usr/bin/prometheus-node-exporter");
        let mut command = Command::new(exporter);
        command.arg("--web.listen-address=127.0.0.1:0");
        let exporter = weigh("node-exporter", &mut command, directory.path()).await?;
        add(&mut results, "peer: mender-client", mender);
        add(&mut results, "peer: prometheus-node-exporter", exporter);
        let peers = mender.pss_bytes + exporter.pss_bytes;
        let ours = Memory::of(agent)?.pss_bytes;
        results.add(
            "ratio: edge-agent with a model / both peers",
            "x",
            ours as f64 / peers as f64,
        );
    }
    Ok(results)
}

async fn weigh(name: &str, command: &mut Command, directory: &Path) -> Result<Memory> {
    let mut process = Process::start(name, command, &directory.join(format!("{name}.log")))?;
    tokio::time::sleep(SETTLE).await;
    process.check_running()?;
    Memory::of(process.id()?)
}

fn add(results: &mut Results, name: &str, memory: Memory) {
    results.add(&format!("{name}: PSS"), "MiB", mebibytes(memory.pss_bytes));
    results.add(
        &format!("{name}: private dirty"),
        "MiB",
        mebibytes(memory.private_dirty_bytes),
    );
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
