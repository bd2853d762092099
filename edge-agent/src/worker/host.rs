//! Starting worker processes, from one thread that stays as long as any of them.
//!
//! The kernel sends a worker's death signal when the *thread* that started it ends, so workers are never
//! started from a pool of threads that come and go. Loading a model is a conversation with the new
//! process: Load with the shared memory, then what the model declares, compared with the manifest.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use edge_ipc::{AsyncControlSocket, ControlSocket, Received, Region};
use millwright_package::{Manifest, StateSpec};
use millwright_proto::ids::ModelVersion;
use tokio::sync::{mpsc, oneshot};

use super::protocol::{
    self, Answer, Load, LoadFailure, Ports, REGION_BYTES, SLOTS, Shape, StatePort,
};
use super::sandbox::Gap;
use super::signature::Signature;
use super::terms::{Computing, Footing, Terms, WorkerSettings};
use super::{Worker, WorkerError};

/// Longest time from starting the process to an open model. A 500 MB model on an SD card takes about
/// half a minute to read.
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// Starts that may wait for the thread; each takes about a millisecond.
const STARTS_WAITING_MAX: usize = 16;

/// How worker processes are started.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The executable; its subcommand `worker` runs [`super::entry::run`].
    pub executable: PathBuf,
    /// Path of ONNX Runtime's shared library; `None` when the configuration names none.
    pub runtime: Option<PathBuf>,
    /// How they run.
    pub settings: WorkerSettings,
}

impl WorkerProgram {
    /// This very executable, also if its file has been replaced by an update since it started.
    #[must_use]
    pub fn this_executable(runtime: Option<PathBuf>, settings: WorkerSettings) -> Self {
        Self {
            executable: PathBuf::from("/proc/self/exe"),
            runtime,
            settings,
        }
    }
}

/// What a worker is to hold.
#[derive(Clone, Debug)]
pub struct WorkerSpec {
    /// The version, as requests and summaries name it.
    pub model: ModelVersion,
    /// The unpacked package.
    pub directory: PathBuf,
    /// The package's manifest.
    pub manifest: Arc<Manifest>,
}

/// Handle to the thread that starts workers. The thread ends when the last handle and the last worker
/// are gone.
#[derive(Clone, Debug)]
pub struct WorkerHost {
    starts: mpsc::Sender<Start>,
    runtime: Option<PathBuf>,
    settings: Arc<WorkerSettings>,
}

#[derive(Debug)]
struct Start {
    /// The worker's end of the control socket.
    socket: ControlSocket,
    started: oneshot::Sender<std::io::Result<Child>>,
}

/// A process that has answered whether its model is open.
struct Opened {
    child: Child,
    socket: AsyncControlSocket,
    region: Region,
    gaps: Vec<Gap>,
    answer: Answer,
}

impl WorkerHost {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(program: WorkerProgram) -> std::io::Result<Self> {
        let (starts, mut requests) = mpsc::channel::<Start>(STARTS_WAITING_MAX);
        let executable = program.executable;
        std::thread::Builder::new()
            .name("worker-host".to_owned())
            .spawn(move || {
                while let Some(start) = requests.blocking_recv() {
                    // A start that nobody waits for any more closes its socket, which ends the worker.
                    let _ = start.started.send(start_process(&executable, start.socket));
                }
            })?;
        Ok(Self {
            starts,
            runtime: program.runtime,
            settings: Arc::new(program.settings),
        })
    }

    /// Starts a worker and resolves once its model is open and agrees with its manifest.
    ///
    /// # Errors
    /// [`WorkerError`] says what is missing or wrong and how to fix it. The process is gone then.
    pub async fn spawn(&self, spec: WorkerSpec) -> Result<Arc<Worker>, WorkerError> {
        let load = self.load(&spec)?;
        let opened = self.open(&spec.model, &load).await?;
        let agreed = agree(opened.answer, opened.gaps, &spec, &load);
        match agreed {
            Ok((signature, footing)) => {
                let memory = opened.region.into_parts(SLOTS)?;
                Ok(Worker::new(
                    (spec, signature, footing),
                    self.settings.memory_bytes,
                    opened.socket,
                    memory,
                    opened.child,
                    self.clone(),
                ))
            }
            Err(error) => {
                drop(opened.socket);
                super::reap(opened.child).await;
                Err(error)
            }
        }
    }

    /// Opens the model file of `spec` in a worker of its own and tells what it declares by itself. Of the manifest
    /// only the file and the limits count; the worker is gone afterwards.
    ///
    /// # Errors
    /// As [`WorkerHost::spawn`], but for the agreement with the manifest.
    pub(crate) async fn describe(&self, spec: &WorkerSpec) -> Result<Ports, WorkerError> {
        let load = self.load(spec)?;
        let opened = self.open(&spec.model, &load).await?;
        let declared = declared(opened.answer, spec, &load);
        drop(opened.socket);
        super::reap(opened.child).await;
        declared.map(|(ports, _)| ports)
    }

    /// Starts a process and has it open a model.
    async fn open(&self, model: &ModelVersion, load: &Load) -> Result<Opened, WorkerError> {
        let region = Region::create(REGION_BYTES)?;
        let (ours, theirs) = ControlSocket::pair()?;
        let socket = AsyncControlSocket::new(ours)?;
        let child = self.start_process(theirs).await?;
        let loading = tokio::time::timeout(LOAD_LIMIT, converse(socket, &region, load));
        let outcome = match loading.await {
            Ok(outcome) => outcome,
            Err(_) => Err(WorkerError::LoadTimeout {
                model: model.clone(),
                limit_s: LOAD_LIMIT.as_secs(),
            }),
        };
        match outcome {
            Ok((socket, gaps, answer)) => Ok(Opened {
                child,
                socket,
                region,
                gaps,
                answer,
            }),
            Err(error) => {
                // The socket is closed by now, and the process was told to end by that.
                let end = super::reap(child).await;
                Err(match error {
                    WorkerError::Control(_) => WorkerError::EndedLoading {
                        model: model.clone(),
                        end,
                    },
                    other => other,
                })
            }
        }
    }

