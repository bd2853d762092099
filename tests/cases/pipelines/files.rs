//! Files and requests as sources, a web server as a sink, and what `pipeline check` says of a file before it runs.

use std::process::Command;

use anyhow::{Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::operator::{at_the_box_ok, status};
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{DEADLINE, names, picture, state, with_pipeline};

/// A web server that takes results: refuses the first request, then takes all.
pub(super) async fn web_server() -> Result<(String, mpsc::Receiver<serde_json::Value>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/results", listener.local_addr()?);
    let (taken, results) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut answers = ["503 Busy"].into_iter().chain(std::iter::repeat("200 OK"));
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let body = loop {
                let mut chunk = [0; 4096];
                let Ok(read @ 1..) = stream.read(&mut chunk).await else {
                    break None;
                };
                request.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                });
                if Some(body.len()) == length {
                    break Some(body.to_owned());
                }
            };
            let answer = answers.next().unwrap_or("200 OK");
            let head =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let result = body.and_then(|body| serde_json::from_str(&body).ok());
            if let (true, Some(result)) = (answer.starts_with("200"), result) {
                let _ = taken.send(result).await;
            }
        }
    });
    Ok((url, results))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_answered_once_and_put_away_and_results_reach_a_web_server() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let watched = directory.path().join("watched");
    std::fs::create_dir(&watched)?;
    let (url, mut results) = web_server().await?;
    let pipeline = format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: pictures}}
spec:
  source: {{directory: {{path: {}, settleMs: 100}}}}
  preprocess: {{image: {{size: [512, 512]}}}}
  model: face-detector
  decode: {{centerface: {{score: 0.5}}}}
  sinks: [{{webhook: {{url: '{url}', retries: 4, timeoutMs: 60000}}}}]
",
        watched.display()
    );
    let options = with_pipeline(directory.path(), &pipeline)?;
    let package = Package::FaceDetector1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    std::fs::write(watched.join("a.jpg"), picture("astronaut.jpg")?)?;
    std::fs::write(watched.join("b.jpg"), "no picture")?;
    std::fs::write(watched.join(".c.jpg"), "still being copied")?;
    let mut told = Vec::new();
    for _ in 0..2 {
        let result = tokio::time::timeout(DEADLINE, results.recv()).await?;
        told.push(result.expect("the web server runs"));
    }
    told.sort_by_key(|result| result["id"].to_string());
    ensure!(
        told[0]["id"] == "a.jpg" && told[0]["detections"].as_array().map(Vec::len) == Some(1),
        "{told:?}"
    );
    ensure!(
        told[1]["id"] == "b.jpg" && told[1]["error"]["class"] == "message",
        "{told:?}"
    );
    until("files put away", DEADLINE, async || {
        let put_away = names(&watched.join("done")) == ["a.jpg"]
            && names(&watched.join("failed")) == ["b.jpg"];
        Ok(put_away.then_some(()))
    })
    .await?;
    assert_eq!(names(&watched), [".c.jpg", "done", "failed"]);

    // Whoever tries a package without a fleet sees how it is doing, too, and nothing about a fleet.
    let told = status(trial.data_directory())?;
    let pipeline = &told["pipelines"][0];
    ensure!(
        pipeline["state"] == "running" && pipeline["answered"] == 1 && pipeline["failed"] == 1,
        "{told}"
    );
    ensure!(told["models"][0]["active"] == "1.0.0", "{told}");
    ensure!(
        told["link"].is_null() && told["certificate"].is_null() && told["advice"] == json!([]),
        "{told}"
    );
    let text = at_the_box_ok(trial.data_directory(), &["status"])?;
    ensure!(text.contains("this agent works alone"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_inputs_and_a_broker_that_is_away_stops_only_its_own_pipeline() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (url, mut results) = web_server().await?;
    let fields: Vec<String> = (1..=9).map(|at| format!("f{at}: v.{}", at - 1)).collect();
    let both = format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: rows}}
