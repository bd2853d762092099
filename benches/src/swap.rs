//! P13: what requests notice of a model update: 200 requests a second, at fixed times and whatever became of the one
//! before, while a real cloud rolls the other version out to a real agent again and again. The model is a real one that
//! takes far less than the time between two requests: one that takes milliseconds shows when a small machine is full.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millwright_tests::agent::AgentOptions;
use millwright_tests::fleet::{Fleet, ROLLOUT_TIMEOUT};
use millwright_tests::infer::{InferClient, Input, quantile};
use millwright_tests::packages::{copy_tree, zoo};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::results::Results;

/// A small network over six numbers.
const MODEL: &str = "pump-numbers";

/// Two versions of it that differ in nothing else.
const VERSIONS: [&str; 2] = ["1.0.0", "1.0.1"];

/// Between two requests: 200 a second.
const PERIOD: Duration = Duration::from_millis(5);

/// How long the requests run before the first update: 4,000 of them, so that forty are beyond the 99th percentile.
const BEFORE: Duration = Duration::from_secs(20);

/// Requests on the way at once: two seconds of them, after which the generator stops rather than fill memory.
const ON_THE_WAY_MAX: usize = 400;

/// One request.
struct Sample {
    begun: Instant,
    /// `None` when it failed.
    latency_ms: Option<f64>,
}

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "swap",
        "P13: under 200 requests/s, 0 failed and 0 slower than twice the p99 before the update",
    );
    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    for version in VERSIONS {
        publish(&fleet, version)?;
    }
    roll_out(&fleet, VERSIONS[0])?;
    let client = fleet.client()?;
    let row = Input {
        name: "sensors".to_owned(),
        shape: vec![1, 6],
        values: vec![0.3, -0.2, 1.1, 0.0, -0.7, 0.5],
    };
    for repeat in 0..repeats {
        println!("swap: repeat {} of {repeats}", repeat + 1);
        let next = VERSIONS[(repeat + 1) % 2];
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let generator = tokio::spawn(generate(client.clone(), row.clone(), stopped));
        tokio::time::sleep(BEFORE).await;
        let begun = Instant::now();
        // It drives the command line, which blocks.
        tokio::task::block_in_place(|| roll_out(&fleet, next))?;
        let ended = Instant::now();
        // Sent only when nobody listens any more.
        let _ = stop.send(());
        let samples = generator.await.context("the generator panicked")??;
        count(&mut results, &samples, begun, ended)?;
    }
    Ok(results)
}

fn publish(fleet: &Fleet, version: &str) -> Result<()> {
    let package = fleet.directory().join(version);
    copy_tree(&zoo(MODEL)?, &package)?;
    let manifest = package.join("model.yaml");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&manifest)?)?;
    text["metadata"]["version"] = json!(version);
    std::fs::write(&manifest, text.to_string())?;
    fleet.cloud.publish_directory(&package)
}

fn roll_out(fleet: &Fleet, version: &str) -> Result<()> {
    fleet.cloud.deploy_version(MODEL, version)?;
    fleet.cloud.await_rollout_of(MODEL, ROLLOUT_TIMEOUT)?;
    Ok(())
}

/// Sends requests at fixed times until it is told to stop.
async fn generate(
    client: InferClient,
    row: Input,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<Vec<Sample>> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    let mut samples = Vec::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            due = ticks.tick() => {
                ensure!(requests.len() < ON_THE_WAY_MAX, "{ON_THE_WAY_MAX} requests are on the way at once");
                let (client, row) = (client.clone(), row.clone());
                // A late generator is part of the latency: the request was due then.
                let begun = due.into_std();
                requests.spawn(async move {
                    let answered = client.infer(MODEL, std::slice::from_ref(&row)).await;
                    if let Err(error) = &answered {
                        println!("swap: a request failed: {error:#}");
                    }
                    let latency_ms = answered.is_ok().then(|| begun.elapsed().as_secs_f64() * 1e3);
                    Sample { begun, latency_ms }
                });
            }
            Some(sample) = requests.join_next() => samples.push(sample.context("a request panicked")?),
        }
    }
    while let Some(sample) = requests.join_next().await {
        samples.push(sample.context("a request panicked")?);
    }
    Ok(samples)
}

fn count(results: &mut Results, samples: &[Sample], begun: Instant, ended: Instant) -> Result<()> {
    // The first second warms up.
    let warm = samples
        .iter()
        .map(|sample| sample.begun)
        .min()
        .context("no request")?
        + Duration::from_secs(1);
    let within = |from: Instant, to: Instant| -> Vec<&Sample> {
        let inside = |sample: &&Sample| (from..to).contains(&sample.begun);
        samples.iter().filter(inside).collect()
    };
    let latencies = |of: &[&Sample]| {
        of.iter()
            .filter_map(|sample| sample.latency_ms)
            .collect::<Vec<f64>>()
    };
    let (before, during) = (within(warm, begun), within(begun, ended));
    let (calm, busy) = (latencies(&before), latencies(&during));
    let p99 = quantile(&calm, 0.99).context("nothing was measured")?;
    let slow = |of: &[f64]| of.iter().filter(|&&latency| latency > 2.0 * p99).count() as f64;
    let failed = samples
        .iter()
        .filter(|sample| sample.latency_ms.is_none())
        .count();
    results.add("requests during the update", "", during.len() as f64);
    results.add(
        "update, from the command to every node done",
        "s",
        (ended - begun).as_secs_f64(),
    );
    results.add("failed", "", failed as f64);
    results.add(
        "before: p50",
        "ms",
        quantile(&calm, 0.5).unwrap_or(f64::NAN),
    );
    results.add("before: p99", "ms", p99);
    results.add("before: slower than twice that p99", "", slow(&calm));
    results.add(
        "during: p50",
        "ms",
        quantile(&busy, 0.5).unwrap_or(f64::NAN),
    );
    results.add(
        "during: p99",
        "ms",
        quantile(&busy, 0.99).unwrap_or(f64::NAN),
    );
    results.add(
        "during: slowest",
        "ms",
        quantile(&busy, 1.0).unwrap_or(f64::NAN),
    );
    results.add("during: slower than twice the p99 before", "", slow(&busy));
    Ok(())
}
