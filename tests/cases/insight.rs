//! Knowing the model: what a node and its cloud tell of inputs that are no longer what the model was made for, and the
//! pages for Prometheus.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_api::SummaryReport;
use millwright_package::profile::Builder;
use millwright_tests::agent::AgentOptions;
use millwright_tests::checkout;
use millwright_tests::fleet::{Fleet, ROLLOUT_TIMEOUT, SENSORS, sensor_rows};
use millwright_tests::infer::Input;
use millwright_tests::operator::at_the_box_ok;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;

/// A window of a second is cut, judged, sent and counted well within this.
const TOLD_DEADLINE: Duration = Duration::from_secs(40);

/// Rows of the data, half of which make the baseline.
const ROWS: usize = 2000;

const MODEL: &str = "shuttle-anomaly";

/// Every other row of the data, from `first` on, with `f3` higher by `by`.
fn every_other(first: usize, by: f32) -> Result<Vec<[f32; SENSORS]>> {
    let all = sensor_rows(ROWS)?;
    let rows = all.values.as_chunks::<SENSORS>().0.iter();
    let rows = rows.skip(first).step_by(2).copied();
    Ok(rows
        .map(|mut row| {
            row[2] += by;
            row
        })
        .collect())
}

/// Publishes the sensor model with a baseline profile and deploys it.
fn deploy_with_profile(fleet: &Fleet) -> Result<()> {
    let package = Package::ShuttleAnomaly1.copy_to(&fleet.directory().join("with-profile"))?;
    let names = (1..=SENSORS).map(|sensor| format!("f{sensor}")).collect();
    let mut builder = Builder::new(
        "shuttle-anomaly@1.0.0".parse()?,
        Some("sensors".to_owned()),
        names,
    )?;
    for row in every_other(0, 0.0)? {
        builder.row(&row.map(f64::from))?;
    }
    std::fs::write(package.join("profile.json"), builder.build()?.to_json())?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    let text = text.replace("  golden:\n", "  profile: profile.json\n  golden:\n");
    std::fs::write(&manifest, text)?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly1)?;
    fleet
        .cloud
        .await_rollout(Package::ShuttleAnomaly1, ROLLOUT_TIMEOUT)?;
    Ok(())
}

/// Sends rows in requests of fifty.
async fn send(fleet: &Fleet, rows: &[[f32; SENSORS]]) -> Result<()> {
    let client = fleet.client()?;
    for rows in rows.chunks(50) {
        let input = Input {
            name: "sensors".to_owned(),
            shape: vec![rows.len(), SENSORS],
            values: rows.concat(),
        };
        client.infer(MODEL, &[input]).await?;
    }
    Ok(())
}

fn verdict(fleet: &Fleet) -> Result<(String, Vec<String>)> {
    let report: SummaryReport =
        serde_json::from_str(&fleet.cloud.fleetctl(&["summaries", "-o", "json"])?)?;
    let models = report.nodes.iter().flat_map(|node| &node.models);
    let drift = models.filter_map(|model| model.drift.clone()).next_back();
    let drift = drift.unwrap_or_default();
    let drifting = drift
        .distributions
        .iter()
        .filter(|of| of.verdict == "drift");
    Ok((
        drift.verdict.clone(),
        drifting.map(|of| of.name.clone()).collect(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_is_off_is_told_at_the_node_and_in_the_cloud() -> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    deploy_with_profile(&fleet)?;
    send(&fleet, &every_other(1, 0.0)?).await?;
    until("a steady verdict in the cloud", TOLD_DEADLINE, async || {
        let (verdict, _) = verdict(&fleet)?;
        Ok((verdict == "steady").then_some(()))
    })
    .await?;

    // Three times as many, so that they weigh more than the good ones in the sum the cloud makes.
    for _ in 0..3 {
        send(&fleet, &every_other(1, 40.0)?).await?;
    }
    let data = fleet.agent.data_directory();
    until("the verdict at the node", TOLD_DEADLINE, async || {
        let text = at_the_box_ok(&data, &["status"])?;
        Ok(text
            .contains("shuttle-anomaly@1.0.0: drift (f3 (PSI")
            .then_some(()))
    })
    .await?;
    until("the verdict in the cloud", TOLD_DEADLINE, async || {
        let (verdict, drifting) = verdict(&fleet)?;
        Ok((verdict == "drift" && drifting == ["f3"]).then_some(()))
    })
    .await?;
    let described = until("the event in the cloud", TOLD_DEADLINE, async || {
        let text = fleet.cloud.fleetctl(&["describe", "node", Fleet::NODE])?;
        Ok(text.contains("DriftBegan").then_some(text))
    })
    .await?;
    ensure!(described.contains("drift: f3 (PSI"), "{described}");
    ensure!(described.matches("DriftBegan").count() == 1, "{described}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_nothing_to_say_about_either_page() -> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    deploy_with_profile(&fleet)?;
    let (client, rows) = (fleet.client()?, every_other(1, 0.0)?);
    until("a window with requests", TOLD_DEADLINE, async || {
        // The page shows one window, for a second.
        send(&fleet, &rows).await?;
        let (_, page) = client.get("/metrics/summary").await?;
        Ok(page
            .contains("millwright_window_latency_seconds_count")
            .then_some(()))
    })
    .await?;
    for path in ["/metrics", "/metrics/summary"] {
        let (status, page) = client.get(path).await?;
        ensure!(
            status == 200 && page.contains("millwright_drift_verdict"),
            "{path}: {page}"
        );
        let Some(promtool) = promtool() else {
            eprintln!(
                "no promtool (tests/setup/setup.sh promtool): the unit tests check the same rules"
            );
            continue;
        };
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("its input")?
            .write_all(page.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(
            output.status.success() && said.is_empty(),
            "{path}: {said}\n{page}"
        );
    }
    Ok(())
}

/// Where the set-up or a benchmark unpacked it, or where it is installed.
fn promtool() -> Option<std::path::PathBuf> {
    let unpacked = checkout().join("target/peers/prometheus/usr/bin/promtool");
    let places = [
        unpacked,
        "/usr/bin/promtool".into(),
        "/usr/local/bin/promtool".into(),
    ];
    places.into_iter().find(|place| place.is_file())
}
