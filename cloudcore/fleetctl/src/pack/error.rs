//! Why no package was built. Every variant says where and how to go on.

use std::io;
use std::path::PathBuf;

use millwright_package::ManifestError;
use millwright_package::profile::BuildError;
use thiserror::Error;

use crate::package::PackageError;

/// Why no package was built.
#[derive(Debug, Error)]
pub(crate) enum PackError {
    /// Something is in the way.
    #[error("{} exists already: name another directory with --out, or remove it", .0.display())]
    Exists(PathBuf),
    /// A file or directory.
    #[error("cannot {verb} {}", path.display())]
    Files {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The file beside the model has the name of something else in the package.
    #[error("--with {}: the package has a file of that name already: rename it", .0.display())]
    Taken(PathBuf),
    /// No program to run models with.
    #[error(
        "no edge-agent beside fleetctl ({}) nor on PATH: it runs the model. Install it, or name it with --agent FILE",
        beside.display()
    )]
    NoAgent { beside: PathBuf },
    /// It cannot be started.
    #[error("cannot start {}: name the program edge-agent with --agent FILE", path.display())]
    AgentStart { path: PathBuf, source: io::Error },
    /// It does not know what it is asked.
    #[error("{} does not know `model {command}`: use the edge-agent of this fleetctl's version ({})", path.display(), env!("CARGO_PKG_VERSION"))]
    AgentOld {
        path: PathBuf,
        command: &'static str,
    },
    /// What it said.
    #[error("{0}")]
    Agent(String),
    /// It ended or said something else.
    #[error("edge-agent {problem}")]
    AgentBroken { problem: String },
    /// An input the agent cannot fill.
    #[error(
        "input `{input}` is {what}, which the agent does not take: export the model with tensors as inputs"
    )]
    Input { input: String, what: String },
    /// Nothing the agent can pass on.
    #[error("no output of the model is a tensor: export it with tensors as outputs")]
    NoOutputs,
    /// A flag that does not fit the model.
    #[error("{flag}: {problem}")]
    Flag { flag: String, problem: String },
    /// Lengths nobody told.
    #[error(
        "input `{input}` has shape {shape:?}, where each request decides the lengths of -1. Say which to run it with: \
         --shape {input}={example}, or give inputs with --golden"
    )]
    Open {
        input: String,
        shape: Vec<i64>,
        example: String,
    },
    /// Data that cannot be used.
    #[error("{}: {problem}", path.display())]
    Data { path: PathBuf, problem: String },
    /// What was written is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No profile can be made.
    #[error("no profile can be made of the sample data: {0}")]
    Profile(#[from] BuildError),
    /// The golden sets do not come out.
    #[error("{problem}; {advice}")]
    Golden {
        problem: String,
        advice: &'static str,
    },
    /// The result is no package.
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl PackError {
    pub(super) fn data(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Data {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(super) fn flag(flag: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Flag {
            flag: flag.into(),
            problem: problem.into(),
        }
    }

    /// For `map_err` of an operation on `path`.
    pub(super) fn files(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Files { verb, path, source }
    }
}
