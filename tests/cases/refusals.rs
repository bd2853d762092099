//! Bad input: each is refused with what, where and how to mend it; what ran before goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, ensure};
use fleet_api::{NodeModelStatus, SlotState};
use millwright_tests::agent::AgentOptions;
use millwright_tests::cloud::Cloud;
use millwright_tests::fleet::{Fleet, sensor_rows};
use millwright_tests::infer::Input;
use millwright_tests::packages::Package;
use millwright_tests::program;
use millwright_tests::wait::until;

const MODEL: &str = "shuttle-anomaly";
const VERDICT_DEADLINE: Duration = Duration::from_secs(60);

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn check_says(output: &Output, words: &[&str]) {
    let said = said(output);
    assert!(!output.status.success(), "it went well: {said}");
    for word in words {
        assert!(said.contains(word), "it does not say `{word}`: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tensors_are_told_what_the_model_wants() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let client = fleet.client()?;
    let path = format!("/v2/models/{MODEL}/infer");
    let input = |name: &str, datatype: &str, shape: &str, data: &str| {
        format!(
            r#"{{"inputs":[{{"name":"{name}","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}"#
        )
    };
    let nine = "[1,2,3,4,5,6,7,8,9]";
    for (body, status, words) in [
        (
            input("sensors", "FP32", "[1,8]", "[1,2,3,4,5,6,7,8]"),
            400,
            vec!["sensors", "9", "8"],
        ),
        (input("sensors", "FP32", "[9]", nine), 400, vec!["sensors"]),
        (
            input("sensors", "INT64", "[1,9]", nine),
            400,
            vec!["sensors", "INT64", "FP32"],
        ),
        (
            input("sensors", "FP32", "[1,9]", "[1,2,3]"),
            400,
            vec!["sensors", "36", "12"],
        ),
        (
            input("pressure", "FP32", "[1,9]", nine),
            400,
            vec!["pressure", "sensors"],
        ),
        (
            input("sensors", "FP32", "[-1,9]", nine),
            400,
            vec!["sensors"],
        ),
        (
            input("sensors", "FP32", "[4294967296,4294967296]", nine),
            400,
            vec!["sensors"],
        ),
        ("{\"inputs\":[]}".to_owned(), 400, vec!["sensors"]),
        ("not json".to_owned(), 400, vec![]),
    ] {
        let (got, text) = client.post(&path, body.clone()).await?;
        assert_eq!(got, status, "{body}: {text}");
        let error: serde_json::Value = serde_json::from_str(&text)?;
        let error = error["error"].as_str().unwrap_or_default();
        assert!(
            !error.is_empty() && words.iter().all(|word| error.contains(word)),
            "{body}: {error}"
        );
    }
    let (status, text) = client
        .post("/v2/models/nobody/infer", "{}".to_owned())
        .await?;
    assert_eq!(status, 404, "{text}");
    let short = Input {
        name: "sensors".to_owned(),
        shape: vec![1, 9],
        values: vec![0.0; 4],
    };
    ensure!(
        client.infer(MODEL, &[short]).await.is_err(),
        "four values passed as nine"
    );
    client.infer(MODEL, &[sensor_rows(1)?]).await?;
    Ok(())
}

/// Publishes a package that was broken with `breaking` and waits for what the node says of it.
async fn verdict(
    fleet: &Fleet,
    breaking: impl FnOnce(&Path) -> Result<()>,
) -> Result<NodeModelStatus> {
    let package = Package::ShuttleAnomaly2.copy_to(&fleet.directory().join("broken"))?;
    breaking(&package)?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly2)?;
    until("verdict of the node", VERDICT_DEADLINE, async || {
        let models = fleet.node()?.status.models;
        Ok(models
            .into_iter()
            .find(|slot| slot.version == "2.0.0" && slot.state == SlotState::Failed))
    })
    .await
}

async fn check_still_serving(fleet: &Fleet, slot: &NodeModelStatus) -> Result<()> {
    assert_eq!(slot.active_version.as_deref(), Some("1.0.0"));
    assert_eq!(
        fleet
            .client()?
            .infer(MODEL, &[sensor_rows(1)?])
            .await?
            .version,
        "1.0.0"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_model_is_refused_and_the_old_one_serves() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let slot = verdict(&fleet, |package| {
        // Its outermost frame stays whole, so that only the runtime on the node can tell.
        let model = package.join("model.onnx");
        let mut bytes = std::fs::read(&model)?;
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4_096].fill(0xff);
        Ok(std::fs::write(&model, bytes)?)
    })
    .await?;
    assert_eq!(slot.reason, "ModelInvalid", "{}", slot.message);
    check_still_serving(&fleet, &slot).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_onnx_file_is_not_even_packed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let package = Package::ShuttleAnomaly1.copy_to(directory.path())?;
    let model = package.join("model.onnx");
    let whole = std::fs::read(&model)?;
    let key = cloud.signing_key()?.display().to_string();
    for broken in [
        &whole[..whole.len() / 2],
        b"<html>404 Not Found</html>",
        b"",
    ] {
        std::fs::write(&model, broken)?;
        let output = cloud.fleetctl_output(&[
            "model",
            "pack",
            &package.display().to_string(),
            "--key",
            &key,
        ])?;
        check_says(&output, &["model.onnx"]);
        assert!(
            !package.join("model.sig").exists(),
            "it was signed all the same"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_other_inputs_than_its_manifest_is_refused() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let slot = verdict(&fleet, |package| {
        let manifest = package.join("model.yaml");
        let text = std::fs::read_to_string(&manifest)?.replace("[-1, 9]", "[-1, 7]");
        std::fs::write(&manifest, text)?;
        std::fs::remove_dir_all(package.join("golden"))?;
        let text = std::fs::read_to_string(&manifest)?;
        let kept = text.lines().filter(|line| !line.contains("golden"));
        Ok(std::fs::write(
            &manifest,
            kept.collect::<Vec<_>>().join("\n") + "\n",
        )?)
    })
    .await?;
    assert_eq!(slot.reason, "ModelInvalid", "{}", slot.message);
    assert!(slot.message.contains("sensors"), "{}", slot.message);
    check_still_serving(&fleet, &slot).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_signed_by_a_stranger_is_refused_on_the_node() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let package = Package::ShuttleAnomaly2.copy_to(&fleet.directory().join("strange"))?;
    let key = fleet.directory().join("stranger.key").display().to_string();
    let directory = package.display().to_string();
    fleet.cloud.fleetctl(&["model", "keygen", "--out", &key])?;
    fleet
        .cloud
        .fleetctl(&["model", "pack", &directory, "--key", &key])?;
    fleet.cloud.fleetctl(&["model", "push", &directory])?;
    fleet.cloud.deploy(Package::ShuttleAnomaly2)?;
    let slot = until("verdict of the node", VERDICT_DEADLINE, async || {
        let models = fleet.node()?.status.models;
        Ok(models
            .into_iter()
            .find(|slot| slot.version == "2.0.0" && slot.state == SlotState::Failed))
    })
    .await?;
    assert_eq!(slot.reason, "SignatureUntrusted", "{}", slot.message);
    check_still_serving(&fleet, &slot).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_onnxruntime_the_agent_runs_and_says_so() -> Result<()> {
    let options = AgentOptions {
        onnxruntime: PathBuf::from("/nowhere/libonnxruntime.so"),
        ..AgentOptions::quick()?
    };
    let fleet = Fleet::start(options).await?;
    fleet.cloud.publish(Package::ShuttleAnomaly1)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly1)?;
    until(
        "reason and path in the node's report",
        VERDICT_DEADLINE,
        async || {
            let models = fleet.node()?.status.models;
            let says = |message: &str| message.contains("/nowhere/libonnxruntime.so");
            let told = models
                .iter()
                .any(|slot| slot.reason == "RuntimeMissing" && says(&slot.message));
            Ok(told.then_some(()))
        },
    )
    .await?;
    let client = fleet.client()?;
    assert_eq!(client.get("/v2/health/live").await?.0, 200);
    assert_eq!(client.get("/health").await?.0, 503);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_answered_with_the_nearest_known_one() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cloud = Cloud::start(directory.path()).await?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };

    let document = file(
        "deployment.yaml",
        "apiVersion: millwright/v1\nkind: ModelDeployment\nmetadata: {name: d}\nspec: {modle: m, version: 1.0.0}\n",
    )?;
    check_says(
        &cloud.fleetctl_output(&["apply", "-f", &document])?,
        &["modle", "model", "deployment.yaml"],
    );

    let config = file(
        "edge-agent.yaml",
        "dataDir: /tmp/never\nsumaryWindowSeconds: 5\n",
    )?;
    let agent = Command::new(program("edge-agent")?)
        .args(["run", "--config", &config])
        .output()?;
    check_says(
        &agent,
        &[
            "sumaryWindowSeconds",
            "summaryWindowSeconds",
            "edge-agent.yaml",
        ],
    );

    let package = Package::ShuttleAnomaly1.copy_to(directory.path())?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?.replace("license:", "licence:");
    std::fs::write(&manifest, text)?;
    let key = cloud.signing_key()?.display().to_string();
    let pack = cloud.fleetctl_output(&[
        "model",
        "pack",
        &package.display().to_string(),
        "--key",
        &key,
    ])?;
    check_says(&pack, &["licence", "license", "model.yaml"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_ports_and_unusable_directories_are_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.to_string();
    // Root may write anywhere, so "not writable" is a path below a file.
    let file = directory.path().join("file");
    std::fs::write(&file, "")?;
    let data = directory.path().join("data").display().to_string();
    let below_file = file.join("data").display().to_string();

    let cloudcore = |arguments: &[&str]| {
        Command::new(program("cloudcore")?)
            .args([
                "serve",
                "--websocket-address",
                "127.0.0.1:0",
                "--quic-address",
                "127.0.0.1:0",
            ])
            .args(["--metrics-address", "127.0.0.1:0"])
            .args(arguments)
            .output()
            .map_err(anyhow::Error::from)
    };
    let output = cloudcore(&["--api-address", &port, "--data-dir", &data])?;
    check_says(&output, &[&port, "--api-address"]);
    let output = cloudcore(&["--api-address", "127.0.0.1:0", "--data-dir", &below_file])?;
    check_says(&output, &[&below_file, "--data-dir"]);

    let package = Package::ShuttleAnomaly1.source()?.display().to_string();
    let agent = |arguments: &[&str]| {
        Command::new(program("edge-agent")?)
            .args(["run", "--model", &package])
            .args(arguments)
            .output()
            .map_err(anyhow::Error::from)
    };
    check_says(
        &agent(&["--http", &port, "--data-dir", &data])?,
        &[&port, "--http"],
    );
    check_says(
        &agent(&["--http", "127.0.0.1:0", "--data-dir", &below_file])?,
        &[&below_file, "--data-dir"],
    );
    Ok(())
}
