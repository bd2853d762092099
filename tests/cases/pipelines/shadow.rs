//! A candidate beside the model that answers: it sees the same inputs, changes nothing, and where it says something else the
//! input is kept.

use anyhow::{Context, Result, ensure};
use millwright_tests::fleet::{Fleet, SENSORS, sensor_rows};
use millwright_tests::infer::{InferClient, Input};
use millwright_tests::operator::{at_the_box_ok, status};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use serde_json::{Value, json};

use super::{DEADLINE, with_pipeline};

/// Rows among which the two forests do not judge all alike.
const ROWS: usize = 500;

/// Rows of each kind that go through the pipeline.
const EACH: usize = 2;

const CANDIDATE: &str = "shuttle-candidate";

const PIPELINE: &str = "apiVersion: millwright/v1
kind: Pipeline
metadata: {name: line}
spec:
  source: {push: {payload: {csv: {columns: [a, b, c, d, e, f, g, h, i]}}}}
  model: shuttle-anomaly
  shadow: {model: shuttle-candidate, everyMs: 0}
  decode: {anomaly: {output: scores, threshold: 0, direction: below}}
  sinks: [{hardExamples: {}}]
";

/// Puts the retrained forest beside the first one, as a model of its own.
fn deploy_candidate(fleet: &Fleet) -> Result<()> {
    let package = Package::ShuttleAnomaly2.copy_to(&fleet.directory().join(CANDIDATE))?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    let text = text.replace("name: shuttle-anomaly", &format!("name: {CANDIDATE}"));
    std::fs::write(&manifest, text)?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.apply(&format!(
        "apiVersion: millwright/v1\nkind: ModelDeployment\nmetadata: {{name: {CANDIDATE}}}\n\
         spec: {{model: {CANDIDATE}, version: 2.0.0, strategy: {{proveForSeconds: 1}}}}\n"
    ))?;
    let words = ["rollout", "status", "--deployment", CANDIDATE];
    fleet
        .cloud
        .fleetctl(&[&words[..], &["--timeout", "60s"]].concat())?;
    Ok(())
}

/// What a model says of each row when it is asked itself.
async fn anomalies(client: &InferClient, model: &str, rows: &Input) -> Result<Vec<bool>> {
    let reply = client.infer(model, std::slice::from_ref(rows)).await?;
    let scores = reply.outputs["scores"].floats()?;
    Ok(scores.into_iter().map(|score| score < 0.0).collect())
}

fn facts(fleet: &Fleet) -> Result<Value> {
    Ok(status(&fleet.agent.data_directory())?["pipelines"][0].clone())
}

/// Sends one row and waits until the shadow has seen it, too.
async fn push(fleet: &Fleet, row: &[f32], compared: usize) -> Result<()> {
    let line: Vec<String> = row.iter().map(f32::to_string).collect();
    let url = format!("http://{}/pipelines/line/push", fleet.agent.http());
    let sent = reqwest::Client::new().post(url).body(line.join(",") + "\n");
    let answer = sent.send().await?;
    ensure!(answer.status() == 202, "{}", answer.status());
    until("an answer of the shadow", DEADLINE, async || {
        Ok((facts(fleet)?["compared"] == compared).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_on_which_the_shadow_disagrees_is_counted_and_kept() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let fleet = Fleet::start(with_pipeline(directory.path(), PIPELINE)?).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    deploy_candidate(&fleet)?;

    let rows = sensor_rows(ROWS)?;
    let client = fleet.client()?;
    let own = anomalies(&client, "shuttle-anomaly", &rows).await?;
    let candidate = anomalies(&client, CANDIDATE, &rows).await?;
    let (alike, different): (Vec<usize>, Vec<usize>) =
        (0..ROWS).partition(|&row| own[row] == candidate[row]);
    let chosen = [&alike[..EACH], &different[..EACH]].concat();
    for (sent, &row) in chosen.iter().enumerate() {
        let values = rows
            .values
            .as_chunks::<SENSORS>()
            .0
            .get(row)
            .context("a row")?;
        push(&fleet, values, sent + 1).await?;
    }

    let kept = until("the kept rows", DEADLINE, async || {
        let facts = facts(&fleet)?;
        Ok((facts["kept"] == EACH).then_some(facts))
    })
    .await?;
    assert_eq!(kept["disagreed"], EACH);
    assert_eq!(kept["answered"], chosen.len());
    let data = fleet.agent.data_directory();
    let listed = at_the_box_ok(&data, &["hard-examples", "list", "-o", "json"])?;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    for (example, row) in listed.iter().zip(&different) {
        assert_eq!(example["reason"], "disagreement");
        assert_eq!(example["model"], "shuttle-anomaly@1.0.0");
        let result = &example["result"];
        assert_eq!(result["anomaly"], json!(own[*row]), "{example}");
        let shadow = &result["shadow"];
        assert_eq!(shadow["model"], CANDIDATE);
        assert_eq!(shadow["said"]["anomaly"], json!(candidate[*row]));
    }
    assert_eq!(listed.len(), EACH);
    Ok(())
}