spec:
  source: {{push: {{payload: {{json: {{fields: {{{}}}}}}}}}}}
  model: shuttle-anomaly
  decode: {{anomaly: {{output: scores, threshold: 0, direction: below}}}}
  sinks: [{{webhook: {{url: '{url}', retries: 4, timeoutMs: 60000}}}}]
---
apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: away}}
spec:
  source: {{mqtt: {{broker: 'mqtt://127.0.0.1:1', topics: [{{topic: a}}]}}}}
  model: shuttle-anomaly
",
        fields.join(", ")
    );
    let options = with_pipeline(directory.path(), &both)?;
    let package = Package::ShuttleAnomaly1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let client = trial.client()?;
    let post = |name: &str, body: &'static str| {
        let url = format!("http://{}/pipelines/{name}/push", trial.http());
        async move {
            anyhow::Ok(
                reqwest::Client::new()
                    .post(url)
                    .body(body)
                    .send()
                    .await?
                    .status()
                    .as_u16(),
            )
        }
    };
    assert_eq!(
        post("rows", "{\"v\": [39, 1, 93, 8, 34, 2, 55, 60, 6]}").await?,
        202
    );
    let result = tokio::time::timeout(DEADLINE, results.recv()).await?;
    let result = result.expect("the web server runs");
    ensure!(
        result["anomaly"] == false && result["pipeline"] == "rows",
        "{result}"
    );
    assert_eq!(post("away", "{}").await?, 404);
    until("news of the broker", DEADLINE, async || {
        let told = state(&client, "away").await?["state"].to_string();
        Ok(told.contains("mqtt://127.0.0.1:1 is away").then_some(()))
    })
    .await
}

#[test]
fn a_file_is_checked_before_it_runs() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("gate.yaml");
    let check = |text: &str| -> Result<(bool, String)> {
        std::fs::write(&file, text)?;
        let output = Command::new(program("edge-agent")?)
            .args(["pipeline", "check"])
            .arg(&file)
            .arg("--model")
            .arg(Package::FaceDetector1.source()?)
            .output()?;
        let told = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&told).into_owned(),
        ))
    };
    let right = "apiVersion: millwright/v1
kind: Pipeline
metadata: {name: gate}
spec:
  source: {camera: {url: 'http://10.0.0.7/video.mjpg'}}
  preprocess: {image: {size: [640, 480]}}
  model: face-detector
  decode: {centerface: {score: 0.5}}
";
    let (fine, told) = check(right)?;
    ensure!(
        fine && told.contains("gate is right") && told.contains("It fits face-detector@1.0.0"),
        "{told}"
    );
    for (from, to, words) in [
        ("http://10.0.0.7/video.mjpg", "rtsp://10.0.0.7/1", "MJPEG"),
        ("preprocess", "preproces", "did you mean `preprocess`?"),
        (
            "size: [640, 480]",
            "size: [640, 480], datatype: uint8",
            "datatype: fp32",
        ),
        (
            "model: face-detector",
            "model: other",
            "is for model `other`",
        ),
    ] {
        let (fine, told) = check(&right.replace(from, to))?;
        ensure!(!fine && told.contains(words), "{words}: {told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_cannot_be_meant_keeps_the_agent_from_starting() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("wrong.yaml");
    std::fs::write(
        &file,
        "apiVersion: millwright/v1\nkind: Pipeline\nmetadata: {name: a}\nspec: {model: m}\n",
    )?;
    let output = Command::new(program("edge-agent")?)
        .args(["run", "--http", "127.0.0.1:0", "--model"])
        .arg(Package::ShuttleAnomaly1.source()?)
        .arg("--pipeline")
        .arg(&file)
        .arg("--onnxruntime")
        .arg(AgentOptions::quick()?.onnxruntime)
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && told.contains("key `source` is missing in spec"),
        "{told}"
    );
    Ok(())
}
