//! QUIC first, WebSocket when QUIC does not answer, QUIC again when it does, through a network that delays,
//! loses, repeats and is cut: what the node counted is counted once, and the promised times are kept.

mod faults;
mod idle;
mod proxied;
mod silence;
mod weather;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleet_api::Transport;
use millwright_tests::agent::AgentOptions;
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous, requests, sensor_rows};
use millwright_tests::infer::{Load, LoadReport};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use millwright_tests::wan::{Lane, Wan};

use crate::scale;

const MODEL: &str = "shuttle-anomaly";

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

/// From the first unanswered send to a session over WebSocket.
const FAILOVER_PROMISE: Duration = Duration::from_secs(10);

/// A window is cut and sent every second, so that a send is unanswered within this after a cut.
const NEXT_SEND: Duration = Duration::from_secs(1);

/// Probes come every second or two here (see [`options`]); a switch follows the next one.
const RETURN_DEADLINE: Duration = Duration::from_secs(30);

/// Probes QUIC every second or two instead of every minute or more, and tells of handshakes.
fn options() -> Result<AgentOptions> {
    Ok(AgentOptions {
        cloud: vec!["probeQuic: {firstSeconds: 1, longestSeconds: 2}".to_owned()],
        log: "info,edge_agent::link=debug",
        ..AgentOptions::quick()?
    })
}

/// A fleet of one behind a network that `prepare` has set up; nothing is deployed.
async fn behind(
    seed: u64,
    options: AgentOptions,
    prepare: impl FnOnce(&Wan),
) -> Result<(Fleet, Wan)> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let addresses = cloud.addresses();
    let wan = Wan::start(seed, addresses.quic, addresses.websocket).await?;
    prepare(&wan);
    let options = AgentOptions {
        quic: Some(wan.quic()),
        websocket: Some(wan.websocket()),
        ..options
    };
    Ok((Fleet::join(cloud, directory, options).await?, wan))
}

/// Waits until cloudcore has a session of the node over `transport`; tells how long it took.
async fn on(fleet: &Fleet, transport: Transport, deadline: Duration) -> Result<Duration> {
    let began = Instant::now();
    until(
        &format!("session over {transport:?}"),
        deadline,
        async || {
            let now = fleet.node()?.status.transport;
            Ok((now == Some(transport)).then_some(()))
        },
    )
    .await?;
    Ok(began.elapsed())
}

/// Requests one after the other, a few dozen a second.
fn load(fleet: &Fleet) -> Result<Load> {
    let (client, rows) = (fleet.client()?, [sensor_rows(1)?]);
    Ok(Load::start(
        &client,
        MODEL,
        &rows,
        1,
        Duration::from_millis(20),
    ))
}

/// Waits until cloudcore has counted every answered request, none of them twice.
async fn counted_once(fleet: &Fleet, report: &LoadReport) -> Result<()> {
    ensure!(
        report.failures.is_empty(),
        "the line noticed: {}",
        report.failures[0]
    );
    let answered = report.answered() as u64;
    until("every request counted", 2 * COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        let counted: u64 = requests(&windows).values().sum();
        ensure!(
            counted <= answered,
            "{counted} counted of {answered}: some twice"
        );
        Ok((counted == answered).then_some(()))
    })
    .await
}

/// Sessions the agent has begun, from its log.
fn sessions(fleet: &mut Fleet) -> Result<usize> {
    let log = fleet.agent.process().log_text()?;
    Ok(log
        .lines()
        .filter(|line| line.contains("connected to cloudcore"))
        .count())
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_udp_means_websocket_and_free_udp_means_quic_again() -> Result<()> {
    let (mut fleet, wan) = behind(1, options()?, |wan| wan.cut(&Lane::UDP)).await?;
    on(&fleet, Transport::Websocket, FAILOVER_PROMISE).await?;
    ensure!(
        wan.traffic().on(Lane::UdpUp).lost > 0,
        "QUIC was never tried"
    );

    // Packages, desired state and summaries all travel over WebSocket.
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    wan.restore(&Lane::UDP);
    on(&fleet, Transport::Quic, RETURN_DEADLINE).await?;
    counted_once(&fleet, &load.stop().await?).await?;
    // The probe has brought a ticket, so that the switch needs no certificates.
    let log = fleet.agent.process().log_text()?;
    let resumed = log
        .lines()
        .any(|line| line.contains("quic") && line.contains("Resumed"));
    ensure!(resumed, "the switch to QUIC did not resume:\n{log}");
    Ok(())
}

/// `FAILOVER_RUNS=20` shows the distribution of the times.
#[tokio::test(flavor = "multi_thread")]
async fn udp_dying_mid_session_is_left_within_ten_seconds_and_nothing_is_lost_or_doubled()
-> Result<()> {
    let (fleet, wan) = behind(2, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    let mut took = Vec::new();
    for _ in 0..scale("FAILOVER_RUNS", 1)? {
        on(&fleet, Transport::Quic, CONNECT_DEADLINE).await?;
        wan.cut(&Lane::UDP);
        took.push(on(&fleet, Transport::Websocket, FAILOVER_PROMISE + NEXT_SEND).await?);
        wan.restore(&Lane::UDP);
    }
    took.sort();
    println!("from the cut to WebSocket: {took:.1?}");
    on(&fleet, Transport::Quic, RETURN_DEADLINE).await?;
    counted_once(&fleet, &load.stop().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_passes_only_handshakes_is_not_switched_back_to() -> Result<()> {
    let (mut fleet, wan) = behind(3, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    on(&fleet, Transport::Quic, CONNECT_DEADLINE).await?;
    let switches = |log: String| log.matches("switching to it").count();
    let switched = switches(fleet.agent.process().log_text()?);
    wan.pass_only_handshakes();
    on(&fleet, Transport::Websocket, FAILOVER_PROMISE + NEXT_SEND).await?;
    let before = wan.traffic();
    let answered = "answers to probes";
    until(answered, RETURN_DEADLINE, async || {
        // What a probe gets of cloudcore's first flight, several times over.
        Ok((wan.traffic().since(&before).on(Lane::UdpDown).packets > 40).then_some(()))
    })
    .await?;
    let now = switches(fleet.agent.process().log_text()?);
    ensure!(now == switched, "a handshake was taken for a working path");
    wan.pass_everything();
    on(&fleet, Transport::Quic, RETURN_DEADLINE).await?;
    counted_once(&fleet, &load.stop().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_address_is_no_new_session() -> Result<()> {
    let (mut fleet, wan) = behind(4, options()?, |_| {}).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let load = load(&fleet)?;
    on(&fleet, Transport::Quic, CONNECT_DEADLINE).await?;
    let begun = sessions(&mut fleet)?;
    for _ in 0..2 {
        wan.change_address();
        let before = fleet.windows()?.len();
        until(
            "windows from the new address",
            COUNTED_DEADLINE,
            async || Ok((fleet.windows()?.len() > before + 2).then_some(())),
        )
        .await?;
    }
    counted_once(&fleet, &load.stop().await?).await?;
    assert_eq!(sessions(&mut fleet)?, begun);
    on(&fleet, Transport::Quic, CONNECT_DEADLINE).await?;
    Ok(())
}
