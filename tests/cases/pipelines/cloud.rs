//! Pipelines that an operator applies in the cloud: told to the nodes, changed, refused, deleted, and running on
//! without the cloud.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use fleet_api::{Node, NodePipelineStatus, Pipeline, PipelineState, Resource};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::Fleet;
use millwright_tests::operator::status;
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;
use serde_json::Value;
use tokio::sync::mpsc;

use super::DEADLINE;
use super::files::web_server;

/// A row that the model of the tests finds nothing about.
const ROW: &str = "{\"v\": [39, 1, 93, 8, 34, 2, 55, 60, 6]}";

/// A pipeline that takes requests; an answer below `threshold` is an anomaly.
fn rows(name: &str, threshold: i32, url: &str) -> String {
    let fields: Vec<String> = (1..=9).map(|at| format!("f{at}: v.{}", at - 1)).collect();
    format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: {name}, labels: {{cell: press}}}}
spec:
  selector: {{matchLabels: {{line: one}}}}
  source: {{push: {{payload: {{json: {{fields: {{{}}}}}}}}}}}
  model: shuttle-anomaly
  decode: {{anomaly: {{output: scores, threshold: {threshold}, direction: below}}}}
  sinks: [{{webhook: {{url: '{url}', retries: 4, timeoutMs: 60000}}}}]
",
        fields.join(", ")
    )
}

/// The status of one request to a pipeline.
async fn push(fleet: &Fleet, name: &str) -> Result<u16> {
    let path = format!("/pipelines/{name}/push");
    Ok(fleet.client()?.post(&path, ROW).await?.0)
}

/// What becomes of one row: whether the pipeline calls it an anomaly.
async fn judged(fleet: &Fleet, name: &str, results: &mut mpsc::Receiver<Value>) -> Result<bool> {
    until("a pipeline that takes rows", DEADLINE, async || {
        Ok((push(fleet, name).await? == 202).then_some(()))
    })
    .await?;
    loop {
        let result = tokio::time::timeout(DEADLINE, results.recv()).await?;
        let result = result.context("the web server runs")?;
        // Rows that another pipeline took until it ended may still be on the way.
        if result["pipeline"] == name {
            return result["anomaly"].as_bool().context("no verdict");
        }
    }
}

/// What cloudcore knows of a pipeline on the node.
fn on_node(fleet: &Fleet, name: &str) -> Result<Option<NodePipelineStatus>> {
    let node: Resource<Node> = fleet.cloud.fleetctl_json(&["get", "node", Fleet::NODE])?;
    let mut pipelines = node.status.pipelines.into_iter();
    Ok(pipelines.find(|told| told.pipeline == name))
}

async fn await_state(
    fleet: &Fleet,
    name: &str,
    state: PipelineState,
) -> Result<NodePipelineStatus> {
    until("the state of a pipeline", DEADLINE, async || {
        Ok(on_node(fleet, name)?.filter(|told| told.state == state))
    })
    .await
}

