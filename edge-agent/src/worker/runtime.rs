//! ONNX Runtime inside the worker process: one library, one environment, one session.
//!
//! Inputs are copied from shared memory straight into tensors that are kept for the next request of
//! the same shape ([`inputs`]); outputs are copied from where ONNX Runtime put them straight into shared memory
//! ([`outputs`]). Where the shapes of a request are those of the last one, ONNX Runtime writes into the output tensors of the
//! last one ([`run`]). What the model remembers of a sequence stays in its own tensors ([`state`]).

mod element;
mod inputs;
mod outputs;
mod run;
mod state;

use std::fmt;

use ort::environment::Environment;
use ort::ep;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::protocol::{Load, Ports, shortened};
use inputs::Inputs;
use outputs::Outputs;
use run::Reuse;
use state::States;

/// ONNX Runtime, loaded.
pub(crate) struct Runtime(Environment);

/// An open model.
pub(crate) struct Model {
    session: Session,
    inputs: Inputs,
    outputs: Outputs,
    states: States,
    reuse: Reuse,
    /// For elements on their way between shared memory and tensors that cannot be copied as they are.
    scratch: Vec<u8>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

impl Runtime {
    /// Loads the library at `path`. The error is for people.
    pub(crate) fn load(path: &str) -> Result<Self, String> {
        let builder = ort::init_from(path).map_err(|error| error.to_string())?;
        builder
            .with_name("millwright")
            .with_telemetry(false)
            .build()
            .map(Self)
            .map_err(|error| shortened(error.to_string()))
    }

    /// Opens the model file of `load`. The error is for people.
    pub(crate) fn open(&self, load: &Load) -> Result<Model, String> {
        let session = self
            .builder(load)
            .and_then(|mut builder| builder.commit_from_file(&load.model))
            .map_err(|error| shortened(error.to_string()))?;
        let outputs = Outputs::of(&session);
        let inputs = Inputs::of(&session);
        let states = States::of(&session, &inputs, &load.state)
            .map_err(|error| shortened(error.to_string()))?;
        Ok(Model {
            inputs,
            reuse: Reuse::of(&outputs, &states),
            outputs,
            states,
            session,
            scratch: Vec::new(),
        })
    }

    fn builder(&self, load: &Load) -> Result<SessionBuilder, ort::Error> {
        // The arena is kept: without it every layer of a vision model takes its pages from the system
        // anew. It lives as long as the worker, which is one version of one model. Threads that spin
        // while they wait would take the time of whatever else runs on a small device.
        let cpu = ep::CPU::default().with_arena_allocator(true).build();
        Ok(Session::builder(&self.0)?
            .with_intra_threads(usize::from(load.threads))?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_log_level(ort::logging::LogLevel::Error)?
            .with_execution_providers([cpu])?)
    }
}

impl Model {
    /// The inputs and outputs the model declares.
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            inputs: self.inputs.ports(),
            outputs: self.outputs.ports(),
        }
    }
}
