//! What the cases share: packages, a host for workers, requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edge_agent::telemetry::Recorder;
use edge_agent::telemetry::clock::{Clock, boot_id};
use edge_agent::worker::{
    InferInput, OutputSelection, Tensor, Worker, WorkerHost, WorkerProgram, WorkerSettings,
    WorkerSpec,
};
use millwright_package::{Datatype, Manifest};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Longest wait for anything that has no time of its own.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The top of the checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// ONNX Runtime, where the set-up puts it.
pub(crate) fn runtime() -> PathBuf {
    let path = checkout()
        .join("target/onnxruntime")
        .join(std::env::consts::ARCH)
        .join("libonnxruntime.so.1.31.1");
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

/// The directory of one version of the sensor model; not to be changed.
pub(crate) fn package(version: &str) -> PathBuf {
    let name = format!("tests/models/packages/shuttle-anomaly-{version}");
    checkout().join(name).canonicalize().unwrap()
}

pub(crate) fn host_with(runtime: Option<PathBuf>) -> WorkerHost {
    WorkerHost::start(WorkerProgram {
        executable: env!("CARGO_BIN_EXE_edge-agent").into(),
        runtime,
        settings: WorkerSettings::default(),
    })
    .unwrap()
}

pub(crate) fn host() -> WorkerHost {
    host_with(Some(runtime()))
}

/// What to start for the package in `directory`, whose manifest is changed by `edit`.
pub(crate) fn spec_edited(directory: &Path, edit: impl Fn(&str) -> String) -> WorkerSpec {
    let text = std::fs::read_to_string(directory.join("model.yaml")).unwrap();
    let manifest = Manifest::parse(&edit(&text), "model.yaml").unwrap();
    WorkerSpec {
        model: manifest.model_version(),
        directory: directory.to_owned(),
        manifest: Arc::new(manifest),
    }
}

pub(crate) fn spec(directory: &Path) -> WorkerSpec {
    spec_edited(directory, str::to_owned)
}

pub(crate) async fn worker(version: &str) -> Arc<Worker> {
    host().spawn(spec(&package(version))).await.unwrap()
}

/// `rows` rows of nine sensors.
pub(crate) fn sensor_rows(rows: usize) -> InferInput {
    let values: Vec<u8> = (0..rows * 9)
        .flat_map(|at| (at as f32).to_le_bytes())
        .collect();
    InferInput {
        tensors: vec![Tensor {
            name: "sensors".to_owned(),
            datatype: Datatype::Fp32,
            shape: vec![rows, 9],
            data: values.into(),
        }],
        outputs: OutputSelection::All,
        sequence: None,
    }
}

pub(crate) fn recorder() -> Recorder {
    Recorder::new(boot_id(), Clock::start(0).now())
}

/// Ends a process as the kernel does when memory runs out.
pub(crate) fn kill(worker: &Worker) {
    kill_process(process(worker), Signal::KILL).unwrap();
}

/// Halts every thread of its process. The agent ends a worker that it finds halted, so on a runtime of one thread nothing
/// may be awaited until the worker goes on.
pub(crate) fn halt(worker: &Worker) {
    kill_process(process(worker), Signal::STOP).unwrap();
    waitid(WaitId::Pid(process(worker)), WaitIdOptions::STOPPED).unwrap();
}

pub(crate) fn go_on(worker: &Worker) {
    kill_process(process(worker), Signal::CONT).unwrap();
}

fn process(worker: &Worker) -> Pid {
    Pid::from_raw(worker.pid().try_into().unwrap()).unwrap()
}