    /// The Load message for `spec`; fails early where the agent can tell itself what is missing.
    fn load(&self, spec: &WorkerSpec) -> Result<Load, WorkerError> {
        let runtime = self
            .runtime
            .as_deref()
            .ok_or_else(|| WorkerError::RuntimeMissing {
                problem: "no path of ONNX Runtime is configured".to_owned(),
            })?;
        if let Err(error) = std::fs::metadata(runtime) {
            return Err(WorkerError::RuntimeMissing {
                problem: format!("{}: {error}", runtime.display()),
            });
        }
        let limits = &spec.manifest.limits;
        Ok(Load {
            runtime: text(runtime)?,
            model: text(&spec.directory.join(spec.manifest.file.as_str()))?,
            threads: limits.threads.get(),
            memory_mib: limits.memory_mib.map(std::num::NonZeroU32::get),
            state: spec.manifest.state.iter().map(state_port).collect(),
            terms: Terms {
                directory: text(&spec.directory)?,
                sandbox: self.settings.sandbox,
                providers: self.settings.candidates(&spec.manifest.providers),
                arena: limits.arena,
            },
        })
    }

    async fn start_process(&self, socket: ControlSocket) -> Result<Child, WorkerError> {
        let (started, process) = oneshot::channel();
        let start = Start { socket, started };
        self.starts
            .send(start)
            .await
            .map_err(|_| WorkerError::HostEnded)?;
        process
            .await
            .map_err(|_| WorkerError::HostEnded)?
            .map_err(WorkerError::Start)
    }
}

/// Runs on the permanent thread.
fn start_process(executable: &Path, socket: ControlSocket) -> std::io::Result<Child> {
    let mut command = Command::new(executable);
    command
        .arg0("edge-agent-worker")
        .arg("worker")
        .env_clear()
        // Builds of ONNX Runtime from 1.31 on report their use to its maker. A worker has no network to do
        // that with, and needs no threads that try.
        .env("ORT_DISABLE_TELEMETRY", "1")
        .current_dir("/")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // A Ctrl-C in the terminal is for the agent, which lets the requests in flight finish.
        .process_group(0);
    // Where ONNX Runtime's own libraries are found, on systems that keep them in odd places.
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command.spawn()
}

/// Sends Load and receives what the worker is not kept from, and the answer.
async fn converse(
    socket: AsyncControlSocket,
    region: &Region,
    load: &Load,
) -> Result<(AsyncControlSocket, Vec<Gap>, Answer), WorkerError> {
    let message = protocol::encode(load)?;
    socket.send_with_file(&message, region.file())?;
    let mut buffer = protocol::buffer();
    let mut confined = None;
    loop {
        match socket.receive(&mut buffer).await {
            Ok(Received::Message(length)) => match protocol::decode(&buffer[..length])? {
                Answer::Confined(gaps) if confined.is_none() => confined = Some(gaps),
                answer => return Ok((socket, confined.unwrap_or_default(), answer)),
            },
            Ok(Received::Closed) | Err(_) => {
                return Err(WorkerError::Control(
                    "the worker closed its end while it loaded".to_owned(),
                ));
            }
        }
    }
}

/// What a worker with an open model means for the manifest.
fn agree(
    answer: Answer,
    gaps: Vec<Gap>,
    spec: &WorkerSpec,
    load: &Load,
) -> Result<(Signature, Footing), WorkerError> {
    let (ports, computing) = declared(answer, spec, load)?;
    Signature::agree(Arc::clone(&spec.manifest), &ports)
        .map(|signature| (signature, Footing { gaps, computing }))
        .map_err(|error| WorkerError::Signature {
            model: spec.model.clone(),
            source: Box::new(error),
        })
}

/// What the model declares, or why it is not open.
fn declared(
    answer: Answer,
    spec: &WorkerSpec,
    load: &Load,
) -> Result<(Ports, Computing), WorkerError> {
    let model = spec.model.clone();
    match answer {
        Answer::Loaded(ports, computing) => Ok((ports, computing)),
        Answer::LoadFailed(LoadFailure::Runtime(problem)) => Err(WorkerError::RuntimeMissing {
            problem: format!("{}: {problem}", load.runtime),
        }),
        Answer::LoadFailed(LoadFailure::Sandbox(problem)) => {
            Err(WorkerError::Sandbox { model, problem })
        }
        Answer::LoadFailed(LoadFailure::Model(problem)) => Err(WorkerError::NotAModel {
            model,
            file: spec.manifest.file.as_str().to_owned(),
            problem,
        }),
        Answer::Confined(_) => Err(WorkerError::Control(
            "the worker said something else than how the loading went".to_owned(),
        )),
    }
}

fn state_port(state: &StateSpec) -> StatePort {
    let dims: Vec<usize> = state.shape.iter().map(|dim| dim.get() as usize).collect();
    StatePort {
        input: state.input.clone(),
        output: state.output.clone(),
        datatype: state.datatype,
        shape: Shape::new(&dims).expect("a manifest bounds the dimensions"),
    }
}

fn text(path: &Path) -> Result<String, WorkerError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| WorkerError::PathNotText(path.to_owned()))
}
