//! A candidate beside the model that answers: it sees the same inputs, changes nothing, and where it says something else the
//! input is kept.

use anyhow::{Context, Result, ensure};
use millwright_tests::fleet::{Fleet, ROLLOUT_TIMEOUT, SENSORS, sensor_rows};
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

/// A pipeline that reads `output`, and shows the candidate one input per so many milliseconds.
fn pipeline(name: &str, every_ms: u32, output: &str) -> String {
    format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: {name}}}
spec:
  source: {{push: {{payload: {{csv: {{columns: [a, b, c, d, e, f, g, h, i]}}}}}}}}
  model: shuttle-anomaly
  shadow: {{model: {CANDIDATE}, everyMs: {every_ms}}}
  decode: {{anomaly: {{output: {output}, threshold: 0, direction: below}}}}
  sinks: [{{hardExamples: {{}}}}]
"
    )
}

/// Puts the retrained forest beside the first one, as a model of its own.
fn deploy_candidate(fleet: &Fleet) -> Result<()> {
    let package = Package::ShuttleAnomaly2.copy_to(&fleet.directory().join(CANDIDATE))?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    let text = text.replace("name: shuttle-anomaly", &format!("name: {CANDIDATE}"));
    std::fs::write(&manifest, text)?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.deploy_version(CANDIDATE, "2.0.0")?;
    fleet.cloud.await_rollout_of(CANDIDATE, ROLLOUT_TIMEOUT)?;
    Ok(())
}

/// What a model says of each row when it is asked itself.
async fn anomalies(client: &InferClient, model: &str, rows: &Input) -> Result<Vec<bool>> {
    let reply = client.infer(model, std::slice::from_ref(rows)).await?;
    let scores = reply.outputs["scores"].floats()?;
    Ok(scores.into_iter().map(|score| score < 0.0).collect())
}

/// What the node tells of a pipeline.
fn facts(fleet: &Fleet, name: &str) -> Result<Value> {
    let status = status(&fleet.agent.data_directory())?;
    let pipelines = status["pipelines"].as_array();
    let own = pipelines.and_then(|all| all.iter().find(|one| one["name"] == name));
    own.cloned()
        .with_context(|| format!("no pipeline {name} in {status}"))
}

/// Sends a row and waits until `count` is so many.
async fn push(fleet: &Fleet, name: &str, row: &[f32], count: (&str, usize)) -> Result<()> {
    let line: Vec<String> = row.iter().map(f32::to_string).collect();
    let url = format!("http://{}/pipelines/{name}/push", fleet.agent.http());
    let sent = reqwest::Client::new().post(url).body(line.join(",") + "\n");
    let answer = sent.send().await?;
    ensure!(answer.status() == 202, "{}", answer.status());
    until("the count of a row", DEADLINE, async || {
        Ok((facts(fleet, name)?[count.0] == count.1).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_on_which_the_shadow_disagrees_is_counted_and_kept() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut options = with_pipeline(directory.path(), &pipeline("line", 0, "scores"))?;
    for (name, every_ms, output) in [("seldom", 3_600_000, "scores"), ("mute", 0, "nothing")] {
        let file = directory.path().join(name);
        std::fs::write(&file, pipeline(name, every_ms, output))?;
        options.pipelines.push(file);
    }
    let fleet = Fleet::start(options).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    let client = fleet.client()?;
    let rows = sensor_rows(ROWS)?;
    let first = &rows.values.as_chunks::<SENSORS>().0[0];
    push(&fleet, "line", first, ("answered", 1)).await?;
    until("why nothing is compared", DEADLINE, async || {
        let told = at_the_box_ok(&fleet.agent.data_directory(), &["status"])?;
        let missed = format!("The shadow of pipeline line does not answer: model `{CANDIDATE}`");
        Ok(told.contains(&missed).then_some(()))
    })
    .await?;
    deploy_candidate(&fleet)?;

    let own = anomalies(&client, "shuttle-anomaly", &rows).await?;
    let candidate = anomalies(&client, CANDIDATE, &rows).await?;
    let (alike, different): (Vec<usize>, Vec<usize>) =
        (0..ROWS).partition(|&row| own[row] == candidate[row]);
    let rows = rows.values.as_chunks::<SENSORS>().0;
    push(&fleet, "seldom", &rows[0], ("compared", 1)).await?;
    push(&fleet, "seldom", &rows[1], ("answered", 2)).await?;
    push(&fleet, "mute", &rows[0], ("failed", 1)).await?;
    let chosen = [&alike[..EACH], &different[..EACH]].concat();
    for (sent, &row) in chosen.iter().enumerate() {
        push(&fleet, "line", &rows[row], ("compared", sent + 1)).await?;
    }

    let told = until("the kept rows", DEADLINE, async || {
        let told = facts(&fleet, "line")?;
        Ok((told["kept"] == EACH).then_some(told))
    })
    .await?;
    assert_eq!(told["disagreed"], EACH);
    assert_eq!(told["answered"], chosen.len() + 1);
    assert_eq!(told["shadowReason"], "");
    let words = at_the_box_ok(&fleet.agent.data_directory(), &["status"])?;
    let counts = format!(
        "The shadow of line saw {} inputs and disagreed on {EACH}.",
        chosen.len()
    );
    assert!(words.contains(&counts), "{words}");
    // Once an hour is once; and where nothing was said there is nothing to compare.
    assert_eq!(facts(&fleet, "seldom")?["compared"], 1);
    assert_eq!(facts(&fleet, "mute")?["compared"], 0);
    check_kept(&fleet, &different[..EACH], (&own, &candidate))
}

/// The kept rows say what each model said of them.
fn check_kept(fleet: &Fleet, rows: &[usize], (own, candidate): (&[bool], &[bool])) -> Result<()> {
    let data = fleet.agent.data_directory();
    let list = ["hard-examples", "list", "--pipeline", "line", "-o", "json"];
    let listed: Vec<Value> = serde_json::from_str(&at_the_box_ok(&data, &list)?)?;
    assert_eq!(listed.len(), rows.len());
    for (example, row) in listed.iter().zip(rows) {
        assert_eq!(example["reason"], "disagreement");
        assert_eq!(example["model"], "shuttle-anomaly@1.0.0");
        let result = &example["result"];
        assert_eq!(result["anomaly"], json!(own[*row]), "{example}");
        let shadow = &result["shadow"];
        assert_eq!(shadow["model"], CANDIDATE);
        assert_eq!(shadow["said"]["anomaly"], json!(candidate[*row]));
    }
    Ok(())
}
