//! A network camera: faces where they are, also after the stream broke, and never an uncovered picture on the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::Trial;
use millwright_tests::broker::Broker;
use millwright_tests::camera::MjpegCamera;
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use tokio::sync::mpsc;

use super::{DEADLINE, picture, state, with_pipeline};

/// Where the middle of the astronaut's face is, and how far off that of a box may be, as in
/// `tests/data/pictures/expected.json`.
const FACE: (f64, f64, f64) = (226.0, 118.0, 8.0);

fn pipeline(source: &str, broker: &Broker) -> String {
    format!(
        "apiVersion: millwright/v1
kind: Pipeline
metadata: {{name: gate}}
spec:
  source: {{camera: {source}}}
  preprocess: {{image: {{size: [512, 512]}}}}
  model: face-detector
  decode: {{centerface: {{score: 0.5}}}}
  sinks:
    - mqtt: {{broker: 'mqtt://{}', topic: gate/faces, pictureTopic: gate/picture}}
    - hardExamples: {{confidenceBelow: 1.0, perMinute: 3}}
  mask: [{{x: 0, y: 0.5, width: 1, height: 0.5}}]
",
        broker.address()
    )
}

fn login(directory: &Path) -> Result<String> {
    let file = directory.join("camera-password");
    std::fs::write(&file, format!("{}\n", MjpegCamera::LOGIN.1))?;
    Ok(format!(
        "username: {}, passwordFile: {}",
        MjpegCamera::LOGIN.0,
        file.display()
    ))
}

/// What is published below `gate/`.
async fn listen(broker: &Broker) -> Result<mpsc::Receiver<rumqttc::Publish>> {
    let mut options = MqttOptions::new("gate", "127.0.0.1", broker.address().port());
    options.set_keep_alive(Duration::from_secs(10));
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 16);
    client.subscribe("gate/#", QoS::AtMostOnce).await?;
    let (found, messages) = mpsc::channel(64);
    tokio::spawn(async move {
        let _client = client;
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Incoming::Publish(message)) = event
                && found.send(message).await.is_err()
            {
                return;
            }
        }
    });
    Ok(messages)
}

/// The next result whose number of faces is `count`, with the picture that came with it.
async fn faces(
    messages: &mut mpsc::Receiver<rumqttc::Publish>,
    count: usize,
) -> Result<(serde_json::Value, Vec<u8>)> {
    let look = async {
        let mut result = None;
        while let Some(message) = messages.recv().await {
            if message.topic == "gate/picture" {
                if let Some(result) = result.take() {
                    return anyhow::Ok((result, message.payload.to_vec()));
                }
                continue;
            }
            let told: serde_json::Value = serde_json::from_slice(&message.payload)?;
            ensure!(told["error"].is_null(), "{told}");
            let found = told["detections"].as_array().map_or(0, Vec::len);
            result = (found == count).then_some(told);
        }
        anyhow::bail!("the broker went away")
    };
    tokio::time::timeout(DEADLINE, look)
        .await
        .with_context(|| format!("no picture with {count} faces"))?
}

