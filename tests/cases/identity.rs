//! Who may join, who may stay: join tokens, revocation, decommissioning.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_api::{AuditList, NodePhase};
use millwright_tests::agent::{AgentOptions, enroll};
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::Fleet;
use millwright_tests::wait::until;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CUT_DEADLINE: Duration = Duration::from_secs(60);

/// Enrolling must fail, say `words`, name no secret and leave no identity behind.
fn check_refused(output: &Output, directory: &Path, secret: &str, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it enrolled");
    assert!(
        said.to_lowercase().contains(words),
        "it does not say `{words}`: {said}"
    );
    assert!(!said.contains(secret), "it prints the secret: {said}");
    assert!(
        !directory.join("agent/identity").exists(),
        "an identity was left behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_lets_in_only_whom_it_should() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    cloud.create_site("leipzig")?;
    let token = cloud.join_token("leipzig")?;
    let parts: Vec<&str> = token.split('.').collect();
    let [scheme, id, secret, pin] = parts[..] else {
        panic!("a token has four parts")
    };

    let wrong_secret = format!(
        "{scheme}.{id}.{}.{pin}",
        secret.chars().rev().collect::<String>()
    );
    let output = enroll(&cloud, directory.path(), "press-1", &wrong_secret)?;
    check_refused(&output, directory.path(), secret, "token");

    let wrong_pin = format!("{scheme}.{id}.{secret}.{}", "0".repeat(pin.len()));
    let output = enroll(&cloud, directory.path(), "press-1", &wrong_pin)?;
    check_refused(&output, directory.path(), secret, "pin");

    let output = enroll(&cloud, directory.path(), "press-1", "not-a-token")?;
    check_refused(&output, directory.path(), secret, "token");

    let output = enroll(&cloud, directory.path(), "press-1", &token)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let second = directory.path().join("second");
    let output = enroll(&cloud, &second, "press-2", &token)?;
    check_refused(&output, &second, secret, "use");

    let short = cloud.fleetctl(&["token", "create", "--site", "leipzig", "--ttl", "1s"])?;
    let short_secret = short
        .trim()
        .split('.')
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    let begin = Instant::now();
    until("end of a token of one second", CUT_DEADLINE, async || {
        Ok((begin.elapsed() > Duration::from_millis(1_100)).then_some(()))
    })
    .await?;
    let third = directory.path().join("third");
    let output = enroll(&cloud, &third, "press-3", short.trim())?;
    check_refused(&output, &third, &short_secret, "ended at");

    let audit: AuditList =
        serde_json::from_str(&cloud.fleetctl(&["get", "--raw", "/api/v1/audit"])?)?;
    let of = |outcome: &str| {
        audit
            .items
            .iter()
            .filter(|record| record.action == "enroll" && record.outcome == outcome)
            .count()
    };
    ensure!(
        of("allowed") >= 1 && of("refused") >= 3,
        "the audit trail misses enrollments: {audit:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_cut_off_and_stays_out() -> Result<()> {
    let mut fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.connected(CUT_DEADLINE).await?;
    fleet.cloud.fleetctl(&["node", "revoke", Fleet::NODE])?;
    until("end of the revoked session", CUT_DEADLINE, async || {
        let status = fleet.node()?.status;
        Ok((status.transport.is_none() && status.phase == NodePhase::Revoked).then_some(()))
    })
    .await?;

    let refused = |log: &str| log.matches("revoked").count();
    let before = refused(&fleet.agent.process().log_text()?);
    fleet.agent.kill_and_restart(&fleet.options).await?;
    until("refusal of the restarted agent", CUT_DEADLINE, async || {
        Ok((refused(&fleet.agent.process().log_text()?) > before).then_some(()))
    })
    .await?;
    assert_eq!(fleet.node()?.status.transport, None);
    Ok(())
}

/// How many TLS sessions this process of cloudcore has resumed.
async fn resumed(fleet: &Fleet) -> Result<u64> {
    let mut stream = TcpStream::connect(fleet.cloud.addresses().metrics).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: cloudcore\r\nConnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("cloudcore_tls_resumed_total "));
    Ok(count.context("no such metric")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_resumes_at_a_restarted_cloud_and_a_revoked_one_has_nothing_from_it() -> Result<()>
{
    let mut options = AgentOptions::quick()?;
    // It has a ticket of the transport it had a session over.
    options.cloud.push("transport: quic".to_owned());
    let mut fleet = Fleet::start(options).await?;
    fleet.connected(CUT_DEADLINE).await?;
    let sessions = |log: &str| log.matches("connected to cloudcore").count();
    fleet.cloud.kill_and_restart().await?;
    until("a resumed session", CUT_DEADLINE, async || {
        let back = sessions(&fleet.agent.process().log_text()?) >= 2;
        Ok((back && resumed(&fleet).await? > 0).then_some(()))
    })
    .await?;

    // Revoked when no session is left to be told by: it learns of it only when it shows its ticket.
    fleet.agent.process().signal(Signal::STOP)?;
    fleet.cloud.kill_and_restart().await?;
    fleet.cloud.fleetctl(&["node", "revoke", Fleet::NODE])?;
    assert_eq!(
        resumed(&fleet).await?,
        0,
        "it came back before it was revoked"
    );
    let before = sessions(&fleet.agent.process().log_text()?);
    fleet.agent.process().signal(Signal::CONT)?;
    until("refusal of the node", CUT_DEADLINE, async || {
        let log = fleet.agent.process().log_text()?;
        Ok(log.contains("revoked").then_some(()))
    })
    .await?;
    assert!(resumed(&fleet).await? > 0, "it did not show a ticket");
    assert_eq!(sessions(&fleet.agent.process().log_text()?), before);
    assert_eq!(fleet.node()?.status.phase, NodePhase::Revoked);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decommissioned_node_frees_its_name() -> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.connected(CUT_DEADLINE).await?;
    let again = fleet.directory().join("again");
    let token = fleet.cloud.join_token(Fleet::SITE)?;
    let output = enroll(&fleet.cloud, &again, Fleet::NODE, &token)?;
    ensure!(!output.status.success(), "a taken name was given away");

    fleet
        .cloud
        .fleetctl(&["node", "decommission", Fleet::NODE])?;
    let token = fleet.cloud.join_token(Fleet::SITE)?;
    let output = enroll(&fleet.cloud, &again, Fleet::NODE, &token)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
