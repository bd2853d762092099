//! Rows scaled by the profile of the model's package, with a real model that was trained on scaled values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::infer::{InferClient, Input};
use millwright_tests::operator::at_the_box_ok;
use millwright_tests::packages::{copy_tree, zoo};
use millwright_tests::program;
use millwright_tests::wait::until;
use serde_json::{Value, json};

use super::files::web_server;
use super::{DEADLINE, with_pipeline};

const FIELDS: usize = 6;

/// One of each quarter of a normal distribution, in deviations.
const QUARTERS: [f64; 4] = [-1.0, -0.3, 0.3, 1.0];

/// More than the verdict about a baseline of a thousand rows needs.
const ROWS: usize = 800;

/// The field that is off, by so many deviations.
const OFF: (usize, f64) = (2, 3.0);

/// What sensors say: each field has a range of its own.
fn mean(field: usize) -> f64 {
    100.0 * (field + 1) as f64
}

fn deviation(field: usize) -> f64 {
    10.0 * (field + 1) as f64
}

/// A row in deviations from the mean.
fn scaled(row: usize) -> [f64; FIELDS] {
    std::array::from_fn(|field| {
        let usual = QUARTERS[(row + field) % QUARTERS.len()];
        if field == OFF.0 { usual + OFF.1 } else { usual }
    })
}

/// The same as the sensors say it, a line of CSV.
fn line(row: usize) -> String {
    let values = scaled(row).into_iter().enumerate();
    let values = values.map(|(field, value)| (mean(field) + deviation(field) * value).to_string());
    values.collect::<Vec<_>>().join(",") + "\n"
}

/// The model with a profile of raw values.
fn package(directory: &Path) -> Result<PathBuf> {
    let package = directory.join("pump");
    copy_tree(&zoo("pump-numbers")?, &package)?;
    let manifest = package.join("model.yaml");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&manifest)?)?;
    text["spec"]["profile"] = json!("profile.json");
    std::fs::write(&manifest, text.to_string())?;
    let features = (0..FIELDS).map(|field| {
        let (mean, std) = (mean(field), deviation(field));
        let of = json!({
            "edges": [mean - 0.6745 * std, mean, mean + 0.6745 * std],
            "shares": [0.25, 0.25, 0.25, 0.25],
            "count": 1000, "min": mean - 4.0 * std, "max": mean + 4.0 * std, "mean": mean, "std": std,
        });
        json!({"name": format!("f{field}"), "of": of})
    });
    let features: Vec<Value> = features.collect();
    let profile =
        json!({"schema": 1, "model": "pump-numbers", "version": "1.0.0", "features": features});
    std::fs::write(package.join("profile.json"), profile.to_string())?;
    Ok(package)
}

fn pipeline(url: &str) -> String {
    format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: pump}}
spec:
  source: {{push: {{payload: {{csv: {{columns: [f0, f1, f2, f3, f4, f5]}}}}}}}}
  preprocess: {{sensors: {{scale: profile}}}}
  model: pump-numbers
  backPressure: {{policy: block, queue: {ROWS}}}
  sinks: [{{webhook: {{url: '{url}', retries: 4, timeoutMs: 60000}}}}, {{hardExamples: {{}}}}]
"
    )
}

async fn push(trial: &Trial, rows: impl Iterator<Item = usize>) -> Result<()> {
    let url = format!("http://{}/pipelines/pump/push", trial.http());
    let body: String = rows.map(line).collect();
    let answer = reqwest::Client::new().post(url).body(body).send().await?;
    ensure!(answer.status() == 202, "{}", answer.status());
    Ok(())
}

/// What the model says of a row that is scaled already.
async fn asked(client: &InferClient, row: usize) -> Result<Vec<f32>> {
    let input = Input {
        name: "sensors".to_owned(),
        shape: vec![1, FIELDS],
        values: scaled(row).map(|value| value as f32).to_vec(),
    };
    let reply = client.infer("pump-numbers", &[input]).await?;
    reply.outputs["output_probability"].floats()
}

