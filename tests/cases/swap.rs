//! A model update under load: no request fails, and the old version answers until the new one does.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_api::{SlotState, SummaryReport};
use millwright_tests::agent::AgentOptions;
use millwright_tests::commits::check_every_commit_is_counted_once;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, ROLLOUT_TIMEOUT, sensor_rows};
use millwright_tests::infer::Load;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use rustix::process::Signal;

use crate::scale;

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

/// What waits for an answer: a debug build that starts on a loaded machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// `SWAP_KILLS=40` spreads more of them over an update.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_an_update_leaves_the_old_version_or_the_new_one() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    fleet.cloud.publish(Package::ShuttleAnomaly2)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly2)?;
    let (client, row) = (fleet.client()?, [sensor_rows(1)?]);
    let began = Instant::now();
    until(
        "an answer of the new version",
        ANSWER_DEADLINE,
        async || {
            let reply = client.infer(MODEL, &row).await?;
            Ok((reply.version == "2.0.0").then_some(()))
        },
    )
    .await?;
    let whole = began.elapsed();
    fleet
        .cloud
        .await_rollout(Package::ShuttleAnomaly2, ROLLOUT_TIMEOUT)?;
    let kills = u32::try_from(scale("SWAP_KILLS", 3)?)?;
    let mut answered = Vec::new();
    for kill in 0..kills {
        let package = match kill % 2 {
            0 => Package::ShuttleAnomaly1,
            _ => Package::ShuttleAnomaly2,
        };
        fleet.cloud.deploy(package)?;
        let (began, moment) = (Instant::now(), whole * kill / kills);
        until("moment of the kill", ANSWER_DEADLINE, async || {
            Ok((began.elapsed() >= moment).then_some(()))
        })
        .await?;
        fleet.agent.process().kill()?;
        // What answers then is what the node has, and nothing that it is told.
        fleet.cloud.process().signal(Signal::STOP)?;
        fleet.agent.start_again(&fleet.options).await?;
        let reply = until("an answer", ANSWER_DEADLINE, async || {
            Ok(client.infer(MODEL, &row).await.ok())
        })
        .await?;
        ensure!(
            ["1.0.0", "2.0.0"].contains(&reply.version.as_str()),
            "{} answers",
            reply.version
        );
        answered.push((moment, reply.version));
        fleet.cloud.process().signal(Signal::CONT)?;
        fleet.cloud.await_rollout(package, ROLLOUT_TIMEOUT)?;
        let reply = client.infer(MODEL, &row).await?;
        assert_eq!(reply.version, package.version());
    }
    println!("an update takes {whole:.1?}; killed after, and what answered: {answered:.1?}");
    check_every_commit_is_counted_once(&mut fleet, 1).await?;
    Ok(())
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
