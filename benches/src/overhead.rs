//! P2: what the way to the model costs over a raw run of ONNX Runtime: the hop to the worker from a thread and from a task,
//! a client's HTTP request, and the same request to model servers of others.

mod grpc;
mod servers;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_agent::worker::{
    Call, InferInput, OutputSelection, Request, Tensor, Worker, WorkerHost, WorkerProgram,
    WorkerSettings, WorkerSpec,
};
use millwright_package::{Datatype, Manifest};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::fleet::sensor_rows;
use millwright_tests::infer::{Input, quantile};
use millwright_tests::packages::onnxruntime;
use millwright_tests::{checkout, program};
use ort::session::Session;
use ort::value::Tensor as OrtTensor;

use crate::http::{self, Client};
use crate::results::Results;
use servers::{Kind, Server};

/// Requests of one repeat; the first tenth warms up and does not count.
const REQUESTS: usize = 2_000;

/// Between two requests that find both sides asleep: ten times as long as either spins.
const PAUSE: Duration = Duration::from_millis(1);

/// Its run takes a few microseconds, so that the way to it is not lost in the spread of the model itself.
const MODEL: &str = "tiny";

pub(crate) async fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "overhead",
        "P2: p50 over raw: hop to the worker <= 8 us, a client's Unix socket <= 25 us, gRPC <= 80 us, <= 0.18x mosec; \
         one row of nine sensors, a model of two matrix products",
    );
    let directory = tempfile::tempdir()?;
    let mut bench = Bench::start(directory.path()).await?;
    for repeat in 0..repeats {
        println!("overhead: repeat {} of {repeats}", repeat + 1);
        bench.repeat(&mut results).await?;
    }
    Ok(results)
}

/// Everything that answers, ours and theirs.
struct Bench {
    row: Input,
    session: Session,
    worker: Arc<Worker>,
    trial: Trial,
    unix: Client,
    tcp: Client,
    peers: Vec<(Kind, Server)>,
}

impl Bench {
    async fn start(directory: &Path) -> Result<Self> {
        let package = checkout().join("benches/models/tiny-1.0.0");
        let row = sensor_rows(1)?;
        let trial = Trial::start(directory, &package, &AgentOptions::quick()?).await?;
        let request = http::open_inference(MODEL, &row);
        let socket = trial.data_directory().join("infer.sock");
        let mut peers = Vec::new();
        for kind in [Kind::Mosec, Kind::Litserve, Kind::Pytriton] {
            let server = Server::start(kind, &package, directory, &row).await?;
            peers.push((kind, server));
        }
        Ok(Self {
            session: raw_session(&package)?,
            worker: worker(&package).await?,
            unix: Client::unix(&socket, request.clone())?,
            tcp: Client::tcp(trial.http(), request)?,
            row,
            trial,
            peers,
        })
    }

    /// Each once.
    async fn repeat(&mut self, results: &mut Results) -> Result<()> {
        let raw = raw_p50_us(&mut self.session, &self.row)?;
        results.add("raw ONNX Runtime: p50", "us", raw);
        let mut over_raw = |name: &str, p50: f64| {
            results.add(&format!("{name}: p50 over raw"), "us", p50 - raw);
            p50 - raw
        };
        over_raw(
            "hop, from a thread",
            hop_p50_us(&self.worker, &self.row, Duration::ZERO)?,
        );
        over_raw(
            "hop, from a thread, 1 ms apart",
            hop_p50_us(&self.worker, &self.row, PAUSE)?,
        );
        over_raw(
            "hop, from a task",
            task_p50_us(&self.worker, &self.row).await?,
        );
        let (unix, tcp, grpc) = tokio::task::block_in_place(|| {
            let grpc = grpc::p50_us(self.trial.grpc()?, MODEL, &self.row)?;
            anyhow::Ok((
                client_p50_us(&mut self.unix)?,
                client_p50_us(&mut self.tcp)?,
                grpc,
            ))
        })?;
        over_raw(
            "floor: an echo over a Unix socket, no inference",
            raw + echo_p50_us()?,
        );
        let unix = over_raw("agent, HTTP over a Unix socket, binary tensors", unix);
        let tcp = over_raw("agent, HTTP over TCP, binary tensors", tcp);
        over_raw("agent, gRPC over TCP", grpc);
        let mut peers = Vec::new();
        for (kind, server) in &mut self.peers {
            let p50 = tokio::task::block_in_place(|| client_p50_us(&mut server.client))?;
            peers.push((*kind, over_raw(&format!("peer {}", kind.name()), p50)));
        }
        for (kind, peer) in peers {
            let name = kind.name();
            results.add(&format!("ratio: agent over TCP / {name}"), "x", tcp / peer);
            results.add(
                &format!("ratio: agent over a Unix socket / {name}"),
                "x",
                unix / peer,
            );
        }
        Ok(())
    }
}

fn p50_us(latencies: &[f64]) -> Result<f64> {
    quantile(&latencies[REQUESTS / 10..], 0.5).context("nothing was measured")
}

pub(crate) fn raw_session(package: &Path) -> Result<Session> {
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
        settings: WorkerSettings::default(),
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

/// On this thread, as a pipeline does it.
fn hop_p50_us(worker: &Worker, row: &Input, pause: Duration) -> Result<f64> {
    let input = input(row);
    let tensors = [input.tensors[0].as_ref()];
    let request = Request {
        tensors: &tensors,
        outputs: &input.outputs,
        sequence: None,
    };
    let mut call = Call::default();
    let mut latencies = Vec::with_capacity(REQUESTS);
    tokio::task::block_in_place(|| {
        for _ in 0..REQUESTS {
            std::thread::sleep(pause);
            let begin = Instant::now();
            worker.infer_blocking(&request, &mut call)?;
            latencies.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok(())
    })?;
    p50_us(&latencies)
}

async fn task_p50_us(worker: &Worker, row: &Input) -> Result<f64> {
    let input = input(row);
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        worker.infer(&input).await?;
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}

fn input(row: &Input) -> InferInput {
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
    InferInput {
        tensors: vec![tensor],
        outputs: OutputSelection::All,
        sequence: None,
    }
}

fn client_p50_us(client: &mut Client) -> Result<f64> {
    let mut latencies = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        client.ask()?;
        latencies.push(began.elapsed().as_secs_f64() * 1e6);
    }
    p50_us(&latencies)
}

/// What two threads that sleep on a Unix socket take to wake each other: less is not possible for a client that sleeps.
fn echo_p50_us() -> Result<f64> {
    const BYTES: usize = 256;
    let (mut here, mut there) = UnixStream::pair()?;
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; BYTES];
        while there.read_exact(&mut bytes).is_ok() && there.write_all(&bytes).is_ok() {}
    });
    let mut latencies = Vec::with_capacity(REQUESTS);
    let mut bytes = [0; BYTES];
    for _ in 0..REQUESTS {
        let began = Instant::now();
        here.write_all(&bytes)?;
        here.read_exact(&mut bytes)?;
        latencies.push(began.elapsed().as_secs_f64() * 1e6);
    }
    drop(here);
    echo.join()
        .map_err(|_| anyhow::anyhow!("the echo panicked"))?;
    p50_us(&latencies)
}
