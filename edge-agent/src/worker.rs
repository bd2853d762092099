//! Workers: one child process for each loaded model version.
//!
//! Owns starting a worker ([`host`]), talking to it ([`ipc`], over the messages of [`protocol`]), what a
//! model takes and gives ([`signature`]), the way of a request ([`requests`]), joining those that come together ([`batching`]),
//! what it remembers ([`sequences`]), the golden set ([`golden`]), and what runs inside
//! the process ([`entry`], [`sandbox`], [`serve`], [`runtime`]). It does not know which version should run, nor who
//! asks.
//!
//! ```text
//!  agent process                         │ worker process (same executable, `edge-agent worker`)
//!  WorkerHost::spawn ── Load, memory ────┼─▶ entry: library, sandbox, model
//!  Worker::infer ─ ipc::Lane ─ Run ──────┼─▶ serve ─▶ runtime: copy in, compute, copy out
//!                         ◀─ Reply ──────┼──
//! ```
//!
//! The agent process never loads ONNX Runtime. Everything a worker says is checked: a model that takes
//! over its process can give wrong numbers and nothing else. A worker ends when the last [`Worker`] handle
//! is dropped (each request holds one, so none is cut off), when it crashes, hangs or misbehaves, and
//! when the agent ends; [`Worker::ended`] says that it did.

mod batching;
mod call;
pub mod entry;
mod error;
pub mod golden;
pub mod host;
mod ipc;
pub(crate) mod numbers;
pub(crate) mod protocol;
mod requests;
mod runtime;
pub mod sandbox;
mod sequences;
mod serve;
pub mod signature;
pub mod tensor;
pub mod terms;
mod watch;

use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use edge_ipc::{AsyncControlSocket, Board, Slot};
use millwright_package::Provider;
use millwright_proto::ids::ModelVersion;
use tokio::sync;

use batching::Batcher;
pub use call::{Call, Request};
pub use error::{WorkerEnd, WorkerError};
use golden::{GoldenError, GoldenReport};
pub use host::{WorkerHost, WorkerProgram, WorkerSpec};
use ipc::Lane;
pub(crate) use sequences::IDLE_LIMIT as SEQUENCE_IDLE_LIMIT;
use sequences::Sequences;
use signature::Signature;
pub use tensor::{
    InferError, InferInput, InferOutput, OutputSelection, Sequence, SequenceId, Tensor, TensorRef,
    Timing,
};
use terms::Footing;
pub use terms::WorkerSettings;

pub use watch::Worn;
use watch::{Computes, Sample, Verdict, Watchdog};

/// Memory limits of manifests are in mebibytes.
const MIB: u64 = 1024 * 1024;

/// A running worker with an open model. Dropping the last handle ends the process.
#[derive(Debug)]
pub struct Worker {
    spec: WorkerSpec,
    signature: Signature,
    footing: Footing,
    lane: Arc<Lane>,
    /// Of a model with a state.
    sequences: Option<Sequences>,
    /// Of a model whose requests may be joined.
    batcher: Option<Batcher>,
    pid: u32,
    answered: AtomicU64,
    end: sync::watch::Receiver<Option<WorkerEnd>>,
    worn: sync::watch::Sender<Option<Worn>>,
    /// Why the agent ends it, if it does.
    sentence: Arc<OnceLock<WorkerEnd>>,
}

impl Worker {
    /// Takes over a process whose model is open.
    fn new(
        (spec, signature, footing): (WorkerSpec, Signature, Footing),
        memory_bytes: Option<u64>,
        socket: AsyncControlSocket,
        memory: (Board, Vec<Slot>),
        child: Child,
        host: WorkerHost,
    ) -> Arc<Self> {
        let (board, slots) = memory;
        let limits = spec.manifest.limits;
        let within = limits.answer_within;
        let lane = Lane::new(spec.model.clone(), socket, board, slots, within);
        let sequences = sequences_of(&spec);
        let (ended, end) = sync::watch::channel(None);
        let pid = child.id();
        let receiving = Arc::clone(&lane);
        let sentence: Arc<OnceLock<WorkerEnd>> = Arc::default();
        let sentenced = Arc::clone(&sentence);
        tokio::spawn(async move {
            receiving.watch_socket().await;
            let status = reap(child).await;
            let no_answer = receiving
                .gave_up_after()
                .map(|limit| WorkerEnd::NoAnswer(limit.as_secs()));
            let end = sentenced.get().cloned().or(no_answer).unwrap_or(status);
            ended.send_replace(Some(end));
            // Until here: the thread that started the process must outlive it.
            drop(host);
        });
        let declared = limits.memory_mib.map(|mib| u64::from(mib.get()) * MIB);
        let memory = watch::Limits {
            declared_bytes: declared,
            node_bytes: memory_bytes,
        };
        let computes = match footing.computing.provider {
            Provider::Cpu | Provider::Acl | Provider::Xnnpack => Computes::OnProcessor,
            Provider::Cuda | Provider::Tensorrt | Provider::Openvino => Computes::OnDevice,
        };
        let worker = Arc::new_cyclic(|worker: &Weak<Self>| Self {
            batcher: spec
                .manifest
                .batching
                .map(|batching| Batcher::start(worker.clone(), batching)),
            spec,
            signature,
            footing,
            lane,
            sequences,
            pid,
            answered: AtomicU64::new(0),
            end,
            worn: sync::watch::Sender::new(None),
            sentence,
        });
        let watchdog = Watchdog::new(memory, computes);
        tokio::spawn(look_after(Arc::downgrade(&worker), watchdog));
        worker
    }

