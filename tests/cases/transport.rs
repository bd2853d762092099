//! QUIC first, WebSocket when QUIC does not answer, QUIC again when it does. UDP is swallowed, not refused.

use std::time::Duration;

use anyhow::Result;
use fleet_api::Transport;
use millwright_tests::agent::AgentOptions;
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous, requests, sensor_rows};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Wan};

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// A quiet probe of QUIC comes round within this, also after a few failed ones.
const RETURN_DEADLINE: Duration = Duration::from_secs(120);

async fn through_relay() -> Result<(Fleet, Wan)> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let relay = Wan::start(1, cloud.addresses().quic, cloud.addresses().websocket).await?;
    relay.cut(&Lane::UDP);
    let options = AgentOptions {
        quic: Some(relay.quic()),
        ..AgentOptions::quick()?
    };
    Ok((Fleet::join(cloud, directory, options).await?, relay))
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_udp_means_websocket_and_free_udp_means_quic_again() -> Result<()> {
    let (fleet, relay) = through_relay().await?;
    assert_eq!(
        fleet.connected(CONNECT_DEADLINE).await?,
        Transport::Websocket
    );
    assert!(
        relay.traffic().on(Lane::UdpUp).lost > 0,
        "QUIC was never tried"
    );

    // Packages, desired state and summaries all travel over WebSocket.
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let (client, rows) = (fleet.client()?, sensor_rows(1)?);
    client
        .infer("shuttle-anomaly", std::slice::from_ref(&rows))
        .await?;

    relay.restore(&Lane::UDP);
    until("return to QUIC", RETURN_DEADLINE, async || {
        Ok(fleet
            .node()?
            .status
            .transport
            .filter(|transport| *transport == Transport::Quic))
    })
    .await?;
    client
        .infer("shuttle-anomaly", std::slice::from_ref(&rows))
        .await?;
    until("both requests counted once", COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        Ok((requests(&windows).values().sum::<u64>() == 2).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_dying_mid_session_loses_no_window() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let relay = Wan::start(1, cloud.addresses().quic, cloud.addresses().websocket).await?;
    let options = AgentOptions {
        quic: Some(relay.quic()),
        ..AgentOptions::quick()?
    };
    let fleet = Fleet::join(cloud, directory, options).await?;
    assert_eq!(fleet.connected(CONNECT_DEADLINE).await?, Transport::Quic);

    relay.cut(&Lane::UDP);
    until("WebSocket after UDP died", RETURN_DEADLINE, async || {
        Ok(fleet
            .node()?
            .status
            .transport
            .filter(|transport| *transport == Transport::Websocket))
    })
    .await?;
    let before = fleet.windows()?.len();
    until("windows over WebSocket", COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        Ok((windows.len() > before + 2).then_some(()))
    })
    .await
}
