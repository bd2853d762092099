//! A node on its own: no uplink, crashing models, a full disk, a person at the box. It serves on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleet_api::{ConditionStatus, Node, Resource, SlotState};
use millwright_tests::agent::{Agent, AgentOptions};
use millwright_tests::cloud::Cloud;
use millwright_tests::disk::{SmallDisk, where_one_may_mount};
use millwright_tests::fleet::{COUNTED_DEADLINE, Fleet, check_contiguous, sensor_rows};
use millwright_tests::infer::InferClient;
use millwright_tests::operator::{at_the_box, at_the_box_ok, status, workers};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

const MODEL: &str = "shuttle-anomaly";

/// What waits for the agent or the cloud: a debug build on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// More crashes than a version survives within minutes; the agent's own number is smaller.
const KILLS_MAX: usize = 10;

/// The version that answers one request.
async fn answers(client: &InferClient) -> Result<String> {
    let rows = sensor_rows(1)?;
    Ok(client
        .infer(MODEL, std::slice::from_ref(&rows))
        .await?
        .version)
}

async fn until_answers(client: &InferClient, version: &str) -> Result<()> {
    until(&format!("answer of {version}"), DEADLINE, async || {
        Ok((answers(client).await? == version).then_some(()))
    })
    .await
}

async fn until_ready(agent: &Agent) -> Result<()> {
    let client = InferClient::new(agent.http())?;
    until("readiness", DEADLINE, async || {
        Ok((client.get("/health").await?.0 == 200).then_some(()))
    })
    .await
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    Ok(std::fs::write(path, bytes)?)
}

