//! Clients others wrote: they decide whether we speak the protocol.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::checkout;
use millwright_tests::packages::{Package, python};

async fn passes(
    script: &str,
    checks: usize,
    address: impl Fn(&Trial) -> Result<SocketAddr>,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let package = Package::ShuttleAnomaly1.source()?;
    let trial = Trial::start(directory.path(), &package, &AgentOptions::quick()?).await?;
    let output = Command::new(python()?)
        .arg(checkout().join("tests/cases/clients").join(script))
        .arg(address(&trial)?.to_string())
        .arg(package.join("golden/rows.safetensors"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(said.trim() == format!("{checks} checks passed"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_reads_metadata_and_infers_with_binary_tensors() -> Result<()> {
    passes("triton_http.py", 7, |trial| Ok(trial.http())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_over_grpc_infers_streams_and_loads() -> Result<()> {
    passes("triton_grpc.py", 16, Trial::grpc).await
}
