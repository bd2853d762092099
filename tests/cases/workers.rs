//! A worker that crashes, stands still or grows, on a running node: the line goes on and an event says why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::{Fleet, SENSORS, sensor_rows};
use millwright_tests::infer::{InferClient, Input, Load};
use millwright_tests::operator::{status, workers};
use millwright_tests::packages::Package;
use millwright_tests::wait::until;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

const MODEL: &str = "shuttle-anomaly";

/// What waits for the agent or the cloud: a debug build on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Rows of one request of the load.
const ROWS: usize = 4;

/// Rows of a request that makes a worker grow, and how many times as many the next one has.
const ROWS_GROWING: usize = 20_000;

/// So many rows, the same ones again and again.
fn many_rows(count: usize) -> Result<Input> {
    let some = sensor_rows(ROWS)?;
    let values = some.values.into_iter().cycle().take(count * SENSORS);
    Ok(Input {
        name: some.name,
        shape: vec![count, SENSORS],
        values: values.collect(),
    })
}

fn the_only_worker(fleet: &Fleet) -> Result<Option<Pid>> {
    let workers = workers(fleet.agent.pid()?)?;
    Ok(match workers.as_slice() {
        [worker] => Pid::from_raw(*worker),
        _ => None,
    })
}

async fn until_event(fleet: &Fleet, words: &[&str]) -> Result<()> {
    until("the event in the cloud", DEADLINE, async || {
        let events = fleet.cloud.fleetctl(&["events"])?;
        Ok(words.iter().all(|word| events.contains(word)).then_some(()))
    })
    .await
    .with_context(|| format!("no event says {words:?}"))
}

async fn until_answers(client: &InferClient) -> Result<()> {
    let rows = sensor_rows(1)?;
    until("an answer", DEADLINE, async || {
        let answer = client.infer(MODEL, std::slice::from_ref(&rows)).await;
        Ok(answer.ok().map(|_| ()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_and_a_standstill_are_noticed_named_and_mended() -> Result<()> {
    let fleet = Fleet::with_model(AgentOptions::quick()?).await?;
    let client = fleet.client()?;
    for (signal, words) in [
        (
            Signal::SEGV,
            [
                "WorkerCrashed",
                "signal 11: it crashed (invalid memory access)",
            ],
        ),
        (Signal::STOP, ["WorkerCrashed", "it was stopped (SIGSTOP)"]),
    ] {
        let worker = until("the only worker", DEADLINE, async || {
            the_only_worker(&fleet)
        })
        .await?;
        let load = Load::start(
            &client,
            MODEL,
            &[sensor_rows(ROWS)?],
            2,
            Duration::from_millis(2),
        );
        load.until_another_answer(DEADLINE).await?;
        until("another worker", DEADLINE, async || {
            let workers = workers(fleet.agent.pid()?)?;
            if workers.contains(&worker.as_raw_nonzero().get()) {
                // Rust's handler lets the first SIGSEGV pass, expecting the fault to come again: so it does here.
                match kill_process(worker, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(the_only_worker(&fleet)?.filter(|other| *other != worker))
        })
        .await?;
        load.until_another_answer(DEADLINE)
            .await
            .with_context(|| format!("the line stopped at {signal:?}"))?;
        load.stop().await?;
        until_event(&fleet, &words).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_grows_is_replaced_while_it_answers() -> Result<()> {
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    let package = Package::ShuttleAnomaly1.copy_to(&fleet.directory().join("small"))?;
    let manifest = package.join("model.yaml");
    let text = std::fs::read_to_string(&manifest)?;
    ensure!(text.contains("memoryMib: 256"), "{text}");
    std::fs::write(&manifest, text.replace("memoryMib: 256", "memoryMib: 96"))?;
    fleet.cloud.publish_directory(&package)?;
    fleet.cloud.deploy(Package::ShuttleAnomaly1)?;
    let client = fleet.client()?;
    until_answers(&client).await?;

    let first = until("the only worker", DEADLINE, async || {
        the_only_worker(&fleet)
    })
    .await?;
    let mut rows = ROWS_GROWING;
    until("another worker", DEADLINE, async || {
        let answer = client.infer(MODEL, &[many_rows(rows)?]).await;
        answer.with_context(|| format!("{rows} rows were not answered"))?;
        let replaced = the_only_worker(&fleet)?.is_none_or(|other| other != first);
        rows = rows.saturating_mul(5) / 4;
        Ok(replaced.then_some(()))
    })
    .await?;
    until_event(&fleet, &["WorkerReplaced", "of the 96 MiB it may use"]).await?;
    until_answers(&client).await?;
    let told = status(&fleet.agent.data_directory())?;
    ensure!(told["models"][0]["provider"] == "cpu", "{told}");
    ensure!(
        told.get("sandbox").is_none(),
        "this kernel confines workers: {told}"
    );
    Ok(())
}