fn condition(node: &Resource<Node>, kind: &str) -> Option<String> {
    let mut conditions = node.status.conditions.iter();
    let found = conditions
        .find(|told| told.kind == kind && matches!(told.status, ConditionStatus::True))?;
    Some(found.message.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_uplink_serves_its_last_desired_state_whatever_copy_of_it_is_left()
-> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    fleet.roll_out(Package::FaceDetector1)?;
    fleet.cloud.process().kill()?;
    let data = fleet.agent.data_directory();

    let begin = Instant::now();
    fleet.agent.kill_and_restart(&fleet.options).await?;
    until_ready(&fleet.agent).await?;
    println!("both models ready {:?} after the start", begin.elapsed());
    ensure!(answers(&fleet.client()?).await? == "1.0.0");

    fleet.agent.process().kill()?;
    damage(&data.join("desired.a"))?;
    fleet.agent.start_again(&fleet.options).await?;
    until_ready(&fleet.agent).await?;
    ensure!(fleet.agent.process().log_text()?.contains("DesiredDamaged"));
    ensure!(status(&data)?["desired"]["generation"] != 0);

    fleet.agent.process().kill()?;
    damage(&data.join("desired.a"))?;
    damage(&data.join("desired.b"))?;
    fleet.agent.start_again(&fleet.options).await?;
    until_answers(&fleet.client()?, "1.0.0").await?;
    let told = status(&data)?;
    ensure!(told["desired"]["generation"] == 0, "{told}");
    ensure!(
        told["advice"].to_string().contains("No desired state"),
        "{told}"
    );

    fleet.cloud.start_again().await?;
    until("the desired state from the cloud", DEADLINE, async || {
        Ok((status(&data)?["desired"]["generation"] != 0).then_some(()))
    })
    .await?;
    until_answers(&fleet.client()?, "1.0.0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_worker_keeps_dying_gives_way_to_the_one_before_it_without_any_cloud()
-> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    fleet.roll_out(Package::ShuttleAnomaly2)?;
    fleet.cloud.process().kill()?;
    let client = fleet.client()?;
    let kill_worker = async |agent: u32| -> Result<()> {
        // The version before it was warm for a second only.
        let worker = until("the only worker", DEADLINE, async || {
            let workers = workers(agent)?;
            Ok((workers.len() == 1).then(|| workers[0]))
        })
        .await?;
        let worker = Pid::from_raw(worker).context("process id 0")?;
        Ok(kill_process(worker, Signal::KILL)?)
    };
    let agent = fleet.agent.pid()?;
    until_answers(&client, "2.0.0").await?;
    kill_worker(agent).await?;
    until_answers(&client, "2.0.0")
        .await
        .context("one crash is a restart")?;

    let mut kills = 1;
    loop {
        let version = until("an answer", DEADLINE, async || {
            Ok(Some(answers(&client).await?))
        });
        if version.await? == "1.0.0" {
            break;
        }
        ensure!(
            kills < KILLS_MAX,
            "2.0.0 is still tried after {kills} kills"
        );
        kill_worker(agent).await?;
        kills += 1;
    }
    println!("1.0.0 took over after {kills} kills");
    let check = |data: &Path| -> Result<()> {
        let told = status(data)?;
        let model = &told["models"][0];
        ensure!(
            model["state"] == "failed" && model["reason"] == "WorkerCrashed",
            "{told}"
        );
        ensure!(
            model["active"] == "1.0.0" && model["wanted"] == "2.0.0",
            "{told}"
        );
        Ok(())
    };
    check(&fleet.agent.data_directory())?;

    fleet.agent.kill_and_restart(&fleet.options).await?;
    until_answers(&fleet.client()?, "1.0.0").await?;
    check(&fleet.agent.data_directory()).context("the verdict survives a restart")?;

    fleet.cloud.start_again().await?;
    until("the verdict in the cloud", DEADLINE, async || {
        let node = fleet.node()?;
        let model = node.status.models.first().context("no model")?;
        Ok((model.state == SlotState::Failed).then_some(()))
    })
    .await?;
    until("the event in the cloud", DEADLINE, async || {
        let events = fleet.cloud.fleetctl(&["events"])?;
        Ok(events.contains("RolledBack").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_node_keeps_its_version_until_it_is_released_and_the_cloud_sees_why() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let data = fleet.agent.data_directory();
    let told = at_the_box_ok(&data, &["hold", "--reason", "quality audit"])?;
    ensure!(told.contains("keeps the versions it runs"), "{told}");
    until("the hold in the cloud", DEADLINE, async || {
        Ok(condition(&fleet.node()?, "Held").filter(|why| why.contains("quality audit")))
    })
    .await?;

    fleet.cloud.publish(Package::ShuttleAnomaly2)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly2)?;
    until(
        "the rollout that waits for the held node",
        DEADLINE,
        async || {
            let rollout = fleet
                .cloud
                .fleetctl(&["describe", "rollout", "shuttle-anomaly-2"])?;
            Ok(rollout.contains("held at the node").then_some(()))
        },
    )
    .await?;
    until("the waiting generation", DEADLINE, async || {
        Ok((!status(&data)?["desired"]["waitingGeneration"].is_null()).then_some(()))
    })
    .await?;
    ensure!(answers(&fleet.client()?).await? == "1.0.0");

    fleet.agent.kill_and_restart(&fleet.options).await?;
    until_answers(&fleet.client()?, "1.0.0").await?;
    ensure!(status(&data)?["hold"]["reason"] == "quality audit");

    at_the_box_ok(&data, &["hold", "--release"])?;
    fleet.cloud.await_rollout(Package::ShuttleAnomaly2, "90s")?;
    until_answers(&fleet.client()?, "2.0.0").await?;
    until("the end of the hold in the cloud", DEADLINE, async || {
        Ok(condition(&fleet.node()?, "Held").is_none().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_the_person_at_the_box_how_it_is_and_what_to_do() -> Result<()> {
    let mut fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let data = fleet.agent.data_directory();
    fleet.connected(DEADLINE).await?;
    answers(&fleet.client()?).await?;
    let told = status(&data)?;
    ensure!(
        told["running"] == true && told["link"]["state"] == "connected",
        "{told}"
    );
    ensure!(
        told["node"]["name"] == Fleet::NODE && told["node"]["site"] == Fleet::SITE,
        "{told}"
    );
    let model = &told["models"][0];
    ensure!(
        model["active"] == "1.0.0" && model["requests"] == 1,
        "{told}"
    );
    ensure!(model["memoryBytes"].as_u64() > Some(1 << 20), "{told}");
    ensure!(
        told["certificate"]["notAfterMs"].as_u64() > told["nowMs"].as_u64(),
        "{told}"
    );
    ensure!(
        told["onnxruntime"]["found"] == true && told["storage"] == serde_json::json!([]),
        "{told}"
    );
    let text = at_the_box_ok(&data, &["status"])?;
    ensure!(
        text.contains("connected by") && text.contains("Nothing needs attention"),
        "{text}"
    );

    fleet.cloud.process().kill()?;
    until("the lost connection in the status", DEADLINE, async || {
        let told = status(&data)?;
        Ok((told["link"]["state"] == "connecting"
            && told["advice"]
                .to_string()
                .contains("no connection to the cloud"))
        .then_some(()))
    })
    .await?;
    until("a backlog", DEADLINE, async || {
        Ok((status(&data)?["backlog"]["records"].as_u64() > Some(1)).then_some(()))
    })
    .await?;

    fleet.agent.stop().await?;
    let output = at_the_box(&data, &["status"])?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(3), "{text}");
    ensure!(
        text.contains("does not run") && text.contains(MODEL),
        "{text}"
    );
    let output = at_the_box(Path::new("/nowhere"), &["status"])?;
    ensure!(output.status.code() == Some(1));
    Ok(())
}

/// A fleet whose agent lives on a disk of its own.
async fn on_a_small_disk() -> Result<(Fleet, SmallDisk)> {
    let directory = tempfile::tempdir()?;
    let disk = SmallDisk::mount(&directory.path().join(Fleet::NODE).join("agent"), 96)?;
    let cloud = Cloud::start(directory.path()).await?;
    let fleet = Fleet::join(cloud, directory, AgentOptions::quick()?).await?;
    fleet.roll_out(Package::ShuttleAnomaly1)?;
    Ok((fleet, disk))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_inference_is_told_and_needs_nobody_once_there_is_room() -> Result<()>
{
    let case =
        "autonomy::a_full_disk_stops_no_inference_is_told_and_needs_nobody_once_there_is_room";
    where_one_may_mount(case, full_disk).await
}

async fn full_disk() -> Result<()> {
    let (mut fleet, disk) = on_a_small_disk().await?;
    let data = fleet.agent.data_directory();
    let filler = disk.fill()?;
    until("the full disk in the status", DEADLINE, async || {
        Ok(status(&data)?["advice"]
            .to_string()
            .contains("Free space")
            .then_some(()))
    })
    .await?;
    ensure!(
        fleet
            .agent
            .process()
            .log_text()?
            .contains("cannot be stored")
    );
    until_answers(&fleet.client()?, "1.0.0").await?;

    // Also a start on the full disk.
    fleet.agent.process().kill()?;
    fleet
        .agent
        .start_where_nothing_can_be_written(&fleet.options)
        .await?;
    until_answers(&fleet.client()?, "1.0.0").await?;

    std::fs::remove_file(filler)?;
    until("all well again", DEADLINE, async || {
        let told = status(&data)?;
        Ok(
            (told["storage"] == serde_json::json!([]) && told["link"]["state"] == "connected")
                .then_some(()),
        )
    })
    .await?;
    let before = fleet.windows()?.len();
    until("windows in the cloud", COUNTED_DEADLINE, async || {
        let windows = fleet.windows()?;
        check_contiguous(&windows)?;
        Ok((windows.len() > before + 1).then_some(()))
    })
    .await?;
    ensure!(condition(&fleet.node()?, "StorageFailing").is_none());
    drop(disk);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_can_only_be_read_at_start_serves_and_stores_again_when_it_can() -> Result<()> {
    let case =
        "autonomy::a_disk_that_can_only_be_read_at_start_serves_and_stores_again_when_it_can";
    where_one_may_mount(case, disk_that_can_only_be_read).await
}

async fn disk_that_can_only_be_read() -> Result<()> {
    let (mut fleet, disk) = on_a_small_disk().await?;
    let data = fleet.agent.data_directory();
    fleet.agent.stop().await?;
    disk.remount("ro")?;
    // The harness cannot remove the old addresses either; the port stays the same.
    fleet
        .agent
        .start_where_nothing_can_be_written(&fleet.options)
        .await?;
    until_answers(&fleet.client()?, "1.0.0").await?;
    let told = status(&data)?;
    ensure!(
        told["storage"].to_string().contains("data directory"),
        "{told}"
    );
    let refused = at_the_box(&data, &["hold"])?;
    ensure!(
        !refused.status.success(),
        "a hold that is not stored is none"
    );

    disk.remount("rw")?;
    until("the connection", DEADLINE, async || {
        Ok((status(&data)?["link"]["state"] == "connected").then_some(()))
    })
    .await?;
    drop(disk);
    Ok(())
}
