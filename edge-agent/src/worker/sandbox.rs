//! What the worker process gives up before it parses a model.
//!
//! ```text
//! confine_early:  ends with the agent, no new privileges, no memory image
//! confine:        rlimits ─▶ file access (Landlock) ─▶ system calls (seccomp)
//! ```
//!
//! Nothing here needs a privilege or a user namespace, so it works in any container, and none of it can be
//! undone by the process or by a thread it starts later. Landlock leaves the model's directory and a few
//! facts about the processor readable, and nothing else; the filter leaves no way to a network, another
//! program, another process or a file open for writing. What the kernel cannot do is a [`Gap`]: told to the
//! agent, and a reason not to open the model where [`Strictness::Required`] is configured.

mod calls;
mod files;

use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much rather the kernel should end a worker than anything else when memory runs out, from -1000
/// to 1000. A worker is restarted by the agent; an agent that is killed takes every worker with it.
const OOM_SCORE: &str = "500";

/// Most open files of a worker that computes on the processor: it has six, and one for each file of external
/// data while it maps them.
const OPEN_FILES_MAX: u64 = 64;

/// Why the process could not be confined.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The kernel refused a step.
    #[error("confining the worker: {operation} failed: {source}")]
    System {
        /// The step, as a system call.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration asks for all of it.
    #[error(
        "the worker cannot be confined as `worker.sandbox: required` asks: {}; run a kernel that can (Landlock: 5.13 or later with `landlock` among its security modules), or set worker.sandbox to best-effort",
        listed(.0)
    )]
    Incomplete(Vec<Gap>),
}

/// Something the kernel here cannot do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// What a worker is not kept from.
    pub open: Open,
    /// What the kernel said.
    pub problem: String,
}

/// What a gap leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Open {
    /// Landlock is not in force.
    Files,
    /// seccomp is not in force.
    SystemCalls,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.open {
            Open::Files => "a worker may read whatever the agent may (no Landlock)",
            Open::SystemCalls => "a worker may make any system call (no seccomp)",
        };
        write!(f, "{what}: {}", self.problem)
    }
}

/// Gaps as one text.
#[must_use]
pub fn listed(gaps: &[Gap]) -> String {
    let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    gaps.join("; ")
}

/// Whether a worker that cannot be confined completely opens its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// It does, and the node says what is missing.
    #[default]
    BestEffort,
    /// It does not.
    Required,
}

/// What the model is computed with decides what the process has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The processor only.
    Processor,
    /// A device with a driver and libraries of its own, which are loaded with the model.
    Device,
}

/// What one worker may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The unpacked package: readable, with everything below it.
    pub directory: &'a Path,
    /// The model file; readable also where it is a link that leads out of the directory.
    pub model: &'a Path,
    /// ONNX Runtime, beside which the libraries of a [`Reach::Device`] lie.
    pub library: &'a Path,
    /// Memory the process may have for data.
    pub memory_bytes: Option<u64>,
    /// What it computes with.
    pub reach: Reach,
    /// Whether gaps are an error.
    pub strictness: Strictness,
}

fn system<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |source| SandboxError::System {
        operation,
        source: source.into(),
    }
}

/// First thing in the process: end with the agent, gain nothing, leave no memory image behind.
///
/// An agent that ended before the death signal was set is noticed right after: its end of the control
/// socket is closed.
///
/// # Errors
/// When the kernel refuses what every kernel can do.
pub fn confine_early() -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(system("prctl(PR_SET_PDEATHSIG)"))?;
    rustix::thread::set_no_new_privs(true).map_err(system("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    limit(Resource::Core, 0, "setrlimit(RLIMIT_CORE)")?;
    // Without it the worker still runs; some containers mount /proc read-only.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}

/// After ONNX Runtime is loaded, before the model is opened. Returns what the kernel cannot do.
///
/// # Errors
/// When a limit is refused, or a gap is found and [`Strictness::Required`] is asked for.
pub fn confine(bounds: &Bounds<'_>) -> Result<Vec<Gap>, SandboxError> {
    if let Some(bytes) = bounds.memory_bytes {
        limit(Resource::Data, bytes, "setrlimit(RLIMIT_DATA)")?;
    }
    if bounds.reach == Reach::Processor {
        limit(Resource::Nofile, OPEN_FILES_MAX, "setrlimit(RLIMIT_NOFILE)")?;
    }
    // In this order: the filter takes the system calls of Landlock away too.
    let gaps: Vec<Gap> = [
        (Open::Files, files::restrict(bounds)),
        (Open::SystemCalls, calls::restrict(bounds.reach)),
    ]
    .into_iter()
    .filter_map(|(open, restricted)| {
        let problem = restricted.err()?;
        Some(Gap { open, problem })
    })
    .collect();
    match bounds.strictness {
        Strictness::Required if !gaps.is_empty() => Err(SandboxError::Incomplete(gaps)),
        Strictness::Required | Strictness::BestEffort => Ok(gaps),
    }
}

fn limit(resource: Resource, value: u64, operation: &'static str) -> Result<(), SandboxError> {
    let hard = rustix::process::getrlimit(resource).maximum;
    // Above what the agent itself may have is not for the worker to set.
    let value = hard.map_or(value, |hard| hard.min(value));
    let both = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    rustix::process::setrlimit(resource, both).map_err(system(operation))
}
