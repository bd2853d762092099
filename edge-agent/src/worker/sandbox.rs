//! What the worker process gives up before it parses a model.
//!
//! Everything here needs no privilege, works in any container, and cannot be undone by the process.
//! A filter on system calls and on file access is added in the same places, in the same order.

use std::io;

use rustix::process::{Resource, Rlimit, Signal};
use thiserror::Error;

use super::protocol::Load;

/// How much rather the kernel should end a worker than anything else when memory runs out, from -1000
/// to 1000. A worker is restarted by the agent; an agent that is killed takes every worker with it.
const OOM_SCORE: &str = "500";

/// Why the process could not be confined.
#[derive(Debug, Error)]
pub(crate) enum SandboxError {
    /// The kernel refused a step.
    #[error("confining the worker: {operation} failed: {source}")]
    System {
        /// The step, as a system call.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
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
pub(crate) fn confine_early() -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(system("prctl(PR_SET_PDEATHSIG)"))?;
    rustix::thread::set_no_new_privs(true).map_err(system("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    limit(Resource::Core, 0, "setrlimit(RLIMIT_CORE)")?;
    // Without it the worker still runs; some containers mount /proc read-only.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}

/// After ONNX Runtime is loaded, before the model is opened.
pub(crate) fn confine(load: &Load) -> Result<(), SandboxError> {
    if let Some(mebibytes) = load.memory_mib {
        let bytes = u64::from(mebibytes) * 1024 * 1024;
        limit(Resource::Data, bytes, "setrlimit(RLIMIT_DATA)")?;
    }
    Ok(())
}

fn limit(resource: Resource, value: u64, operation: &'static str) -> Result<(), SandboxError> {
    let both = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    rustix::process::setrlimit(resource, both).map_err(system(operation))
}
