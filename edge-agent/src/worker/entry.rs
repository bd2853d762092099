//! The worker process: what `edge-agent worker` runs.
//!
//! ```text
//! confine early ─▶ receive Load + memory ─▶ load ONNX Runtime ─▶ confine ─▶ Confined
//!                                                                             │
//!                                                          environment, open model ─▶ Loaded
//!                                                                                       │
//!                               control socket closed: end ◀── answer ◀── run ◀── receive Run
//! ```
//!
//! One thread, blocking: no runtime, no logging, no configuration. The control socket is file
//! descriptor 0. Whatever goes wrong before `Loaded` is told to the agent; whatever goes wrong with
//! the socket itself can only mean that the agent is gone or broken, and ends the process.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use edge_ipc::{ControlSocket, Received, Region, Slot};

use super::protocol::{self, Answer, Load, LoadFailure, Request, SLOTS};
use super::runtime::{Library, Model, providers};
use super::sandbox::{self, Bounds};
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
    let (Request::Load(load), Some(memory)) = (protocol::decode(&buffer[..length])?, memory) else {
        anyhow::bail!("the first message is not Load with shared memory");
    };
    let mut slots = Region::open(memory)?.into_slots(SLOTS)?;
    let (mut model, computing) = match open(&load, &socket)? {
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
    answer_requests(&socket, &mut buffer, &mut slots, &mut model)
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

fn answer_requests(
    socket: &ControlSocket,
    buffer: &mut [u8],
    slots: &mut [Slot],
    model: &mut Model,
) -> anyhow::Result<()> {
    while let Received::Message(length) = socket.receive(buffer)? {
        let Request::Run(run) = protocol::decode(&buffer[..length])? else {
            anyhow::bail!("a second Load");
        };
        let slot = usize::try_from(run.slot)
            .ok()
            .and_then(|index| slots.get_mut(index))
            .ok_or_else(|| anyhow::anyhow!("slot {} does not exist", run.slot))?;
        let answer = match model.run(&run, slot) {
            Ok(outputs) => Answer::Done {
                id: run.id,
                outputs,
            },
            Err(failure) => Answer::Failed {
                id: run.id,
                cause: failure.cause,
                message: protocol::shortened(failure.message),
            },
        };
        socket.send(&protocol::encode(&answer)?)?;
    }
    Ok(())
}
