//! One run of the session, and using the output tensors of the last one again.

use edge_ipc::Slot;
use ort::memory::Allocator;
use ort::session::HasSelectedOutputs;
use ort::session::{OutputSelector, RunOptions, Session, SessionOutputs};
use ort::value::{DynTensor, TensorElementType, ValueType};

use super::Model;
use super::inputs::Values;
use super::outputs::Outputs;
use super::state::States;
use crate::worker::protocol::{Cause, Placed, Run, SLOT_BYTES_KEPT};

/// Why a run has no outputs.
#[derive(Debug)]
pub(crate) struct RunFailure {
    /// Whose fault it is.
    pub cause: Cause,
    /// For people.
    pub message: String,
}

impl RunFailure {
    pub(super) fn inputs(message: impl ToString) -> Self {
        Self {
            cause: Cause::Inputs,
            message: message.to_string(),
        }
    }

    pub(super) fn model(message: impl ToString) -> Self {
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

/// Whether ONNX Runtime may write outputs into tensors that are there already. The shapes of outputs follow from those of
/// the inputs for nearly every model, so they are expected to be those of the last request when the inputs are. A model of
/// which that turns out not to be true is never tried again.
pub(super) enum Reuse {
    /// Not this model.
    Never,
    /// Nothing is known of the shapes of the last request.
    Cold,
    /// What the outputs of the last request were.
    Learned(Vec<(TensorElementType, Vec<i64>)>),
    /// Tensors of those shapes.
    Ready(RunOptions<HasSelectedOutputs>),
}

impl Reuse {
    pub(super) fn of(outputs: &Outputs, states: &States) -> Self {
        if outputs.are_plain() && states.is_empty() {
            Self::Cold
        } else {
            Self::Never
        }
    }

    /// Gets ready for a request whose inputs have the shapes of the last one, or have not.
    fn prepare(
        &mut self,
        shapes: Shapes,
        names: &[String],
        allocator: &Allocator,
    ) -> Result<(), ort::Error> {
        match (&*self, shapes) {
            (Self::Never, _) | (Self::Cold | Self::Ready(_), Shapes::Same) => {}
            (Self::Cold | Self::Learned(_) | Self::Ready(_), Shapes::Other) => *self = Self::Cold,
            (Self::Learned(forms), Shapes::Same) => {
                let mut outputs = OutputSelector::default();
                for (name, (element, shape)) in names.iter().zip(forms) {
                    let tensor = DynTensor::new(allocator, *element, shape.clone())?;
                    outputs = outputs.preallocate(name, tensor);
                }
                *self = Self::Ready(RunOptions::new()?.with_outputs(outputs));
            }
        }
        Ok(())
    }

    /// Notes the outputs of a request that was computed without the help of earlier ones.
    fn learn(&mut self, found: &SessionOutputs<'_>) {
        if !matches!(self, Self::Cold) {
            return;
        }
        let mut bytes = 0_usize;
        let mut forms = Vec::with_capacity(found.len());
        for (_, value) in found.iter() {
            let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
                return;
            };
            let size = ty.byte_size(shape.num_elements()).unwrap_or(usize::MAX);
            bytes = bytes.saturating_add(size);
            if size == 0 || bytes > SLOT_BYTES_KEPT {
                return;
            }
            forms.push((*ty, shape.to_vec()));
        }
        *self = Self::Learned(forms);
    }
}

/// Whether the inputs of a request have the shapes of the last one.
#[derive(Clone, Copy)]
enum Shapes {
    Same,
    Other,
}

/// Where the outputs go.
struct Target<'a> {
    outputs: &'a Outputs,
    slot: &'a mut Slot,
    placed: &'a mut Vec<Placed>,
    scratch: &'a mut Vec<u8>,
}

impl Target<'_> {
    fn store(&mut self, run: &Run, found: &SessionOutputs<'_>) -> Result<(), RunFailure> {
        self.outputs
            .store(run, found, self.slot, self.placed, self.scratch)
    }
}

impl Model {
    /// Computes one request whose inputs lie in `slot`, and leaves the outputs there, in the order of `placed`.
    pub(crate) fn run(
        &mut self,
        run: &Run,
        slot: &mut Slot,
        placed: &mut Vec<Placed>,
    ) -> Result<(), RunFailure> {
        placed.clear();
        let allocator = self.session.allocator();
        let same = self.inputs.load(run, slot, allocator, &mut self.scratch)?;
        let shapes = if same { Shapes::Same } else { Shapes::Other };
        self.reuse
            .prepare(shapes, self.outputs.names(), allocator)?;
        let target = Target {
            outputs: &self.outputs,
            slot,
            placed,
            scratch: &mut self.scratch,
        };
        let new_state = match self.inputs.values(run, &self.states)? {
            Some(values) => {
                let (session, reuse) = (&mut self.session, &mut self.reuse);
                run_in_order(session, reuse, run, &values, &self.states, target)?
            }
            None => {
                let values = self.inputs.named_values(run, &self.states)?;
                let mut found = self.session.run(values)?;
                finish(run, &self.states, &mut found, target)?
            }
        };
        self.states.keep(run.state, new_state);
        self.inputs.forget_large();
        Ok(())
    }
}

/// Runs with the inputs in the order of the session; returns the new state.
fn run_in_order(
    session: &mut Session,
    reuse: &mut Reuse,
    run: &Run,
    values: &Values<'_>,
    states: &States,
    mut target: Target<'_>,
) -> Result<Vec<ort::value::DynValue>, RunFailure> {
    if let Reuse::Ready(options) = reuse {
        if let Ok(found) = session.run_with_options(values.as_slice(), options) {
            target.store(run, &found)?;
            return Ok(Vec::new());
        }
        // Either the request fails again, for its own reasons, or the shapes of the outputs depend on more than those of the
        // inputs.
        let mut found = session.run(values.as_slice())?;
        *reuse = Reuse::Never;
        return finish(run, states, &mut found, target);
    }
    let mut found = session.run(values.as_slice())?;
    reuse.learn(&found);
    finish(run, states, &mut found, target)
}

/// Copies the outputs, then takes the new state out of them.
fn finish(
    run: &Run,
    states: &States,
    found: &mut SessionOutputs<'_>,
    mut target: Target<'_>,
) -> Result<Vec<ort::value::DynValue>, RunFailure> {
    target.store(run, found)?;
    Ok(states.taken_from(found))
}
