//! Certificates that live for seconds: renewed under a session, run out while the agent is away, rotated, and renewed
//! through kills.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_api::{AuditList, Event, EventList};
use jiff::Timestamp;
use millwright_tests::agent::AgentOptions;
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous};
use millwright_tests::program;
use millwright_tests::wait::until;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

/// Renewed by its agent every five seconds and a half.
const LIFETIME: &str = "8s";

/// How often the agent is killed; a kill falls anywhere into a renewal, or beside it.
const KILLS: u64 = 12;

async fn fleet(lifetime: &str) -> Result<Fleet> {
    let directory = tempfile::tempdir()?;
    let flags = ["--node-certificate-lifetime", lifetime];
    let cloud = Cloud::start_with(directory.path(), &flags).await?;
    let fleet = Fleet::join(cloud, directory, AgentOptions::quick()?).await?;
    fleet.connected(DEADLINE).await?;
    Ok(fleet)
}

/// What cloudcore said about renewals of the node, the newest first.
fn renewals(fleet: &Fleet) -> Result<Vec<Event>> {
    let path = format!("/api/v1/events?regarding=Node/{}&limit=500", Fleet::NODE);
    let events: EventList = serde_json::from_str(&fleet.cloud.fleetctl(&["get", "--raw", &path])?)?;
    let mut events = events.items;
    events.retain(|event| event.reason == "NodeCertificateRenewed");
    Ok(events)
}

async fn renewed(fleet: &Fleet, times: usize) -> Result<()> {
    until("renewals", DEADLINE, async || {
        Ok((renewals(fleet)?.len() >= times).then_some(()))
    })
    .await
}

fn certificate_end(fleet: &Fleet) -> Result<Timestamp> {
    let end = fleet.node()?.status.certificate_expires;
    end.context("the node has no certificate")
}

fn sessions(fleet: &mut Fleet) -> Result<usize> {
    let log = fleet.agent.process().log_text()?;
    Ok(log.matches("connected to cloudcore").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_renews_again_and_again_under_one_session() -> Result<()> {
    let mut fleet = fleet(LIFETIME).await?;
    let first = certificate_end(&fleet)?;
    renewed(&fleet, 3).await?;
    ensure!(
        Timestamp::now() > first && certificate_end(&fleet)? > first,
        "the first certificate is not over yet"
    );
    assert_eq!(sessions(&mut fleet)?, 1, "a renewal cost a session");
    ensure!(fleet.node()?.status.transport.is_some());
    let before = fleet.windows()?.len();
    until("windows under the same session", DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        Ok((windows.len() > before + 1).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_certificate_ran_out_while_it_was_away_is_back_by_itself() -> Result<()> {
    let mut fleet = fleet(LIFETIME).await?;
    fleet.agent.process().kill()?;
    let end = certificate_end(&fleet)?;
    until("end of the certificate", DEADLINE, async || {
        Ok((Timestamp::now() > end + Duration::from_secs(1)).then_some(()))
    })
    .await?;
    let before = renewals(&fleet)?.len();
    let begun = sessions(&mut fleet)?;
    fleet.agent.start_again(&fleet.options).await?;
    until("a session with a new certificate", DEADLINE, async || {
        Ok((sessions(&mut fleet)? > begun).then_some(()))
    })
    .await?;
    let told = renewals(&fleet)?;
    ensure!(told.len() > before, "it is back without a renewal");
    ensure!(
        told.iter()
            .any(|event| event.message.contains("had run out")),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_a_session_costs_nothing_and_both_cas_are_accepted() -> Result<()> {
    // Long enough that the agent comes back with what the old CA issued.
    let mut fleet = fleet("30d").await?;
    let rotated = cloudcore_ca(&fleet, &["rotate"])?;
    ensure!(rotated.contains("generation 2"), "{rotated}");
    until("the new CAs in use", DEADLINE, async || {
        let log = fleet.cloud.process().log_text()?;
        Ok(log.contains("new certificates are in use").then_some(()))
    })
    .await?;
    assert_eq!(sessions(&mut fleet)?, 1, "the rotation cost a session");
    let listed: Value = serde_json::from_str(&cloudcore_ca(&fleet, &["show", "-o", "json"])?)?;
    let listed = listed.as_array().context("not a list")?;
    let nodes = listed.iter().filter(|row| row["role"] == "nodes");
    let states: Vec<&Value> = nodes.map(|row| &row["state"]).collect();
    assert_eq!(states, ["retired", "active"]);

    // Of the old CA, to a server certificate of the new one.
    fleet.agent.kill_and_restart(&fleet.options).await?;
    until("a session after the rotation", DEADLINE, async || {
        Ok((sessions(&mut fleet)? == 2).then_some(()))
    })
    .await?;
    assert_eq!(renewals(&fleet)?.len(), 0);
    let audit: AuditList =
        serde_json::from_str(&fleet.cloud.fleetctl(&["get", "--raw", "/api/v1/audit"])?)?;
    ensure!(
        audit.items.iter().any(|row| row.action == "rotate"),
        "the rotation is not audited"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_rotated_ca_are_renewed_by_the_new_one_under_the_session() -> Result<()> {
    let mut fleet = fleet(LIFETIME).await?;
    cloudcore_ca(&fleet, &["rotate"])?;
    until("the new CAs in use", DEADLINE, async || {
        let log = fleet.cloud.process().log_text()?;
        Ok(log.contains("new certificates are in use").then_some(()))
    })
    .await?;
    let before = renewals(&fleet)?.len();
    renewed(&fleet, before + 2).await?;
    assert_eq!(sessions(&mut fleet)?, 1, "a session was lost");
    fleet.agent.kill_and_restart(&fleet.options).await?;
    until(
        "a session with what the new CA issued",
        DEADLINE,
        async || Ok((sessions(&mut fleet)? == 2).then_some(())),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_of_renewals_leave_an_identity_that_works() -> Result<()> {
    let mut fleet = fleet("5s").await?;
    for kill in 0..KILLS {
        // The renewal comes three seconds and a half after the one before; kills spread over that and a bit.
        let pause = Duration::from_millis(2_800 + kill * 137 % 1_200);
        let begin = Instant::now();
        until("the moment of the kill", DEADLINE, async || {
            Ok((begin.elapsed() > pause).then_some(()))
        })
        .await?;
        fleet.agent.kill_and_restart(&fleet.options).await?;
    }
    let before = sessions(&mut fleet)?;
    until("a session after the kills", DEADLINE, async || {
        let connected = fleet.node()?.status.transport.is_some();
        Ok((connected && sessions(&mut fleet)? >= before).then_some(()))
    })
    .await?;
    let seen = fleet.windows()?.len();
    until("windows after the kills", COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        Ok((windows.len() > seen).then_some(()))
    })
    .await
}

/// `cloudcore ca`, while the directory is served.
fn cloudcore_ca(fleet: &Fleet, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program("cloudcore")?)
        .arg("ca")
        .args(arguments)
        .arg("--data-dir")
        .arg(fleet.cloud.data_directory())
        .output()
        .context("starting cloudcore ca")?;
    ensure!(
        output.status.success(),
        "cloudcore ca {} ended with {}:\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).context("cloudcore ca wrote something that is not UTF-8")
}
