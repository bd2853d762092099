//! ONNX Runtime inside the worker process: one library, one environment, one session.
//!
//! Inputs are copied from shared memory straight into tensors that are kept for the next request of
//! the same shape ([`inputs`]); outputs are copied from where ONNX Runtime put them straight into shared memory
//! ([`outputs`]). Where the shapes of a request are those of the last one, ONNX Runtime writes into the output tensors of the
//! last one ([`run`]). What the model remembers of a sequence stays in its own tensors ([`state`]).

mod element;
mod inputs;
mod outputs;
pub(crate) mod providers;
mod run;
mod state;

use std::fmt;

use millwright_package::{Arena, Provider};
use ort::environment::{Environment, EnvironmentBuilder};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::protocol::{Load, Ports, shortened};
use super::terms::Computing;
use inputs::Inputs;
use outputs::Outputs;
use run::Reuse;
use state::States;

/// ONNX Runtime's library, loaded and not started: no thread of it runs yet.
pub(crate) struct Library(EnvironmentBuilder);

/// ONNX Runtime, started.
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

impl Library {
    /// Loads the library at `path`. The error is for people.
    pub(crate) fn load(path: &str) -> Result<Self, String> {
        let builder = ort::init_from(path).map_err(|error| error.to_string())?;
        Ok(Self(builder.with_name("millwright").with_telemetry(false)))
    }

    /// Makes its environment, with what the process may still do. The error is for people.
    pub(crate) fn start(self) -> Result<Runtime, String> {
        let environment = self.0.build();
        environment
            .map(Runtime)
            .map_err(|error| shortened(error.to_string()))
    }
}

impl Runtime {
    /// Opens the model file of `load` with the first of `offered` that takes it. The error is for people.
    pub(crate) fn open(
        &self,
        load: &Load,
        offered: &[Provider],
        mut passed_over: Vec<String>,
    ) -> Result<(Model, Computing), String> {
        let mut last = "there is no provider to compute it with".to_owned();
        for &provider in offered {
            let session = self
                .builder(load, provider)
                .and_then(|mut builder| builder.commit_from_file(&load.model));
            match session {
                Ok(session) => {
                    let computing = Computing {
                        provider,
                        passed_over,
                    };
                    return Ok((Model::of(session, load)?, computing));
                }
                Err(error) => {
                    last = shortened(error.to_string());
                    passed_over.push(format!("{provider}: {last}"));
                }
            }
        }
        // The processor is tried last, so what it said is about the model.
        Err(last)
    }

    fn builder(&self, load: &Load, provider: Provider) -> Result<SessionBuilder, ort::Error> {
        let arena = load.terms.arena;
        // The arena is kept unless the manifest says otherwise: without it every layer of a vision model
        // takes its pages from the system anew. Threads that spin while they wait would take the time of
        // whatever else runs on a small device.
        Ok(Session::builder(&self.0)?
            .with_intra_threads(usize::from(load.threads))?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_memory_pattern(arena == Arena::Kept)?
            .with_log_level(ort::logging::LogLevel::Error)?
            .with_execution_providers([providers::session_provider(provider, arena)])?)
    }
}

impl Model {
    fn of(session: Session, load: &Load) -> Result<Self, String> {
        let outputs = Outputs::of(&session);
        let inputs = Inputs::of(&session);
        let states = States::of(&session, &inputs, &load.state)
            .map_err(|error| shortened(error.to_string()))?;
        Ok(Self {
            inputs,
            reuse: Reuse::of(&outputs, &states),
            outputs,
            states,
            session,
            scratch: Vec::new(),
        })
    }

    /// The inputs and outputs the model declares.
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            inputs: self.inputs.ports(),
            outputs: self.outputs.ports(),
        }
    }
}
