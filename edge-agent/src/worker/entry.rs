//! The worker process: what `edge-agent worker` runs.
//!
//! ```text
//! confine early ─▶ receive Load + memory ─▶ ONNX Runtime, environment ─▶ confine ─▶ open model ─▶ Loaded ─▶ serve
//! ```
//!
//! One thread, blocking: no runtime, no logging, no configuration. The control socket is file
//! descriptor 0. Whatever goes wrong before `Loaded` is told to the agent; whatever goes wrong with
//! the socket itself can only mean that the agent is gone or broken, and ends the process.

use std::os::fd::AsFd;
use std::process::ExitCode;

use edge_ipc::{ControlSocket, Received, Region};

use super::protocol::{self, Answer, Load, LoadFailure, SLOTS};
use super::runtime::{Model, Runtime};
use super::sandbox;
use super::serve::Server;

/// Runs the worker until the agent closes the control socket. Call it before anything else in the
/// process: no other thread, no async runtime.
#[must_use]
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-agent worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> anyhow::Result<()> {
    sandbox::confine_early()?;
    // A copy of descriptor 0; the original stays open and is never read.
    let socket = ControlSocket::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = protocol::buffer();
    let (received, memory) = socket.receive_with_file(&mut buffer)?;
    let Received::Message(length) = received else {
        return Ok(());
    };
    let load: Load = protocol::decode(&buffer[..length])?;
    drop(buffer);
    let memory = memory.ok_or_else(|| anyhow::anyhow!("Load came without shared memory"))?;
    let (board, slots) = Region::open(memory)?.into_parts(SLOTS)?;
    let model = match open(&load) {
        Ok(model) => model,
        Err(failure) => {
            socket.send(&protocol::encode(&Answer::LoadFailed(failure))?)?;
            return Ok(());
        }
    };
    socket.send(&protocol::encode(&Answer::Loaded(model.ports()))?)?;
    Server::new(socket, board, slots, model).serve()
}

/// Opens the model. The order matters: the library is loaded before the process may no longer look
/// for files, the model is parsed after.
fn open(load: &Load) -> Result<Model, LoadFailure> {
    let runtime = Runtime::load(&load.runtime).map_err(LoadFailure::Runtime)?;
    sandbox::confine(load).map_err(|error| LoadFailure::Sandbox(error.to_string()))?;
    runtime.open(load).map_err(LoadFailure::Model)
}
