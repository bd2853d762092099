//! Why a worker could not be started, and how one ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use edge_ipc::{MemoryError, SocketError};
use millwright_proto::ids::ModelVersion;
use thiserror::Error;

use super::protocol::ProtocolError;
use super::signature::SignatureError;
use super::watch::Worn;

/// Why a worker could not be started.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// ONNX Runtime cannot be loaded. The agent runs on without it.
    #[error(
        "ONNX Runtime is missing: {problem}; install version 1.24 or later and name its libonnxruntime.so with --onnxruntime or `onnxruntime` in edge-agent.yaml"
    )]
    RuntimeMissing {
        /// What was tried and what went wrong.
        problem: String,
    },
    /// The file is damaged, truncated or something else than ONNX.
    #[error("model {model}: {file} is not a model that ONNX Runtime can open: {problem}")]
    NotAModel {
        /// The model version.
        model: ModelVersion,
        /// The file inside the package.
        file: String,
        /// What ONNX Runtime said.
        problem: String,
    },
    /// Model and manifest disagree.
    #[error("model {model}: {source}")]
    Signature {
        /// The model version.
        model: ModelVersion,
        /// About what.
        source: Box<SignatureError>,
    },
    /// The process could not be confined, so it did not open the model.
    #[error("model {model}: {problem}")]
    Sandbox {
        /// The model version.
        model: ModelVersion,
        /// The step and what the kernel said.
        problem: String,
    },
    /// The process ended while it opened the model.
    #[error(
        "model {model}: the worker ended while it opened the model ({end}); it may need more memory than its limit"
    )]
    EndedLoading {
        /// The model version.
        model: ModelVersion,
        /// How it ended.
        end: WorkerEnd,
    },
    /// The model did not open in time.
    #[error("model {model}: not open after {limit_s} s")]
    LoadTimeout {
        /// The model version.
        model: ModelVersion,
        /// The bound in seconds.
        limit_s: u64,
    },
    /// The system refused a process.
    #[error("starting a worker process failed: {0}")]
    Start(std::io::Error),
    /// The thread that starts processes is gone, which happens only while the agent ends.
    #[error("the agent is ending and starts no more workers")]
    HostEnded,
    /// Shared memory could not be made.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The control socket failed, or the worker said something it may not say.
    #[error("control socket of the worker: {0}")]
    Control(String),
    /// A path that cannot be sent to the worker.
    #[error("path {} is not UTF-8: move the data directory", .0.display())]
    PathNotText(std::path::PathBuf),
}

impl From<SocketError> for WorkerError {
    fn from(error: SocketError) -> Self {
        Self::Control(error.to_string())
    }
}

impl From<ProtocolError> for WorkerError {
    fn from(error: ProtocolError) -> Self {
        Self::Control(error.to_string())
    }
}

/// How a worker process ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkerEnd {
    /// By itself, with this exit code.
    #[error("exit code {0}")]
    Exited(i32),
    /// By a signal that the agent did not send.
    #[error("signal {0}{meaning}", meaning = meaning(*.0))]
    Signalled(i32),
    /// The agent ended it: it was stopped and did not go on.
    #[error("it was stopped (SIGSTOP) and did not go on, so the agent ended it")]
    Stopped,
    /// The agent ended it: a request waited and nothing was computed.
    #[error("it hung: a request waited and nothing was computed, so the agent ended it")]
    Hung,
    /// The agent ended it: a request took longer than the manifest allows.
    #[error(
        "it gave no answer within {0} s (spec.limits.answerSeconds of the manifest), so the agent ended it"
    )]
    NoAnswer(u64),
    /// The agent ended it: it had more memory than it may have.
    #[error("{0}, so the agent ended it")]
    TooLarge(Worn),
    /// The system did not say.
    #[error("unknown exit status")]
    Unknown,
}

/// What a signal says about a worker.
const fn meaning(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV | libc::SIGBUS => ": it crashed (invalid memory access)",
        libc::SIGILL => ": it crashed (an instruction this processor lacks)",
        libc::SIGFPE => ": it crashed (arithmetic)",
        libc::SIGABRT => ": it gave up by itself",
        libc::SIGKILL => ": it was killed, by somebody or by the kernel for lack of memory",
        libc::SIGSYS => ": it made a system call that no honest worker makes",
        _ => "",
    }
}

impl From<ExitStatus> for WorkerEnd {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Signalled(signal),
            (None, None) => Self::Unknown,
        }
    }
}
