//! A model update under load: no request fails, and the old version answers until the new one does.

use std::time::Duration;

use anyhow::{Result, ensure};
use fleet_api::{SlotState, SummaryReport};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, sensor_rows};
use millwright_tests::infer::Load;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;

const MODEL: &str = "shuttle-anomaly";

#[tokio::test(flavor = "multi_thread")]
async fn an_update_under_load_fails_no_request() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let load = Load::start(
        &fleet.client()?,
        MODEL,
        &[sensor_rows(8)?],
        4,
        Duration::from_millis(5),
    );
    for package in [
        Package::ShuttleAnomaly2,
        Package::ShuttleAnomaly1,
        Package::ShuttleAnomaly2,
    ] {
        fleet.roll_out(package)?;
    }
    let report = load.stop().await?;
    ensure!(
        report.failures.is_empty(),
        "{} failed: {}",
        report.failures.len(),
        report.failures[0]
    );
    let versions: Vec<_> = report.latency_ms.keys().map(String::as_str).collect();
    assert_eq!(versions, ["1.0.0", "2.0.0"]);

    until(
        "the same count in the cloud",
        COUNTED_DEADLINE,
        async || {
            let summaries: SummaryReport = fleet.cloud.fleetctl_json(&["summaries"])?;
            let counted: u64 = summaries
                .nodes
                .iter()
                .flat_map(|node| &node.models)
                .map(|model| model.requests)
                .sum();
            Ok((counted == report.answered() as u64).then_some(()))
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_its_golden_set_never_answers() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let broken = Package::ShuttleAnomaly2.copy_to(&fleet.directory().join("broken"))?;
    let other = Package::ShuttleAnomaly1.source()?;
    // The golden set of version 1 does not fit the model of version 2.
    std::fs::copy(
        other.join("golden/rows.safetensors"),
        broken.join("golden/rows.safetensors"),
    )?;
    fleet.cloud.publish_directory(&broken)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly2)?;

    let output = fleet.cloud.fleetctl_output(&[
        "rollout",
        "status",
        "--deployment",
        MODEL,
        "--timeout",
        "90s",
    ])?;
    ensure!(
        !output.status.success(),
        "the rollout succeeded: {output:?}"
    );
    let slot = fleet.node()?.status.models.remove(0);
    assert_eq!(
        (
            slot.state,
            slot.active_version.as_deref(),
            slot.version.as_str()
        ),
        (SlotState::Failed, Some("1.0.0"), "2.0.0")
    );
    assert_eq!(slot.reason, "GoldenFailed", "{}", slot.message);
    let reply = fleet.client()?.infer(MODEL, &[sensor_rows(1)?]).await?;
    assert_eq!(reply.version, "1.0.0");
    Ok(())
}
