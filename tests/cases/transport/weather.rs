//! Bad lines, and no line for a while.

use std::time::Duration;

use anyhow::Result;
use fleet_api::Transport;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Weather};

use super::{CONNECT_DEADLINE, COUNTED_DEADLINE, behind, counted_once, load, on, options};

/// The uplink of a far site on a bad day: 400 ms round trip, one packet in twenty lost.
const BAD_DAY: Weather = Weather {
    delay_ms: 200,
    jitter_ms: 40,
    loss_per_mille: 50,
    reorder_per_mille: 50,
    duplicate_per_mille: 50,
    rate_bytes: 256 * 1024,
};

/// Windows of a second that have to get through before the weather is called crossed.
const WINDOWS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn loss_delay_reordering_and_repetition_change_no_count() -> Result<()> {
    let (fleet, wan) = behind(5, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    wan.set_weather(BAD_DAY);
    let before = fleet.windows()?.len();
    let lost = || -> u64 {
        let lanes = Lane::UDP.iter();
        lanes.map(|lane| wan.traffic().on(*lane).lost).sum()
    };
    until(
        "windows through bad weather",
        2 * COUNTED_DEADLINE,
        async || {
            // Few packets may all be lucky for a while.
            let through = fleet.windows()?.len() > before + WINDOWS;
            Ok((through && lost() > 0).then_some(()))
        },
    )
    .await?;
    let report = load.stop().await?;
    counted_once(&fleet, &report).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_uplink_stops_nothing_at_the_line_and_its_return_brings_everything() -> Result<()> {
    let (mut fleet, wan) = behind(6, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    on(&fleet, Transport::Quic, CONNECT_DEADLINE).await?;
    wan.cut(&Lane::ALL);
    until(
        "end of the session at the agent",
        CONNECT_DEADLINE,
        async || {
            let log = fleet.agent.process().log_text()?;
            Ok(log.contains("cloudcore stopped answering").then_some(()))
        },
    )
    .await?;
    until("dials into the void", CONNECT_DEADLINE, async || {
        let log = fleet.agent.process().log_text()?;
        Ok(log.contains("cloudcore was not reached").then_some(()))
    })
    .await?;
    wan.restore(&Lane::ALL);
    until("a session again", Duration::from_secs(90), async || {
        Ok((super::sessions(&mut fleet)? >= 2).then_some(()))
    })
    .await?;
    counted_once(&fleet, &load.stop().await?).await
}
