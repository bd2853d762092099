//! Inputs of the session: what they are, and tensors that are kept for the next request of the same shape.

use edge_ipc::Slot;
use millwright_package::Datatype;
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, ValueType};
use smallvec::SmallVec;

use super::element::{copy_in, element_type_of, strings_in};
use super::outputs::tensor_kind;
use super::run::RunFailure;
use super::state::States;
use crate::worker::protocol::{
    MESSAGE_AREA, Placed, Port, PortKind, Run, SLOT_BYTES_KEPT, shortened,
};

/// Inputs of a run that need no memory from the heap: as many as ONNX Runtime's binding itself holds that way.
const IN_PLACE: usize = 6;

/// The values of a run, in the order of the session.
pub(super) type Values<'a> = SmallVec<[SessionInputValue<'a>; IN_PLACE]>;

/// The inputs of a session; after them, the initial values that a request may replace.
pub(super) struct Inputs {
    list: Vec<Input>,
    /// How many are inputs proper.
    proper: usize,
}

struct Input {
    port: Port,
    /// The tensor of the last request that gave it.
    kept: Option<DynTensor>,
}

impl Inputs {
    pub(super) fn of(session: &Session) -> Self {
        let input = |name: &str, dtype: &ValueType, optional| Input {
            port: Port {
                name: name.to_owned(),
                kind: kind(dtype),
                optional,
            },
            kept: None,
        };
        let proper = session.inputs().iter();
        let mut list: Vec<Input> = proper
            .map(|outlet| input(outlet.name(), outlet.dtype(), false))
            .collect();
        let proper = list.len();
        let replaceable = session.overridable_initializers();
        list.extend(
            replaceable
                .iter()
                .map(|own| input(own.name(), own.dtype(), true)),
        );
        Self { list, proper }
    }

    pub(super) fn ports(&self) -> Vec<Port> {
        self.list.iter().map(|input| input.port.clone()).collect()
    }

    /// Where the input called `name` is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|input| input.port.name == name)
    }

    /// Copies the inputs of a request into tensors. `true`: all of them have the types and shapes of the last request.
    pub(super) fn load(
        &mut self,
        run: &Run,
        slot: &Slot,
        allocator: &Allocator,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, RunFailure> {
        if run.inputs.len() != self.list.len() {
            let (found, expected) = (run.inputs.len(), self.list.len());
            return Err(RunFailure::inputs(format!(
                "{found} inputs for a model of {expected}"
            )));
        }
        let mut same = true;
        for (input, placed) in self.list.iter_mut().zip(&run.inputs) {
            if let Some(placed) = placed {
                same &= input.load(placed, slot, allocator, scratch)?;
            }
        }
        Ok(same)
    }

    /// The values of a request in the order of the session. `None`: it also replaces initial values, which have to be given
    /// by name.
    pub(super) fn values<'a>(
        &'a self,
        run: &Run,
        states: &'a States,
    ) -> Result<Option<Values<'a>>, RunFailure> {
        if run.inputs[self.proper..].iter().any(Option::is_some) {
            return Ok(None);
        }
        let mut values = Values::new();
        for index in 0..self.proper {
            values.push(self.value(index, run, states)?);
        }
        Ok(Some(values))
    }

    /// The values of a request by name.
    pub(super) fn named_values<'a>(
        &'a self,
        run: &Run,
        states: &'a States,
    ) -> Result<Vec<(String, SessionInputValue<'a>)>, RunFailure> {
        let given = |index: &usize| *index < self.proper || run.inputs[*index].is_some();
        (0..self.list.len())
            .filter(given)
            .map(|index| {
                let name = self.list[index].port.name.clone();
                Ok((name, self.value(index, run, states)?))
            })
            .collect()
    }

    fn value<'a>(
        &'a self,
        index: usize,
        run: &Run,
        states: &'a States,
    ) -> Result<SessionInputValue<'a>, RunFailure> {
        let input = &self.list[index];
        if let Some(state) = states.value(index, run.state) {
            return Ok(state);
        }
        match (&input.kept, &run.inputs[index]) {
            (Some(tensor), Some(_)) => Ok(tensor.view().into()),
            (None, _) | (_, None) => {
                let name = &input.port.name;
                Err(RunFailure::inputs(format!("input `{name}` is missing")))
            }
        }
    }

    /// Drops kept tensors that together are more than a slot keeps.
    pub(super) fn forget_large(&mut self) {
        let kept = self
            .list
            .iter()
            .filter_map(|input| input.kept.as_ref()?.size());
        if kept.sum::<usize>() > SLOT_BYTES_KEPT {
            self.list.iter_mut().for_each(|input| input.kept = None);
        }
    }
}

impl Input {
    /// Makes `kept` hold the bytes of `placed`; `true` when its memory could be used again.
    fn load(
        &mut self,
        placed: &Placed,
        slot: &Slot,
        allocator: &Allocator,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, RunFailure> {
        if placed.datatype == Datatype::Bytes {
            scratch.clear();
            slot.append_to(MESSAGE_AREA as u64 + placed.offset, placed.length, scratch)
                .map_err(RunFailure::inputs)?;
            self.kept = Some(strings_in(scratch, &placed.shape, allocator)?);
            return Ok(false);
        }
        let element = element_type_of(placed.datatype)
            .ok_or_else(|| RunFailure::inputs(format!("datatype {}", placed.datatype)))?;
        let same = self.kept.as_ref().is_some_and(|kept| {
            *kept.data_type() == element
                && kept.shape().len() == placed.shape.len()
                && kept
                    .shape()
                    .iter()
                    .zip(&*placed.shape)
                    .all(|(&one, &other)| one == other as i64)
        });
        if !same {
            let shape: Vec<i64> = placed.shape.iter().map(|&dim| dim as i64).collect();
            self.kept = Some(DynTensor::new(allocator, element, shape)?);
        }
        let tensor = self.kept.as_mut().expect("just made if it was not there");
        copy_in(tensor, placed, slot, scratch)?;
        Ok(same)
    }
}

fn kind(dtype: &ValueType) -> PortKind {
    tensor_kind(dtype).unwrap_or_else(|| PortKind::Unsupported(shortened(dtype.to_string())))
}
