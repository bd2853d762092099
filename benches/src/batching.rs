//! P3: what joining requests brings: the same server and model with `batching` in the manifest and without it.
//!
//! Clients ask one thing after the other, each on its own connection and thread. Without batching there are
//! [`CLIENTS`] of them. With batching as many first, then more of them: the figure is the best throughput whose 99th
//! percentile is not above the one without. Two models: `dense`, whose runs wait for weights, which rows can share; `tiny`,
//! whose runs take microseconds, so that only the hop to the worker is shared. Generator, agent and worker share the
//! machine's cores, so what the generator takes is missing on both sides.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::checkout;
use millwright_tests::infer::{Input, quantile};

use crate::http::{self, Client};
use crate::results::Results;

/// Clients without batching: as many as keep the model busy whatever the others do.
const CLIENTS: usize = 8;

/// Clients with batching.
const MORE_CLIENTS: [usize; 4] = [CLIENTS, 16, 24, 32];

/// How long each number of clients asks; before that, a tenth of it warms up.
const MEASURE: Duration = Duration::from_secs(2);

/// As a user would write it.
const BATCHING: &str = "  batching: {maxRows: 16, maxDelayUs: 500}\n";

/// A model and what it is asked.
const MODELS: [(&str, &str, usize); 2] = [("dense", "values", 512), ("tiny", "sensors", 9)];

/// What came of one number of clients.
#[derive(Clone, Copy)]
struct Outcome {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "batching",
        "P3: >= 1.8x throughput at no higher p99 on a batchable model, batching on and off",
    );
    let directory = tempfile::tempdir()?;
    for (model, input, values) in MODELS {
        let request = http::open_inference(model, &row(input, values));
        let off = serve(model, "", directory.path()).await?;
        let on = serve(model, BATCHING, directory.path()).await?;
        for repeat in 0..repeats {
            println!("batching: {model}, repeat {} of {repeats}", repeat + 1);
            let alone = tokio::task::block_in_place(|| load(&off, &request, CLIENTS))?;
            note(
                &mut results,
                &format!("{model}, off, {CLIENTS} clients"),
                alone,
            );
            let mut best = 0.0_f64;
            for (index, clients) in MORE_CLIENTS.into_iter().enumerate() {
                let joined = tokio::task::block_in_place(|| load(&on, &request, clients))?;
                note(
                    &mut results,
                    &format!("{model}, on, {clients} clients"),
                    joined,
                );
                let ratio = joined.per_second / alone.per_second;
                if index == 0 {
                    results.add(
                        &format!("{model}: throughput on / off, {CLIENTS} clients each"),
                        "x",
                        ratio,
                    );
                    let p99 = joined.p99_ms / alone.p99_ms;
                    results.add(
                        &format!("{model}: p99 on / off, {CLIENTS} clients each"),
                        "x",
                        p99,
                    );
                }
                if joined.p99_ms <= alone.p99_ms {
                    best = best.max(ratio);
                }
            }
            results.add(
                &format!("{model}: throughput on / off at no higher p99"),
                "x",
                best,
            );
        }
    }
    Ok(results)
}

fn row(name: &str, values: usize) -> Input {
    Input {
        name: name.to_owned(),
        shape: vec![1, values],
        values: (0..values).map(|at| (at % 13) as f32 / 13.0).collect(),
    }
}

/// The agent with a model of `benches/models`, its manifest ending with `line`.
async fn serve(model: &str, line: &str, directory: &Path) -> Result<Trial> {
    let source = checkout().join(format!("benches/models/{model}-1.0.0"));
    let directory = directory.join(format!(
        "{model}-{}",
        if line.is_empty() { "off" } else { "on" }
    ));
    let package = directory.join("package");
    std::fs::create_dir_all(&package)?;
    std::fs::copy(source.join("model.onnx"), package.join("model.onnx"))?;
    let manifest = std::fs::read_to_string(source.join("model.yaml"))?;
    std::fs::write(package.join("model.yaml"), manifest + line)?;
    Trial::start(&directory, &package, &AgentOptions::quick()?).await
}

/// Asks from `clients` threads at once.
fn load(trial: &Trial, request: &[u8], clients: usize) -> Result<Outcome> {
    let socket = trial.data_directory().join("infer.sock");
    let counts = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let mut took = Duration::ZERO;
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| ask(&socket, request, &counts, &stop)))
            .collect();
        std::thread::sleep(MEASURE / 10);
        counts.store(true, Ordering::Relaxed);
        let began = Instant::now();
        std::thread::sleep(MEASURE);
        took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            let one = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            all.extend(one?);
        }
        anyhow::Ok(all)
    })?;
    Ok(Outcome {
        per_second: latencies.len() as f64 / took.as_secs_f64(),
        p50_ms: quantile(&latencies, 0.5).context("no answer")?,
        p99_ms: quantile(&latencies, 0.99).context("no answer")?,
    })
}

/// One client: the milliseconds of each answer that came while it counted.
fn ask(socket: &Path, request: &[u8], counts: &AtomicBool, stop: &AtomicBool) -> Result<Vec<f64>> {
    let mut client = Client::unix(socket, request.to_vec())?;
    let mut latencies = Vec::new();
    loop {
        let counted = counts.load(Ordering::Relaxed);
        let began = Instant::now();
        client.ask()?;
        if stop.load(Ordering::Relaxed) {
            return Ok(latencies);
        }
        if counted {
            latencies.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
}

fn note(results: &mut Results, name: &str, outcome: Outcome) {
    results.add(&format!("{name}: requests"), "1/s", outcome.per_second);
    results.add(&format!("{name}: p50"), "ms", outcome.p50_ms);
    results.add(&format!("{name}: p99"), "ms", outcome.p99_ms);
}
