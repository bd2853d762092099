//! ONNX Runtime inside the worker process: one library, one environment, one session.
//!
//! Inputs are copied from shared memory straight into tensors that are kept for the next request of
//! the same shape; outputs are copied from where ONNX Runtime put them straight into shared memory.

mod element;
pub(crate) mod providers;

use edge_ipc::Slot;
use millwright_package::{Arena, Datatype, Provider};
use ort::environment::{Environment, EnvironmentBuilder};
use ort::memory::Allocator;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Outlet, ValueType};

use super::protocol::{
    Cause, Load, Placed, Port, PortKind, Ports, Run, SLOT_BYTES_KEPT, aligned, shortened,
};
use super::terms::Computing;
use element::{copy_in, copy_out, datatype_of, element_type_of};

/// ONNX Runtime's library, loaded and not started: no thread of it runs yet.
pub(crate) struct Library(EnvironmentBuilder);

/// ONNX Runtime, started.
pub(crate) struct Runtime(Environment);

/// An open model.
pub(crate) struct Model {
    session: Session,
    /// One for each input of the session: the tensor of the last request.
    inputs: Vec<Option<DynTensor>>,
}

/// Why a run has no outputs.
#[derive(Debug)]
pub(crate) struct RunFailure {
    /// Whose fault it is.
    pub cause: Cause,
    /// For people.
    pub message: String,
}

impl RunFailure {
    fn inputs(message: impl ToString) -> Self {
        Self {
            cause: Cause::Inputs,
            message: message.to_string(),
        }
    }

    fn model(message: impl ToString) -> Self {
        Self {
            cause: Cause::Model,
            message: message.to_string(),
        }
    }
}

impl From<ort::Error> for RunFailure {
    fn from(error: ort::Error) -> Self {
        match error.code() {
            ort::ErrorCode::InvalidArgument => Self::inputs(error),
            _ => Self::model(error),
        }
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
                    let inputs = session.inputs().iter().map(|_| None).collect();
                    let computing = Computing {
                        provider,
                        passed_over,
                    };
                    return Ok((Model { session, inputs }, computing));
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
    /// The inputs and outputs the model declares.
    pub(crate) fn ports(&self) -> Ports {
        Ports {
            inputs: self.session.inputs().iter().map(port).collect(),
            outputs: self.session.outputs().iter().map(port).collect(),
        }
    }

    /// Computes one request whose inputs lie in `slot`, and leaves the outputs there.
    pub(crate) fn run(&mut self, run: &Run, slot: &mut Slot) -> Result<Vec<Placed>, RunFailure> {
        if run.inputs.len() != self.inputs.len() {
            return Err(RunFailure::inputs(format!(
                "{} inputs for a model of {}",
                run.inputs.len(),
                self.inputs.len()
            )));
        }
        let allocator = self.session.allocator();
        for (tensor, placed) in self.inputs.iter_mut().zip(&run.inputs) {
            load_input(tensor, placed, slot, allocator)?;
        }
        let values: Vec<SessionInputValue<'_>> = self
            .inputs
            .iter()
            .flatten()
            .map(|tensor| tensor.view().into())
            .collect();
        let outputs = self.session.run(values.as_slice())?;
        let values: Vec<_> = outputs.values().collect();
        let mut end = 0;
        let placed = run
            .outputs
            .iter()
            .map(|&index| {
                let value = usize::try_from(index)
                    .ok()
                    .and_then(|index| values.get(index))
                    .ok_or_else(|| RunFailure::model(format!("no output {index}")))?;
                let placed = store_output(value, end, slot)?;
                end = aligned(placed.offset + placed.length);
                Ok(placed)
            })
            .collect();
        drop(values);
        drop(outputs);
        self.forget_large_inputs();
        placed
    }

    /// Drops kept tensors that together are more than a slot keeps.
    fn forget_large_inputs(&mut self) {
        let kept: usize = self
            .inputs
            .iter()
            .flatten()
            .filter_map(|tensor| tensor.size())
            .sum();
        if kept > SLOT_BYTES_KEPT {
            self.inputs.fill_with(|| None);
        }
    }
}

/// Makes `tensor` hold the bytes of `placed`, reusing its memory when the shape is the same.
fn load_input(
    tensor: &mut Option<DynTensor>,
    placed: &Placed,
    slot: &Slot,
    allocator: &Allocator,
) -> Result<(), RunFailure> {
    let element = element_type_of(placed.datatype)
        .ok_or_else(|| RunFailure::inputs(format!("datatype {}", placed.datatype)))?;
    let shape = placed
        .shape
        .iter()
        .map(|&dim| i64::try_from(dim).map_err(RunFailure::inputs))
        .collect::<Result<Vec<i64>, _>>()?;
    let reusable = tensor
        .as_ref()
        .is_some_and(|tensor| **tensor.shape() == *shape && *tensor.data_type() == element);
    if !reusable {
        *tensor = Some(DynTensor::new(allocator, element, shape)?);
    }
    let tensor = tensor.as_mut().expect("just made if it was not there");
    copy_in(tensor, placed, slot)
}

/// Copies one output into the slot at `offset`.
fn store_output(value: &DynValue, offset: u64, slot: &mut Slot) -> Result<Placed, RunFailure> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(RunFailure::model(format!("output is {}", value.dtype())));
    };
    let datatype = datatype_of(*ty)
        .filter(|datatype| *datatype != Datatype::Bytes)
        .ok_or_else(|| RunFailure::model(format!("output of type {ty} is not supported")))?;
    let shape = shape
        .iter()
        .map(|&dim| u64::try_from(dim).map_err(RunFailure::model))
        .collect::<Result<_, _>>()?;
    let length = copy_out(value, datatype, offset, slot)?;
    Ok(Placed {
        datatype,
        shape,
        offset,
        length,
    })
}

/// An input or output as the model declares it.
fn port(outlet: &Outlet) -> Port {
    let kind = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => match datatype_of(*ty) {
            Some(datatype) => PortKind::Tensor {
                datatype,
                shape: shape.to_vec(),
            },
            None => PortKind::Unsupported(format!("tensor of {ty}")),
        },
        other @ (ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_)) => {
            PortKind::Unsupported(shortened(other.to_string()))
        }
    };
    Port {
        name: outlet.name().to_owned(),
        kind,
    }
}
