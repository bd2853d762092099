//! Clients others wrote: they decide whether we speak the protocol.
//!
//! Each script of `clients` asks one running agent over HTTP, then over gRPC, and says how many checks it made: one that
//! were left out would be missed. The scripts differ only where the protocols do ([`PROTOCOLS`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::checkout;
use millwright_tests::packages::{Package, copy_tree, python, zoo};

/// In the order in which they are asked.
const PROTOCOLS: [&str; 2] = ["http", "grpc"];

fn script(name: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(checkout().join("tests/cases/clients").join(name));
    // Nothing is written where the sources are.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// What a script said, once it ended well.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{complained}");
    Ok(said)
}

/// Lets `name` ask the agent at `address`.
fn asks(
    name: &str,
    protocol: &str,
    address: SocketAddr,
    package: &Path,
    checks: usize,
) -> Result<()> {
    let mut command = script(name)?;
    command.arg(protocol).arg(address.to_string()).arg(package);
    let said = said(&mut command)?;
    ensure!(
        said.trim() == format!("{checks} checks passed"),
        "{protocol}: {said}"
    );
    Ok(())
}

/// The agent at `address` gives for `package` what ONNX Runtime in Python gives.
pub(crate) fn agrees(
    protocol: &str,
    address: SocketAddr,
    package: &Path,
    checks: usize,
) -> Result<()> {
    asks("agreement.py", protocol, address, package, checks)
}

/// Serves `package` and lets `name` ask it; `checks` for each protocol.
async fn passes(name: &str, package: &Path, checks: [usize; 2]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut trial = Trial::start(directory.path(), package, &AgentOptions::quick()?).await?;
    for (protocol, checks) in PROTOCOLS.into_iter().zip(checks) {
        let address = match protocol {
            "grpc" => trial.grpc()?,
            _ => trial.http(),
        };
        asks(name, protocol, address, package, checks)?;
        trial.process().check_running()?;
    }
    Ok(())
}

/// The packages that `packages.py` makes, below `directory`.
fn made(directory: &Path, name: &str) -> Result<PathBuf> {
    said(script("packages.py")?.arg(directory))?;
    Ok(directory.join(name))
}

/// The sensor model, whose requests are joined.
fn joining(directory: &Path) -> Result<PathBuf> {
    let package = directory.join("joining");
    copy_tree(&Package::ShuttleAnomaly1.source()?, &package)?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    let batching = "  batching: {maxRows: 64, maxDelayUs: 2000}\n  golden:\n";
    let edited = text.replacen("  golden:\n", batching, 1);
    ensure!(text != edited, "the manifest has no golden set");
    std::fs::write(&manifest, edited)?;
    Ok(package)
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_learns_infers_is_refused_counted_and_loads() -> Result<()> {
    let directory = tempfile::tempdir()?;
    passes("surface.py", &joining(directory.path())?, [62, 65]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_of_any_bytes_and_floats_of_16_bits_come_back_to_tritonclient() -> Result<()> {
    let directory = tempfile::tempdir()?;
    passes("tensors.py", &made(directory.path(), "echo")?, [20, 16]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_sends_and_gets_64_mib_and_is_told_when_it_is_more() -> Result<()> {
    let directory = tempfile::tempdir()?;
    passes("limits.py", &made(directory.path(), "big")?, [6, 6]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tritonclient_that_gives_up_or_cancels_takes_no_place_from_others() -> Result<()> {
    let directory = tempfile::tempdir()?;
    passes("patience.py", &made(directory.path(), "slow")?, [12, 19]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_of_tritonclient_go_on_where_they_were() -> Result<()> {
    passes("sequences.py", &zoo("voice-activity")?, [23, 24]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tritonclient_gets_what_onnx_runtime_in_python_gives() -> Result<()> {
    let packages = [
        (Package::FaceDetector1.source()?, 12),
        (Package::ShuttleAnomaly1.source()?, 6),
        (zoo("file-type")?, 3),
        (zoo("text-recogniser")?, 3),
    ];
    for (package, checks) in packages {
        passes("agreement.py", &package, [checks; 2]).await?;
    }
    Ok(())
}
