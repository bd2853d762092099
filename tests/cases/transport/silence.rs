//! A WebSocket whose path dies without a word, as behind a proxy or a firewall that has forgotten it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_api::Transport;
use millwright_tests::fleet::Fleet;
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::Lane;

use super::{CONNECT_DEADLINE, NEXT_SEND, behind, counted_once, load, on, options, sessions};

/// From the first unanswered send to the end of the session.
const NOTICED_PROMISE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_whose_packets_are_swallowed_is_given_up_within_ten_seconds() -> Result<()> {
    let mut options = options()?;
    options.cloud.push("transport: websocket".to_owned());
    let (mut fleet, wan) = behind(10, options, |_| {}).await?;
    on(&fleet, Transport::Websocket, CONNECT_DEADLINE).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    // The way back alone is as bad as both: nothing is answered.
    for lanes in [&Lane::TCP[..], &[Lane::TcpDown]] {
        let before = ends(&mut fleet)?;
        until("a session", CONNECT_DEADLINE, async || {
            Ok((sessions(&mut fleet)? > before).then_some(()))
        })
        .await?;
        wan.cut(lanes);
        let began = Instant::now();
        until(
            "the end of the session",
            NOTICED_PROMISE + NEXT_SEND,
            async || Ok((ends(&mut fleet)? > before).then_some(())),
        )
        .await?;
        println!("{lanes:?}: noticed after {:.1?}", began.elapsed());
        wan.restore(lanes);
        // What the relay held back tells the end of the old connection to cloudcore first.
        wan.break_connections();
    }
    on(&fleet, Transport::Websocket, CONNECT_DEADLINE).await?;
    counted_once(&fleet, &load.stop().await?).await?;
    let log = fleet.agent.process().log_text()?;
    ensure!(log.contains("cloudcore stopped answering"), "{log}");
    Ok(())
}

fn ends(fleet: &mut Fleet) -> Result<usize> {
    let log = fleet.agent.process().log_text()?;
    Ok(log.matches("the session with cloudcore ended").count())
}