/// The verdict about each field, from the page for Prometheus.
async fn verdicts(client: &InferClient) -> Result<BTreeMap<String, String>> {
    let (_, page) = client.get("/metrics/summary").await?;
    let lines = page.lines().filter_map(|line| {
        let line = line.strip_prefix("millwright_drift_verdict{")?;
        let (_, name) = line.split_once("distribution=\"")?;
        let (name, _) = name.split_once('"')?;
        Some((name.to_owned(), line.rsplit(' ').next()?.to_owned()))
    });
    Ok(lines.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_scaled_by_the_profile_for_the_model_and_judged_by_it_as_they_came() -> Result<()>
{
    let directory = tempfile::tempdir()?;
    let package = package(directory.path())?;
    let (url, mut results) = web_server().await?;
    let options = AgentOptions {
        flags: vec!["--summary-window", "1s"],
        ..with_pipeline(directory.path(), &pipeline(&url))?
    };
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let client = trial.client()?;
    push(&trial, 0..QUARTERS.len()).await?;
    for row in 0..QUARTERS.len() {
        let result = tokio::time::timeout(DEADLINE, results.recv()).await?;
        let result = result.context("the web server runs")?;
        let found = &result["outputs"]["output_probability"]["data"];
        let found: Vec<f32> = serde_json::from_value(found.clone())
            .with_context(|| format!("no probabilities in {result}"))?;
        let expected = asked(&client, row).await?;
        let close = found
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-4);
        ensure!(
            close && found.len() == 3,
            "row {row}: {found:?} {expected:?}"
        );
    }
    // The other results are of no interest.
    tokio::spawn(async move { while results.recv().await.is_some() {} });
    ensure!(kept(&trial)?.is_empty(), "nothing drifts yet");
    push(&trial, QUARTERS.len()..ROWS).await?;
    until("a verdict about every field", DEADLINE, async || {
        let told = verdicts(&client).await?;
        let judged = told.len() == FIELDS && told.values().all(|verdict| verdict != "0");
        Ok(judged.then_some(told))
    })
    .await
    .and_then(|told| {
        for (name, verdict) in &told {
            let off = *name == format!("f{}", OFF.0);
            ensure!(verdict == if off { "3" } else { "1" }, "{told:?}");
        }
        Ok(())
    })?;

    push(&trial, 0..1).await?;
    let kept = until("a kept row", DEADLINE, async || {
        let kept = kept(&trial)?;
        Ok((!kept.is_empty()).then_some(kept))
    })
    .await?;
    ensure!(kept.iter().all(|one| one["reason"] == "drift"), "{kept:?}");
    Ok(())
}

/// What `edge-agent hard-examples` lists.
fn kept(trial: &Trial) -> Result<Vec<Value>> {
    let listed = at_the_box_ok(
        trial.data_directory(),
        &["hard-examples", "list", "-o", "json"],
    )?;
    Ok(serde_json::from_str(&listed)?)
}

#[test]
fn a_pipeline_that_scales_by_a_profile_is_checked_against_that_of_the_package() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("pump.yaml");
    let right = pipeline("http://10.0.0.7/results");
    let check = |text: &str, package: &Path| -> Result<(bool, String)> {
        std::fs::write(&file, text)?;
        let output = Command::new(program("edge-agent")?)
            .args(["pipeline", "check"])
            .arg(&file)
            .arg("--model")
            .arg(package)
            .output()?;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        Ok((output.status.success(), told))
    };
    let package = package(directory.path())?;
    let (fine, told) = check(&right, &package)?;
    ensure!(
        fine && told.contains("It fits pump-numbers@1.0.0"),
        "{told}"
    );
    let swapped = right.replace("[f0, f1,", "[f1, f0,");
    for (text, package, words) in [
        (
            &right,
            &zoo("pump-numbers")?,
            "needs a profile with features",
        ),
        (&swapped, &package, "fields: [f0, f1, f2, f3, f4, f5]"),
    ] {
        let (fine, told) = check(text, package)?;
        ensure!(!fine && told.contains(words), "{words}: {told}");
    }
    Ok(())
}
