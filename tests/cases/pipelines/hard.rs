//! Hard examples that an operator fetches: only when the owner of the box allows it, and never without a trace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fleet_api::{AuditList, AuditRecord, HardExampleList};
use millwright_tests::agent::AgentOptions;
use millwright_tests::camera::MjpegCamera;
use millwright_tests::fleet::Fleet;
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;

use super::{DEADLINE, picture, with_pipeline};

/// Every picture is hard: no model is that sure.
fn pipeline(camera: &MjpegCamera, directory: &Path) -> Result<String> {
    let password = directory.join("camera-password");
    std::fs::write(&password, MjpegCamera::LOGIN.1)?;
    Ok(format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: gate}}
spec:
  source: {{camera: {{url: '{}', username: {}, passwordFile: {}}}}}
  preprocess: {{image: {{size: [512, 512]}}}}
  model: face-detector
  decode: {{centerface: {{score: 0.5}}}}
  sinks: [{{hardExamples: {{confidenceBelow: 1.0, perMinute: 3}}}}]
",
        camera.stream(),
        MjpegCamera::LOGIN.0,
        password.display()
    ))
}

/// `edge-agent hard-examples` at the box.
fn at_the_box(fleet: &Fleet, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program("edge-agent")?)
        .args(["hard-examples", "--data-dir"])
        .arg(fleet.agent.data_directory())
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn ids_at_the_box(fleet: &Fleet) -> Result<Vec<String>> {
    let text = at_the_box(fleet, &["list", "-o", "json"])?;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let ids = listed.iter().map(|one| one["id"].as_str());
    ids.map(|id| Ok(id.context("an example has an id")?.to_owned()))
        .collect()
}

/// `fleetctl hard-examples WORD press-1 ...`
fn fleetctl(fleet: &Fleet, word: &str, more: &[&str]) -> Result<Output> {
    let line = [&["hard-examples", word, Fleet::NODE], more].concat();
    fleet.cloud.fleetctl_output(&line)
}

/// What a command that failed says.
fn failure(output: &Output) -> Result<String> {
    ensure!(!output.status.success(), "it was done: {output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The newest rows of the audit trail about hard examples, the newest first.
fn audited(fleet: &Fleet, action: &str) -> Result<Vec<AuditRecord>> {
    let text = fleet
        .cloud
        .fleetctl(&["get", "--raw", "/api/v1/audit?limit=200"])?;
    let rows: AuditList = serde_json::from_str(&text)?;
    let object = format!("Node/{}", Fleet::NODE);
    let about = |row: &AuditRecord| row.action == action && row.object == object;
    Ok(rows.items.into_iter().filter(about).collect())
}

/// Every file below a directory with its bytes.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path.clone(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}

/// The same, with paths below the directory.
fn tree(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let below = |(path, bytes): (PathBuf, Vec<u8>)| {
        let path = path.strip_prefix(directory).map(Path::to_owned);
        Ok((path?, bytes))
    };
    files(directory)?.into_iter().map(below).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_examples_are_fetched_when_the_box_allows_it_and_every_fetch_is_audited() -> Result<()>
{
    let directory = tempfile::tempdir()?;
    let camera = MjpegCamera::start(vec![picture("astronaut.jpg")?]).await?;
    let mut options = with_pipeline(directory.path(), &pipeline(&camera, directory.path())?)?;
    let mut fleet = Fleet::start(options.clone()).await?;
    fleet.roll_out(Package::FaceDetector1)?;
    until("kept examples", DEADLINE, async || {
        Ok((ids_at_the_box(&fleet)?.len() >= 2).then_some(()))
    })
    .await?;

    denied(&fleet)?;

    fleet.agent.stop().await?;
    options = AgentOptions {
        pipelines: Vec::new(),
        cloud: vec!["hardExamples: allowed".to_owned()],
        ..options
    };
    fleet.agent.start_again(&options).await?;
    fetched(&fleet, directory.path()).await?;

    fleet.agent.stop().await?;
    let told = until("the end of the session", DEADLINE, async || {
        let told = failure(&fleetctl(&fleet, "list", &[])?)?;
        Ok(told.contains("is not connected").then_some(told))
    })
    .await?;
    ensure!(told.contains("press-1"), "{told}");
    let rows = audited(&fleet, "list-hard-examples")?;
    assert_eq!(rows[0].outcome, "refused");
    assert_eq!(rows[0].detail, "the node is not connected");
    Ok(())
}

fn denied(fleet: &Fleet) -> Result<()> {
    let told = failure(&fleetctl(fleet, "list", &[])?)?;
    ensure!(told.contains("cloud: {hardExamples: allowed}"), "{told}");
    let rows = audited(fleet, "list-hard-examples")?;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1].detail, "asked for the list of hard examples");
    assert_eq!(rows[0].outcome, "refused");
    ensure!(rows[0].detail.contains("hardExamples"), "{rows:?}");
    assert_eq!(rows[0].actor, rows[1].actor);
    Ok(())
}

async fn fetched(fleet: &Fleet, directory: &Path) -> Result<()> {
    let listed = until("a list", DEADLINE, async || {
        let output = fleetctl(fleet, "list", &["-o", "json"])?;
        Ok(output.status.success().then_some(output.stdout))
    })
    .await?;
    let listed: HardExampleList = serde_json::from_slice(&listed)?;
    let ids = ids_at_the_box(fleet)?;
    let told: Vec<_> = listed.items.iter().map(|item| item.id.clone()).collect();
    assert_eq!(told, ids);
    assert_eq!(listed.items[0].reason, "lowConfidence");
    ensure!(
        listed.items[0].bytes > 32 * 1024,
        "it takes several chunks: {listed:?}"
    );

    let (export, out) = (directory.join("export"), directory.join("out"));
    at_the_box(fleet, &["export", "--to", &export.display().to_string()])?;
    let to = out.display().to_string();
    let one = ["--pipeline", "gate", "--id", &ids[1], "--out", &to];
    let output = fleetctl(fleet, "fetch", &one)?;
    ensure!(output.status.success(), "{output:?}");
    assert_eq!(tree(&out)?.len(), 2);
    let output = fleetctl(fleet, "fetch", &["--out", &to])?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let others = ids.len() - 1;
    ensure!(
        said.contains(&format!("Fetched {} files", 2 * others)) && said.contains("1 of"),
        "{said}"
    );
    assert_eq!(tree(&out)?, tree(&export)?);

    let rows = audited(fleet, "fetch-hard-examples")?;
    assert_eq!(rows.len(), 4, "{rows:?}");
    ensure!(
        rows[3].detail.contains("asked for 1 hard examples: gate/")
            && rows[3].detail.ends_with(&ids[1]),
        "{rows:?}"
    );
    let (mut first, mut rest) = (0, 0);
    for (path, bytes) in tree(&out)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let sum = if name.starts_with(&ids[1]) {
            &mut first
        } else {
            &mut rest
        };
        *sum += bytes.len();
    }
    let came =
        |files: usize, bytes: usize| format!("{files} files with {bytes} bytes were fetched");
    assert_eq!(rows[2].detail, came(2, first));
    assert_eq!(rows[0].detail, came(2 * others, rest));

    let told = fleetctl(fleet, "fetch", &["--id", "1-1", "--out", &to])?;
    assert_eq!(told.status.code(), Some(4), "{told:?}");
    ensure!(
        failure(&told)?.contains("no hard example `1-1`"),
        "{told:?}"
    );
    Ok(())
}
