//! Two agents on one machine, and one that takes gRPC on no port of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::infer::{InferClient, Input};
use millwright_tests::packages::Package;
use millwright_tests::program;

/// One row of nine sensors.
fn row() -> Input {
    Input {
        name: "sensors".to_owned(),
        shape: vec![1, 9],
        values: vec![39.0, 1.0, 93.0, 8.0, 34.0, 2.0, 55.0, 60.0, 6.0],
    }
}

async fn version(client: &InferClient) -> Result<String> {
    Ok(client.infer("shuttle-anomaly", &[row()]).await?.version)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_on_one_machine_answer_each_for_itself() -> Result<()> {
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let options = AgentOptions::quick()?;
    let package = Package::ShuttleAnomaly1.source()?;
    let mut first = Trial::start(one.path(), &package, &options).await?;
    let package = Package::ShuttleAnomaly2.source()?;
    let second = Trial::start(other.path(), &package, &options).await?;
    ensure!(first.http() != second.http() && first.grpc()? != second.grpc()?);
    assert_eq!(version(&first.client()?).await?, "1.0.0");
    assert_eq!(version(&second.client()?).await?, "2.0.0");
    first.process().kill()?;
    assert_eq!(version(&second.client()?).await?, "2.0.0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_port_is_taken_says_which_and_the_other_goes_on() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let options = AgentOptions::quick()?;
    let package = Package::ShuttleAnomaly1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let (http, grpc) = (trial.http().to_string(), trial.grpc()?.to_string());
    for (flags, taken) in [
        (["--http", &http, "--grpc", "off"], &http),
        (["--http", "127.0.0.1:0", "--grpc", &grpc], &grpc),
    ] {
        let output = Command::new(program("edge-agent")?)
            .args(["run", "--model"])
            .arg(&package)
            .arg("--data-dir")
            .arg(directory.path().join("second"))
            .args(flags)
            .output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && told.contains(taken), "{told}");
    }
    assert_eq!(version(&trial.client()?).await?, "1.0.0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_port_for_grpc_both_protocols_are_taken_where_http_is() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let options = AgentOptions {
        flags: vec!["--grpc", "off"],
        ..AgentOptions::quick()?
    };
    let package = Package::ShuttleAnomaly1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    ensure!(trial.grpc().is_err(), "a port for gRPC is told");
    let listening = std::fs::read_to_string(directory.path().join("trial.log"))?;
    ensure!(!listening.contains("serving gRPC"), "{listening}");
    assert_eq!(version(&trial.client()?).await?, "1.0.0");
    super::clients::agrees("grpc", trial.http(), &package, 6).context("gRPC on the HTTP port")
}
