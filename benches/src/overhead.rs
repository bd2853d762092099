//! P2: what the way to the model costs over a raw run of ONNX Runtime: the hop to the worker, a client's HTTP request,
//! and the same request to a model server of others.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_agent::worker::{
    InferInput, OutputSelection, Tensor, Worker, WorkerHost, WorkerProgram, WorkerSpec,
};
use millwright_package::{Datatype, Manifest};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::fleet::sensor_rows;
use millwright_tests::infer::{InferClient, Input, quantile};
use millwright_tests::packages::onnxruntime;
use millwright_tests::process::Process;
use millwright_tests::wait::until;
use millwright_tests::{checkout, program};
use ort::session::Session;
use ort::value::Tensor as OrtTensor;

use crate::peers;
use crate::results::Results;

/// Requests of one repeat; the first tenth warms up and does not count.
const REQUESTS: usize = 2_000;

const START_DEADLINE: Duration = Duration::from_secs(60);

/// Its run takes a few microseconds, so that the way to it is not lost in the spread of the model itself.
const MODEL: &str = "tiny";

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "overhead",
        "P2: hop to the worker <= 8 us over a raw run, p50; one row of nine sensors, a model of two matrix products",
    );
    let package = checkout().join("benches/models/tiny-1.0.0");
    let directory = tempfile::tempdir()?;
    let row = sensor_rows(1)?;

    let mut session = raw_session(&package)?;
    let worker = worker(&package).await?;
    let trial = Trial::start(directory.path(), &package, &AgentOptions::quick()?).await?;
    let client = trial.client()?;
    let (mosec, mosec_url) = start_mosec(&package, directory.path()).await?;
    for repeat in 0..repeats {
        println!("overhead: repeat {} of {repeats}", repeat + 1);
        let raw = raw_p50_us(&mut session, &row)?;
        let hop = hop_p50_us(&worker, &row).await?;
        let http = http_p50_us(&client, &row).await?;
        let peer = mosec_p50_us(&mosec_url, &row).await?;
        results.add("raw ONNX Runtime: p50", "us", raw);
        results.add("hop to the worker: p50", "us", hop);
        results.add("hop to the worker: p50 over raw", "us", hop - raw);
        results.add("agent over HTTP: p50", "us", http);
        results.add("agent over HTTP: p50 over raw", "us", http - raw);
        results.add("peer mosec over HTTP: p50", "us", peer);
        results.add("peer mosec over HTTP: p50 over raw", "us", peer - raw);
        results.add(
            "ratio: overhead of agent over HTTP / mosec over HTTP",
            "x",
            (http - raw) / (peer - raw),
        );
    }
    drop(mosec);
    Ok(results)
}

fn p50_us(latencies: &[f64]) -> Result<f64> {
    quantile(&latencies[REQUESTS / 10..], 0.5).context("nothing was measured")
}

fn raw_session(package: &Path) -> Result<Session> {
    let environment = ort::init_from(onnxruntime()?)
        .context("opening ONNX Runtime")?
        .build()?;
    let mut builder = Session::builder(&environment)?;
    builder = builder
        .with_intra_threads(1)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(builder.commit_from_file(package.join("model.onnx"))?)
}

fn raw_p50_us(session: &mut Session, row: &Input) -> Result<f64> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        let shape: Vec<i64> = row.shape.iter().map(|length| *length as i64).collect();
        let tensor = OrtTensor::from_array((shape, row.values.clone()))?;
        let outputs = session.run(ort::inputs!["sensors" => tensor])?;
        let (_, scores) = outputs["scores"].try_extract_tensor::<f32>()?;
        assert!(scores[0].is_finite());
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}

async fn worker(package: &Path) -> Result<Arc<Worker>> {
    let program = WorkerProgram {
        executable: program("edge-agent")?,
        runtime: Some(onnxruntime()?),
    };
    let host = WorkerHost::start(program).context("starting the worker host")?;
    let text = std::fs::read_to_string(package.join("model.yaml"))?;
    let manifest = Manifest::parse(&text, "model.yaml")?;
    let model = manifest.model_version();
    let spec = WorkerSpec {
        model,
        directory: package.to_owned(),
        manifest: Arc::new(manifest),
    };
    Ok(host.spawn(spec).await?)
}

async fn hop_p50_us(worker: &Worker, row: &Input) -> Result<f64> {
    let data: Vec<u8> = row
        .values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let tensor = Tensor {
        name: row.name.clone(),
        datatype: Datatype::Fp32,
        shape: row.shape.clone(),
        data: data.into(),
    };
    let input = InferInput {
        tensors: vec![tensor],
        outputs: OutputSelection::All,
        sequence: None,
    };
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        worker.infer(&input).await?;
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}

async fn http_p50_us(client: &InferClient, row: &Input) -> Result<f64> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        client.infer(MODEL, std::slice::from_ref(row)).await?;
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}

async fn start_mosec(package: &Path, directory: &Path) -> Result<(Process, InferClient)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = std::process::Command::new(peers::python()?);
    command
        .arg(peers::file("mosec_server.py"))
        .env("MODEL", package.join("model.onnx"));
    command.args(["--address", "127.0.0.1", "--port", &port.port().to_string()]);
    let mut process = Process::start("mosec", &mut command, &directory.join("mosec.log"))?;
    let client = InferClient::new(port)?;
    until("answer of mosec", START_DEADLINE, async || {
        process.check_running()?;
        Ok((client.get("/").await?.0 == 200).then_some(()))
    })
    .await?;
    Ok((process, client))
}

async fn mosec_p50_us(client: &InferClient, row: &Input) -> Result<f64> {
    let body: Vec<u8> = row
        .values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        let (status, _) = client.post("/inference", body.clone()).await?;
        anyhow::ensure!(status == 200, "mosec answered {status}");
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}
