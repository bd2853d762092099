//! What a stateful model remembers: for each sequence, the outputs of its last request that are inputs of its next one.

use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynTensor, DynValue};

use super::element::{element_type_of, fill_with_zeros};
use super::inputs::Inputs;
use crate::worker::protocol::{StatePort, StateUse};
use crate::worker::sequences::SEQUENCES_MAX;

/// The states of all sequences.
pub(super) struct States {
    list: Vec<State>,
    /// By place; for each state, in the order of `list`, its value after the last request.
    remembered: Vec<Option<Vec<DynValue>>>,
}

struct State {
    /// Which input of the session.
    input: usize,
    /// Its name in the session.
    output: String,
    /// What a sequence begins with.
    zeros: DynTensor,
}

impl States {
    /// The states that the model really has; the agent refuses a manifest that lists others.
    pub(super) fn of(
        session: &Session,
        inputs: &Inputs,
        ports: &[StatePort],
    ) -> Result<Self, ort::Error> {
        let mut list = Vec::with_capacity(ports.len());
        for port in ports {
            let output = session
                .outputs()
                .iter()
                .any(|outlet| outlet.name() == port.output);
            if let Some(input) = inputs.position(&port.input).filter(|_| output) {
                list.push(State {
                    input,
                    output: port.output.clone(),
                    zeros: zeros(port, session.allocator())?,
                });
            }
        }
        Ok(Self {
            list,
            remembered: Vec::new(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value of an input that is a state.
    pub(super) fn value(
        &self,
        input: usize,
        using: Option<StateUse>,
    ) -> Option<SessionInputValue<'_>> {
        let number = self.list.iter().position(|state| state.input == input)?;
        let remembered = using
            .filter(|using| !using.begin)
            .and_then(|using| self.remembered.get(usize::from(using.place))?.as_ref());
        Some(match remembered {
            Some(values) => values[number].view().into(),
            None => self.list[number].zeros.view().into(),
        })
    }

    /// Takes the new state of a sequence out of the outputs.
    pub(super) fn taken_from(&self, found: &mut SessionOutputs<'_>) -> Vec<DynValue> {
        self.list
            .iter()
            .filter_map(|state| found.remove(&state.output))
            .collect()
    }

    /// Remembers the new state of a sequence, or forgets the sequence at its end.
    pub(super) fn keep(&mut self, using: Option<StateUse>, values: Vec<DynValue>) {
        let Some(using) = using.filter(|using| usize::from(using.place) < SEQUENCES_MAX) else {
            return;
        };
        let place = usize::from(using.place);
        if self.remembered.len() <= place {
            self.remembered.resize_with(place + 1, || None);
        }
        let complete = values.len() == self.list.len() && !using.end;
        self.remembered[place] = complete.then_some(values);
    }
}

fn zeros(port: &StatePort, allocator: &Allocator) -> Result<DynTensor, ort::Error> {
    let element =
        element_type_of(port.datatype).ok_or_else(|| ort::Error::new("a state of byte strings"))?;
    let shape: Vec<i64> = port.shape.iter().map(|&dim| dim as i64).collect();
    let mut tensor = DynTensor::new(allocator, element, shape)?;
    fill_with_zeros(&mut tensor, port.datatype)?;
    Ok(tensor)
}
