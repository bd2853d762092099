//! Why a worker could not be started, and how one ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use edge_ipc::{MemoryError, SocketError};
use millwright_proto::ids::ModelVersion;
use thiserror::Error;

use super::protocol::ProtocolError;
use super::signature::SignatureError;

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
    /// By a signal: 9 when it was killed (also by the kernel, out of memory), 11 for a crash.
    #[error("signal {0}")]
    Signalled(i32),
    /// The system did not say.
    #[error("unknown exit status")]
    Unknown,
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
