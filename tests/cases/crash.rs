//! kill -9 at any time: what was committed is counted exactly once, and everything continues where it was.

use std::time::Duration;

use anyhow::{Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::commits::{check_every_commit_is_counted_once, committed};
use millwright_tests::fleet::{Fleet, requests, sensor_rows};
use millwright_tests::infer::Load;
use millwright_tests::wait::until;

const MODEL: &str = "shuttle-anomaly";

/// How often each program is killed; each kill falls somewhere else between two windows.
const KILLS: usize = 4;

/// Windows to see between two kills, so that there is something to lose.
const WINDOWS_BETWEEN: usize = 2;

const WINDOWS_DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn committed_windows_survive_kills_of_the_agent() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    for _ in 0..KILLS {
        let load = Load::start(
            &fleet.client()?,
            MODEL,
            &[sensor_rows(2)?],
            2,
            Duration::from_millis(10),
        );
        let before = committed(fleet.agent.process())?.len();
        until("more committed windows", WINDOWS_DEADLINE, async || {
            let now = committed(fleet.agent.process())?.len();
            Ok((now >= before + WINDOWS_BETWEEN).then_some(()))
        })
        .await?;
        fleet.agent.process().kill()?;
        load.stop().await?;
        fleet.agent.start_again(&fleet.options).await?;
        answers(&fleet).await?;
    }
    check_every_commit_is_counted_once(&mut fleet, WINDOWS_BETWEEN).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_windows_survive_kills_of_the_cloud() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let load = Load::start(
        &fleet.client()?,
        MODEL,
        &[sensor_rows(2)?],
        2,
        Duration::from_millis(10),
    );
    for _ in 0..KILLS {
        let before = fleet.windows()?.len();
        until("more windows in the cloud", WINDOWS_DEADLINE, async || {
            Ok((fleet.windows()?.len() >= before + WINDOWS_BETWEEN).then_some(()))
        })
        .await?;
        fleet.cloud.kill_and_restart().await?;
    }
    let report = load.stop().await?;
    ensure!(
        report.failures.is_empty(),
        "the line noticed: {}",
        report.failures[0]
    );
    check_every_commit_is_counted_once(&mut fleet, WINDOWS_BETWEEN).await?;
    let counted: u64 = requests(&fleet.windows()?).values().sum();
    assert_eq!(counted, report.answered() as u64);
    Ok(())
}

/// Waits until the restarted agent serves its model again.
async fn answers(fleet: &Fleet) -> Result<()> {
    let (client, rows) = (fleet.client()?, sensor_rows(1)?);
    until("answer after the restart", WINDOWS_DEADLINE, async || {
        Ok(client
            .infer(MODEL, std::slice::from_ref(&rows))
            .await
            .ok()
            .map(|_| ()))
    })
    .await
}