/// Since when a pipeline does on the node what it does.
fn since(fleet: &Fleet, name: &str) -> Result<Value> {
    let told = status(&fleet.agent.data_directory())?;
    let pipelines = told["pipelines"].as_array().context("no pipelines")?;
    let found = pipelines.iter().find(|one| one["name"] == name);
    Ok(found.context("it does not run")?["sinceMs"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_the_cloud_runs_changes_survives_without_the_cloud_and_ends() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let (url, mut results) = web_server().await?;
    let both = |threshold| {
        let (one, other) = (rows("rows", threshold, &url), rows("other", 0, &url));
        format!("{one}---\n{other}")
    };
    let told = fleet.cloud.apply(&both(0))?;
    ensure!(told.contains("Pipeline/rows created"), "{told}");
    await_state(&fleet, "rows", PipelineState::Running).await?;
    await_state(&fleet, "other", PipelineState::Running).await?;
    ensure!(!judged(&fleet, "rows", &mut results).await?, "no anomaly");
    let pipeline: Resource<Pipeline> = until("the pipeline's own status", DEADLINE, async || {
        let found: Resource<Pipeline> = fleet.cloud.fleetctl_json(&["get", "pipeline", "rows"])?;
        Ok((found.status.running == 1).then_some(found))
    })
    .await?;
    assert_eq!((pipeline.status.selected, pipeline.status.refused), (1, 0));
    let page = fleet.cloud.fleetctl(&["describe", "pipeline", "rows"])?;
    ensure!(
        page.contains("AllRunning") && page.contains("line=one"),
        "{page}"
    );

    let before = (since(&fleet, "rows")?, since(&fleet, "other")?);
    let told = fleet.cloud.apply(&both(100_000))?;
    ensure!(
        told.contains("Pipeline/rows updated") && told.contains("Pipeline/other unchanged"),
        "{told}"
    );
    until("the change on the node", DEADLINE, async || {
        let changed = since(&fleet, "rows").is_ok_and(|since| since != before.0);
        Ok(changed.then_some(()))
    })
    .await?;
    ensure!(judged(&fleet, "rows", &mut results).await?, "an anomaly");
    assert_eq!(
        since(&fleet, "other")?,
        before.1,
        "the other was left alone"
    );

    fleet.cloud.process().kill()?;
    let options = fleet.options.clone();
    fleet.agent.kill_and_restart(&options).await?;
    ensure!(judged(&fleet, "rows", &mut results).await?, "an anomaly");

    fleet.cloud.start_again().await?;
    fleet.cloud.fleetctl(&["delete", "pipeline", "rows"])?;
    until("the end of the pipeline", DEADLINE, async || {
        let gone = push(&fleet, "rows").await? == 404 && on_node(&fleet, "rows")?.is_none();
        Ok(gone.then_some(()))
    })
    .await?;
    ensure!(!judged(&fleet, "other", &mut results).await?, "it runs on");
    let left = fleet.cloud.fleetctl(&["get", "pipelines", "-o", "name"])?;
    assert_eq!(left.trim(), "Pipeline/other");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_cannot_be_meant_or_reaches_for_the_agents_files_is_refused_in_words()
-> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.connected(DEADLINE).await?;
    let file = fleet.directory().join("gate.yaml");
    let camera = |spec: &str| {
        let text = format!(
            "apiVersion: millwright/v1\nkind: Pipeline\nmetadata: {{name: gate}}\n\
             spec: {{model: faces, source: {{camera: {{{spec}}}}}}}\n"
        );
        std::fs::write(&file, text)
    };
    let path = file.display().to_string();
    for wrong in ["url: 'rtsp://10.0.0.7/1'", "ulr: 'http://10.0.0.7/'"] {
        camera(wrong)?;
        let check = Command::new(program("edge-agent")?)
            .args(["pipeline", "check", &path])
            .output()?;
        let apply = fleet.cloud.fleetctl_output(&["apply", "-f", &path])?;
        ensure!(!check.status.success() && !apply.status.success());
        let words = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let begin = text.find(&path).unwrap_or_default();
            text[begin..].trim().to_owned()
        };
        assert_eq!(words(&check.stderr), words(&apply.stderr));
        ensure!(words(&apply.stderr).len() > path.len() + 20, "it says what");
    }

    camera("url: 'http://127.0.0.1:1/', username: u, passwordFile: /etc/shadow")?;
    fleet.cloud.fleetctl(&["apply", "-f", &path])?;
    let told = await_state(&fleet, "gate", PipelineState::Refused).await?;
    assert_eq!(told.reason, "SecretOutside");
    ensure!(
        told.message
            .contains("spec.source.camera.passwordFile names `/etc/shadow`"),
        "{}",
        told.message
    );
    let listed = until("the pipeline's own status", DEADLINE, async || {
        let table = fleet.cloud.fleetctl(&["get", "pipelines", "-o", "wide"])?;
        Ok(table
            .contains("1 of 1 nodes do not take it")
            .then_some(table))
    })
    .await?;
    ensure!(listed.contains("Node/press-1 Refused: SecretOutside"));
    let at_the_box = status(&fleet.agent.data_directory())?;
    assert_eq!(at_the_box["pipelines"][0]["state"], "refused");

    let secrets = fleet.agent.data_directory().join("secrets");
    std::fs::create_dir(&secrets)?;
    std::fs::write(secrets.join("gate"), "secret\n")?;
    camera("url: 'http://127.0.0.1:1/', username: u, passwordFile: gate")?;
    fleet.cloud.fleetctl(&["apply", "-f", &path])?;
    let told = await_state(&fleet, "gate", PipelineState::SourceUnreachable).await?;
    ensure!(told.message.contains("127.0.0.1:1"), "{}", told.message);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_any_input_comes_it_is_said_that_none_would_be_answered() -> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.connected(DEADLINE).await?;
    let gate = |spec: &str| {
        fleet.cloud.apply(&format!(
            "apiVersion: millwright/v1\nkind: Pipeline\nmetadata: {{name: gate}}\nspec: {{{spec}}}\n"
        ))
    };
    gate("model: faces, source: {push: {}}")?;
    let told = await_state(&fleet, "gate", PipelineState::WaitingForModel).await?;
    ensure!(told.message.contains("faces"), "{}", told.message);

    fleet.roll_out(Package::ShuttleAnomaly1)?;
    gate(
        "model: shuttle-anomaly, source: {push: {payload: image}}, preprocess: {image: {size: [64, 64]}}",
    )?;
    let told = await_state(&fleet, "gate", PipelineState::Unfit).await?;
    ensure!(told.message.contains("sensors"), "{}", told.message);
    Ok(())
}
