//! What an operator does to cloudcore itself: back it up while it serves, restore it, go on.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous, requests, sensor_rows};
use millwright_tests::infer::Load;
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;

const CONNECT_DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_cloud_goes_on_with_its_nodes() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let data = fleet.cloud.data_directory();
    let backup = fleet.directory().join("backup");
    let cloudcore = |arguments: &[&str]| {
        Command::new(program("cloudcore")?)
            .args(arguments)
            .output()
            .map_err(anyhow::Error::from)
    };
    let (data_text, backup_text) = (data.display().to_string(), backup.display().to_string());

    let output = cloudcore(&["backup", "--data-dir", &data_text, "--to", &backup_text])?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let output = cloudcore(&["restore", "--from", &backup_text, "--data-dir", &data_text])?;
    ensure!(!output.status.success(), "it restored over a living store");

    fleet.cloud.process().kill()?;
    std::fs::remove_dir_all(&data)?;
    let output = cloudcore(&["restore", "--from", &backup_text, "--data-dir", &data_text])?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fleet.cloud.start_again().await?;

    fleet.connected(CONNECT_DEADLINE).await?;
    fleet.roll_out(Package::ShuttleAnomaly2)?;
    let before = fleet.windows()?.len();
    until(
        "new windows after the restore",
        COUNTED_DEADLINE,
        async || Ok((fleet.windows()?.len() > before).then_some(())),
    )
    .await?;
    check_contiguous(&fleet.windows()?)
}

fn cloudcore(arguments: &[&str]) -> Result<()> {
    let output = Command::new(program("cloudcore")?)
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Waits until the cloud has counted `more` windows than now.
async fn counted(fleet: &Fleet, more: usize) -> Result<()> {
    let before = fleet.windows()?.len();
    until("more windows in the cloud", CONNECT_DEADLINE, async || {
        Ok((fleet.windows()?.len() >= before + more).then_some(()))
    })
    .await
}

/// Sees that the node is ahead of the restored cloud, which lacks version 2, and adopts what it runs.
async fn adopt(fleet: &Fleet, applied: u64) -> Result<()> {
    let ahead = until(
        "the node ahead of the cloud",
        CONNECT_DEADLINE,
        async || {
            let node = fleet.node()?;
            let mut conditions = node.status.conditions.into_iter();
            Ok(conditions.find(|told| told.kind == "AheadOfCloud"))
        },
    )
    .await?;
    let message = &ahead.message;
    ensure!(message.contains("fleetctl node adopt"), "{message}");
    let refused = fleet
        .cloud
        .fleetctl_output(&["node", "adopt", Fleet::NODE])?;
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.contains("shuttle-anomaly@2.0.0"), "{refused}");
    fleet.cloud.publish(Package::ShuttleAnomaly2)?;
    fleet.cloud.fleetctl(&["node", "adopt", "--all"])?;
    until("the adopted node", CONNECT_DEADLINE, async || {
        let status = fleet.node()?.status;
        let mut conditions = status.conditions.iter();
        let ahead = conditions.any(|told| told.kind == "AheadOfCloud");
        let follows = status.applied_generation == status.desired_generation;
        Ok((!ahead && follows && status.applied_generation > applied).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_loses_no_count_and_rolls_no_node_back() -> Result<()> {
    // The tail that the agent keeps is 60 windows: so long that the whole case fits, on any machine.
    let options = AgentOptions {
        summary_window_seconds: 4,
        ..AgentOptions::quick()?
    };
    let mut fleet = Fleet::with_model(options).await?;
    let data = fleet.cloud.data_directory();
    let backup = fleet.directory().join("backup");
    let (data_text, backup_text) = (data.display().to_string(), backup.display().to_string());
    let load = Load::start(
        &fleet.client()?,
        "shuttle-anomaly",
        &[sensor_rows(2)?],
        2,
        Duration::from_millis(10),
    );
    counted(&fleet, 2).await?;
    cloudcore(&["backup", "--data-dir", &data_text, "--to", &backup_text])?;
    fleet.roll_out(Package::ShuttleAnomaly2)?;
    let applied = fleet.node()?.status.applied_generation;
    counted(&fleet, 3).await?;

    fleet.cloud.process().kill()?;
    std::fs::remove_dir_all(&data)?;
    cloudcore(&["restore", "--from", &backup_text, "--data-dir", &data_text])?;
    fleet.cloud.start_again().await?;

    adopt(&fleet, applied).await?;
    let audit = fleet.cloud.fleetctl(&["get", "--raw", "/api/v1/audit"])?;
    ensure!(audit.contains("\"adopt\""), "{audit}");
    counted(&fleet, 2).await?;

    let report = load.stop().await?;
    ensure!(
        report.failures.is_empty(),
        "the line noticed: {}",
        report.failures[0]
    );
    let last = report.latency_ms.keys().next_back();
    ensure!(last.is_some_and(|version| version == "2.0.0"), "{last:?}");
    let answered = report.answered() as u64;
    until("every request counted once", COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        let counted: u64 = requests(&windows).values().sum();
        ensure!(counted <= answered, "{counted} counted of {answered}");
        Ok((counted == answered).then_some(()))
    })
    .await?;
    ensure!(
        fleet
            .client()?
            .infer("shuttle-anomaly", &[sensor_rows(1)?])
            .await?
            .version
            == "2.0.0",
        "the restore rolled the node back"
    );
    Ok(())
}
