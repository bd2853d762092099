//! Nine sensors on three topics become rows, and the anomalies among them are found.

use std::time::Duration;

use anyhow::{Context, Result};
use millwright_tests::agent::Trial;
use millwright_tests::broker::Broker;
use millwright_tests::fusion::{self, Load};
use millwright_tests::infer::quantile;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;

use super::{DEADLINE, state, with_pipeline};

/// Both versions reach 0.99 and more on rows they have not seen; see `tests/models/README.md`.
const AUC_MIN: f64 = 0.98;

/// Longer than a loaded machine stands still: a row must not be given up because of that. The rows whose third part
/// never comes are given up when later ones are complete.
const WAIT: Duration = Duration::from_secs(60);

/// What the pipeline queues: so none is dropped, however slow the machine; more than the rows that wait for a late part.
const UNANSWERED_MAX: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn anomalies_are_found_in_values_of_three_topics_joined_by_time() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path()).await?;
    let options = with_pipeline(directory.path(), &fusion::pipeline(broker.address(), WAIT))?;
    let package = Package::ShuttleAnomaly1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let client = trial.client()?;
    until("connection of the pipeline", DEADLINE, async || {
        let state = state(&client, "fusion").await?;
        Ok((state["state"] == "running").then_some(()))
    })
    .await?;
    let load = Load {
        rows: 2000,
        messages_per_second: 1000,
        unanswered_max: Some(UNANSWERED_MAX),
    };
    let report = fusion::run(broker.address(), load).await?;
    let latency = quantile(&report.latency_ms, 0.5).context("no latency")?;
    println!(
        "{} messages in {:.1} s, {} of {} rows answered, AUC {:.4}, {} of {} anomalies found, p50 {latency:.1} ms",
        report.messages,
        report.sending.as_secs_f64(),
        report.answered,
        load.rows,
        report.auc,
        report.anomalies.1,
        report.anomalies.0
    );
    assert!(report.auc >= AUC_MIN, "{report:?}");
    // The parts of a row whose third part never came are one row that was dropped.
    until(
        "count of the rows that were dropped",
        DEADLINE,
        async || {
            let counts = state(&client, "fusion").await?;
            Ok((counts["sinceStart"]["dropped"] == report.incomplete).then_some(()))
        },
    )
    .await
}