fn check_face(result: &serde_json::Value) -> Result<()> {
    let face = &result["detections"][0];
    let number = |key: &str| {
        face[key]
            .as_f64()
            .with_context(|| format!("no {key}: {result}"))
    };
    let middle = (
        number("x")? + number("width")? / 2.0,
        number("y")? + number("height")? / 2.0,
    );
    let (x, y, tolerance) = FACE;
    ensure!(
        (middle.0 - x).abs() <= tolerance && (middle.1 - y).abs() <= tolerance,
        "a face at {middle:?} instead of {FACE:?}: {result}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_shows_faces_where_they_are_and_again_after_its_stream_broke() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path()).await?;
    let camera =
        MjpegCamera::start(vec![picture("astronaut.jpg")?, picture("coffee.jpg")?]).await?;
    let source = format!(
        "{{url: '{}', {}}}",
        camera.stream(),
        login(directory.path())?
    );
    let options = with_pipeline(directory.path(), &pipeline(&source, &broker))?;
    let mut messages = listen(&broker).await?;
    let package = Package::FaceDetector1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let (result, jpeg) = faces(&mut messages, 1).await?;
    check_face(&result)?;
    ensure!(jpeg.starts_with(&[0xff, 0xd8]), "the picture is no JPEG");
    camera.look_at(1);
    faces(&mut messages, 0).await?;
    camera.look_at(0);
    let before = camera.opened();
    camera.cut();
    until("stream opened again", DEADLINE, async || {
        Ok((camera.opened() > before).then_some(()))
    })
    .await?;
    check_face(&faces(&mut messages, 1).await?.0)?;
    let client = trial.client()?;
    // The page's numbers are made anew twice a second.
    until("the page says so", DEADLINE, async || {
        let told = state(&client, "gate").await?;
        let well = told["state"] == "running" && told["hasPicture"] == true;
        Ok(well.then_some(()))
    })
    .await?;
    kept_examples_are_covered(directory.path(), trial.data_directory()).await
}

/// The lower half is masked, and black in what was kept.
async fn kept_examples_are_covered(directory: &Path, data: &Path) -> Result<()> {
    let listed = until("kept example", DEADLINE, async || {
        let output = Command::new(program("edge-agent")?)
            .args(["hard-examples", "--data-dir"])
            .arg(data)
            .args(["list", "-o", "json"])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        let listed: Vec<BTreeMap<String, serde_json::Value>> =
            serde_json::from_slice(&output.stdout)?;
        Ok((!listed.is_empty()).then_some(listed))
    })
    .await?;
    ensure!(
        listed.len() <= 3,
        "more than asked for in a minute: {listed:?}"
    );
    ensure!(listed[0]["reason"] == "lowConfidence", "{listed:?}");
    let export = directory.join("export");
    let output = Command::new(program("edge-agent")?)
        .args(["hard-examples", "--data-dir"])
        .arg(data)
        .args(["export", "--to"])
        .arg(&export)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let id = listed[0]["id"].as_str().context("no id")?;
    let kept = image::open(export.join("gate").join(format!("{id}.jpg")))?.to_rgb8();
    let rows = kept.height();
    let brightest = |from: u32, to: u32| {
        let pixels = kept
            .enumerate_rows()
            .filter(|(row, _)| (from..to).contains(row));
        pixels
            .flat_map(|(_, row)| row.map(|(.., pixel)| pixel.0[1]))
            .max()
    };
    // JPEG blurs across the edge of the mask by a block.
    ensure!(
        brightest(rows / 2 + 16, rows) < Some(16),
        "the masked half is not covered"
    );
    ensure!(
        brightest(0, rows / 2) > Some(200),
        "the other half is covered, too"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_fetched_and_a_wrong_password_is_told_and_mended() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = Broker::start(directory.path()).await?;
    let camera = MjpegCamera::start(vec![picture("astronaut.jpg")?]).await?;
    let login = login(directory.path())?;
    let password = directory.path().join("camera-password");
    std::fs::write(&password, "wrong\n")?;
    let source = format!(
        "{{url: '{}', snapshotEveryMs: 200, {login}}}",
        camera.snapshot()
    );
    let options = with_pipeline(directory.path(), &pipeline(&source, &broker))?;
    let mut messages = listen(&broker).await?;
    let package = Package::FaceDetector1.source()?;
    let trial = Trial::start(directory.path(), &package, &options).await?;
    let client = trial.client()?;
    until("refusal of the camera", DEADLINE, async || {
        let told = state(&client, "gate").await?["state"].to_string();
        Ok(told.contains("HTTP 401").then_some(()))
    })
    .await?;
    std::fs::write(&password, "plant\n")?;
    check_face(&faces(&mut messages, 1).await?.0)
}
