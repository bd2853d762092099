//! A fleet that comes back: cloudcore is killed under hundreds of real sessions, its ports are held by
//! connections that say nothing, and two devices claim to be one node.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleet_api::{EventList, Transport};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::Fleet;
use millwright_tests::program;
use millwright_tests::wait::until;
use serde::Deserialize;

/// Sessions of the short storm; `make storm` has ten thousand.
const AGENTS: u64 = 300;

/// As many as a careless scanner opens; more than handshakes may be under way.
const SILENT: usize = 1_000;

const CONNECT_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Storm {
    agents: u64,
    connected_at_end: u64,
    fenced: u64,
    storm: Phase,
    during: Seen,
}

#[derive(Deserialize)]
struct Phase {
    attempts_per_agent: f64,
}

#[derive(Deserialize)]
struct Seen {
    calls: u64,
    failed: u64,
    offline_by_site_max: u64,
    offline_by_node: u64,
}

/// Runs the simulator, which fails where its own bounds are not kept; returns what it measured.
fn simulator(arguments: &[&str]) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let output = Command::new(program("millwright-simulator")?)
        .args(arguments)
        .arg("--directory")
        .arg(directory.path())
        .output()
        .context("starting the simulator")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(told)
}

/// The bounds are the simulator's own: it ends well only if everybody is back within 15 s after at most
/// 1.05 attempts each, no call of the operator failed and no node was shown as offline.
#[test]
fn a_fleet_is_back_at_once_after_a_kill_of_the_cloud() -> Result<()> {
    let agents = AGENTS.to_string();
    let told = simulator(&["storm", "--websocket-percent", "10", "--agents", &agents])?;
    let storm: Storm = serde_json::from_str(&told).context("reading the summary")?;
    assert_eq!((storm.agents, storm.connected_at_end), (AGENTS, AGENTS));
    assert!(storm.storm.attempts_per_agent >= 1.0, "nobody was cut off");
    assert_eq!(storm.fenced, 0);
    assert!(storm.during.calls > 0, "nobody looked");
    let Seen {
        failed,
        offline_by_site_max,
        offline_by_node,
        ..
    } = storm.during;
    assert_eq!((failed, offline_by_site_max, offline_by_node), (0, 0, 0));
    Ok(())
}

#[test]
fn forged_first_packets_are_answered_with_less_than_three_times_their_bytes() -> Result<()> {
    simulator(&["forged"]).map(drop)
}

/// An address nobody answers at, as a network without UDP.
fn nowhere() -> Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_no_agent_out() -> Result<()> {
    let (_held, address) = nowhere()?;
    let options = AgentOptions {
        quic: Some(address),
        ..AgentOptions::quick()?
    };
    let mut fleet = Fleet::start(options).await?;
    assert_eq!(
        fleet.connected(CONNECT_DEADLINE).await?,
        Transport::Websocket
    );
    let websocket = fleet.cloud.addresses().websocket;
    let silent: Vec<_> = (0..SILENT)
        .map(|_| TcpStream::connect(websocket))
        .collect::<Result<_, _>>()?;
    let begun = sessions(&fleet)?;
    fleet.agent.kill_and_restart(&fleet.options).await?;
    until(
        "another session beside them",
        CONNECT_DEADLINE,
        async || Ok((sessions(&fleet)? > begun).then_some(())),
    )
    .await?;
    drop(silent);
    Ok(())
}

/// How often cloudcore says that a session began.
fn sessions(fleet: &Fleet) -> Result<usize> {
    let log = std::fs::read_to_string(fleet.directory().join("cloudcore.log"))?;
    Ok(log.matches("a session began").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_disk_is_found_out_and_told() -> Result<()> {
    let mut fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.connected(CONNECT_DEADLINE).await?;
    fleet.agent.stop().await?;
    let image = fleet.directory().join("image");
    copy(&fleet.agent.data_directory(), &image)?;

    // The original goes on, twice: the secret of the image is older than the last two.
    for _ in 0..2 {
        let connected = |log: String| log.matches("connected to cloudcore").count();
        let before = connected(fleet.agent.process().log_text()?);
        fleet.agent.start_again(&fleet.options).await?;
        // Told when the agent has kept the session's secret.
        until("session of the original", CONNECT_DEADLINE, async || {
            Ok((connected(fleet.agent.process().log_text()?) > before).then_some(()))
        })
        .await?;
        fleet.agent.stop().await?;
    }
    let original = fleet.agent.data_directory();
    std::fs::rename(&original, fleet.directory().join("original"))?;
    copy(&image, &original)?;
    fleet.agent.start_again(&fleet.options).await?;
    until("the clone to be told", CONNECT_DEADLINE, async || {
        let log = fleet.agent.process().log_text()?;
        Ok(log
            .contains("another copy of this node's disk")
            .then_some(()))
    })
    .await?;
    let events = fleet.cloud.fleetctl(&["get", "--raw", "/api/v1/events"])?;
    let events: EventList = serde_json::from_str(&events)?;
    ensure!(
        events
            .items
            .iter()
            .any(|event| event.reason == "CloneSuspected"),
        "the operator is not told: {events:?}"
    );
    Ok(())
}

/// Copies a directory as an image of the disk would.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}
