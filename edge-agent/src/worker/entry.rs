//! The worker process: what `edge-agent worker` runs.
//!
//! ```text
//! confine early ─▶ receive Load + memory ─▶ load ONNX Runtime ─▶ confine ─▶ Confined
//!                                                                             │
//!                                                          environment, open model ─▶ Loaded
//!                                                                                       │
//!                                                              control socket closed: end ◀── serve
//! ```
//!
//! One thread, blocking: no runtime, no logging, no configuration. The control socket is file
//! descriptor 0. Whatever goes wrong before `Loaded` is told to the agent; whatever goes wrong with
//! the socket itself can only mean that the agent is gone or broken, and ends the process.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use edge_ipc::{ControlSocket, Received, Region};

use super::protocol::{self, Answer, Load, LoadFailure, SLOTS};
use super::runtime::{Library, Model, providers};
use super::sandbox::{self, Bounds};
use super::serve::Server;
use super::terms::Computing;

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
    edge_ipc::close_inherited();
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
    let (model, computing) = match open(&load, &socket)? {
        Ok(opened) => opened,
        Err(failure) => {
            socket.send(&protocol::encode(&Answer::LoadFailed(failure))?)?;
            return Ok(());
        }
    };
    socket.send(&protocol::encode(&Answer::Loaded(
        model.ports(),
        computing,
    ))?)?;
    Server::new(socket, board, slots, model).serve()
}

/// Opens the model. The order matters: the library is loaded before the process may no longer look
/// for files; its environment is made after, because that may start threads, which a process that is
/// confined already passes its bounds on to; the model is parsed last.
fn open(
    load: &Load,
    socket: &ControlSocket,
) -> anyhow::Result<Result<(Model, Computing), LoadFailure>> {
    let library = match Library::load(&load.runtime) {
        Ok(library) => library,
        Err(problem) => return Ok(Err(LoadFailure::Runtime(problem))),
    };
    let (offered, passed_over) = providers::offered(&load.terms.providers);
    let bounds = Bounds {
        directory: Path::new(&load.terms.directory),
        model: Path::new(&load.model),
        library: Path::new(&load.runtime),
        memory_bytes: load.memory_mib.map(|mib| u64::from(mib) * 1024 * 1024),
        reach: providers::reach(&offered),
        strictness: load.terms.sandbox,
    };
    match sandbox::confine(&bounds) {
        Ok(gaps) => socket.send(&protocol::encode(&Answer::Confined(gaps))?)?,
        Err(error) => return Ok(Err(LoadFailure::Sandbox(error.to_string()))),
    }
    let runtime = match library.start() {
        Ok(runtime) => runtime,
        Err(problem) => return Ok(Err(LoadFailure::Runtime(problem))),
    };
    let opened = runtime.open(load, &offered, passed_over);
    Ok(opened.map_err(LoadFailure::Model))
}