    /// Looks at the process once. `false`: it is at its end.
    fn look(&self, watchdog: &mut Watchdog) -> bool {
        let found = watch::look(self.pid).filter(|_| !self.has_ended());
        let Some(found) = found else {
            return false;
        };
        let sample = Sample {
            requests: self.lane.requests(),
            answered: self.answered.load(Ordering::Relaxed),
            ..found
        };
        match watchdog.judge(sample) {
            Verdict::Fine => true,
            Verdict::Worn(worn) => {
                self.worn.send_replace(Some(worn));
                true
            }
            Verdict::End(end) => {
                // Only this task sets it, and ends with that.
                let _ = self.sentence.set(end);
                self.lane.shut_down();
                false
            }
        }
    }

    /// Whether it remembers something of a sequence.
    #[must_use]
    pub fn knows(&self, sequence: &SequenceId) -> bool {
        self.sequences
            .as_ref()
            .is_some_and(|sequences| sequences.knows(sequence))
    }

    /// Runs the golden set of the package.
    ///
    /// # Errors
    /// [`GoldenError`] names the file, the output and the difference.
    pub async fn run_golden(&self) -> Result<GoldenReport, GoldenError> {
        golden::run(self).await
    }

    /// Computes one request whose answer nobody needs, so that the first real one finds every page and
    /// thread in place: the inputs of the first golden set, else zeros.
    ///
    /// # Errors
    /// As [`Worker::infer`]. Zeros may be refused by a model that is in order: only a worker that ended
    /// is an error then.
    pub async fn warm(&self) -> Result<(), InferError> {
        if let Some(input) = golden::first_inputs(self) {
            return self.infer(&input).await.map(|_| ());
        }
        match self.infer(&self.zeros()).await {
            Err(error @ (InferError::WorkerEnded(_) | InferError::Timeout { .. })) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits until no request is waiting or running. Requests that arrive meanwhile are served too, so take
    /// the worker out of [`crate::serving::models::ActiveModels`] first.
    pub async fn drain(&self) {
        self.lane.idle().await;
    }

    /// Resolves when the process is gone, with how it ended. Holds no handle, so it does not keep the
    /// worker alive.
    pub fn ended(&self) -> impl Future<Output = WorkerEnd> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            let ended = end.wait_for(Option::is_some).await.map(|end| end.clone());
            ended.ok().flatten().unwrap_or(WorkerEnd::Unknown)
        }
    }

    /// Resolves each time the worker is found near its memory limit; never, once it is gone.
    pub fn worn(&self) -> sync::watch::Receiver<Option<Worn>> {
        self.worn.subscribe()
    }

    /// Whether the process is gone already.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some() || self.lane.has_ended()
    }

    /// The version it holds.
    #[must_use]
    pub const fn model(&self) -> &ModelVersion {
        &self.spec.model
    }

    /// What it was started with.
    #[must_use]
    pub const fn spec(&self) -> &WorkerSpec {
        &self.spec
    }

    /// How it is confined and what it computes with.
    #[must_use]
    pub const fn footing(&self) -> &Footing {
        &self.footing
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Requests waiting or running.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.lane.requests()
    }

    /// Memory of the process in bytes, its share of shared pages counted proportionally where the kernel
    /// tells; `None` when the process is gone.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        crate::telemetry::node::process_memory_bytes(&self.pid.to_string())
    }
}

/// Looks at a worker until it is gone or nobody needs it.
async fn look_after(worker: Weak<Worker>, mut watchdog: Watchdog) {
    loop {
        tokio::time::sleep(watch::EVERY).await;
        let Some(worker) = worker.upgrade() else {
            return;
        };
        if !worker.look(&mut watchdog) {
            return;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.lane.shut_down();
    }
}

/// Room for the sequences of a model that has a state.
fn sequences_of(spec: &WorkerSpec) -> Option<Sequences> {
    let states = &spec.manifest.state;
    let bytes = states.iter().map(|state| {
        let size = state.datatype.size_bytes().unwrap_or(1);
        state
            .shape
            .iter()
            .fold(size, |bytes, dim| bytes.saturating_mul(dim.get() as usize))
    });
    (!states.is_empty()).then(|| Sequences::new(sequences::room_for(bytes.sum())))
}

/// Ends a process whose control socket is closed, and waits for it.
async fn reap(mut child: Child) -> WorkerEnd {
    let reaped = tokio::task::spawn_blocking(move || {
        // It is ending by itself, unless it hangs. A process that has ended already keeps its status.
        let _ = child.kill();
        child.wait()
    });
    match reaped.await {
        Ok(Ok(status)) => status.into(),
        Ok(Err(_)) | Err(_) => WorkerEnd::Unknown,
    }
}
