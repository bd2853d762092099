//! What an operator does to cloudcore itself: back it up while it serves, restore it, go on.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous};
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
