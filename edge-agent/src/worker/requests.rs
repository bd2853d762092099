//! The way of one request through a worker: checked, copied into shared memory, computed, copied out and checked again.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use edge_core::summary::reduce;
use millwright_package::{Datatype, Dim, Reduce};

use super::batching::Batcher;
use super::ipc::Lease;
use super::protocol::{self, Cause, Placed};
use super::sequences::{Hold, Refused};
use super::tensor::{byte_length, string_count};
use super::{
    Call, InferError, InferInput, InferOutput, OutputSelection, Request, SEQUENCE_IDLE_LIMIT,
    Tensor, TensorRef, Timing, Worker, numbers,
};

/// Length given to dynamic dimensions when a worker is warmed without a golden set.
const WARM_DIM: usize = 1;

/// Whether a run is counted among the requests, or belongs to some that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Needed,
    Given,
}

impl Worker {
    /// Computes one request; together with others that come at the same time, where the manifest allows it.
    ///
    /// # Errors
    /// [`InferError`] says whether the request, the model or the worker is at fault.
    pub async fn infer(&self, input: &InferInput) -> Result<InferOutput, InferError> {
        if let Some(batcher) = &self.batcher
            && let Some(rows) = batcher.rows(input)
        {
            self.check(input)?;
            let _in_flight = self.lane.admit()?;
            return batcher.infer(self, input, rows).await;
        }
        self.run(input, Admission::Needed).await
    }

    /// Requests that were answered by the run of another one.
    #[must_use]
    pub fn runs_saved(&self) -> u64 {
        self.batcher.as_ref().map_or(0, Batcher::runs_saved)
    }

    /// Whether a request fits the model, before it is joined with others.
    fn check(&self, input: &InferInput) -> Result<(), InferError> {
        let tensors: Vec<TensorRef<'_>> = input.tensors.iter().map(Tensor::as_ref).collect();
        let request = Request {
            tensors: &tensors,
            outputs: &input.outputs,
            sequence: None,
        };
        self.signature.plan(&request, &mut Call::default())
    }

    pub(super) async fn run(
        &self,
        input: &InferInput,
        admission: Admission,
    ) -> Result<InferOutput, InferError> {
        let tensors: Vec<TensorRef<'_>> = input.tensors.iter().map(Tensor::as_ref).collect();
        let request = Request {
            tensors: &tensors,
            outputs: &input.outputs,
            sequence: input.sequence.as_ref(),
        };
        let mut call = Call::default();
        let _hold = self.plan(&request, &mut call)?;
        let _in_flight = match admission {
            Admission::Needed => Some(self.lane.admit()?),
            Admission::Given => None,
        };
        let called = Instant::now();
        let mut lease = self.lane.lease().await?;
        let queue = called.elapsed();
        self.fill(&mut lease, &request, &mut call)?;
        let answered = self.lane.submit(lease)?.answered().await;
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.collect(answered?, &mut call)?;
        let infer = called.elapsed().saturating_sub(queue);
        call.timing = Timing { queue, infer };
        call.into_output()
            .ok_or_else(|| self.nonsense("nothing".to_owned()))
    }

    /// Computes one request on a thread that runs no tasks, in buffers of the caller's. The shortest way to the model: the
    /// thread sleeps until the worker itself wakes it, and once `call` has grown to the size of the model's outputs,
    /// nothing is taken from the heap.
    ///
    /// # Errors
    /// As [`Worker::infer`]; `call` has no outputs then.
    ///
    /// # Panics
    /// When every slot is taken and this is called from a task.
    pub fn infer_blocking(&self, request: &Request<'_>, call: &mut Call) -> Result<(), InferError> {
        let result = self.compute(request, call);
        if result.is_err() {
            call.placed.clear();
        }
        result
    }

    fn compute(&self, request: &Request<'_>, call: &mut Call) -> Result<(), InferError> {
        let _hold = self.plan(request, call)?;
        let _in_flight = self.lane.admit()?;
        let called = Instant::now();
        let mut lease = self.lane.lease_blocking()?;
        let queue = called.elapsed();
        self.fill(&mut lease, request, call)?;
        let answered = self.lane.submit(lease)?.answered_blocking();
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.collect(answered?, call)?;
        let infer = called.elapsed().saturating_sub(queue);
        call.timing = Timing { queue, infer };
        Ok(())
    }

    /// Checks a request, and holds its sequence for as long as the request takes.
    fn plan<'a>(
        &'a self,
        request: &Request<'a>,
        call: &mut Call,
    ) -> Result<Option<Hold<'a>>, InferError> {
        self.signature.plan(request, call)?;
        let (Some(sequences), Some(sequence)) = (&self.sequences, request.sequence) else {
            return Ok(None);
        };
        let model = || self.spec.model.clone();
        let hold = sequences
            .hold(sequence, Instant::now())
            .map_err(|refused| match refused {
                Refused::Unknown => InferError::UnknownSequence {
                    model: model(),
                    sequence: sequence.id.clone(),
                    idle_s: SEQUENCE_IDLE_LIMIT.as_secs(),
                },
                Refused::Full(running) => InferError::SequencesFull {
                    model: model(),
                    running,
                },
            })?;
        call.run.state = Some(hold.state);
        Ok(Some(hold))
    }

    /// Copies inputs and message into shared memory.
    fn fill(
        &self,
        lease: &mut Lease,
        request: &Request<'_>,
        call: &mut Call,
    ) -> Result<(), InferError> {
        for (placed, source) in call.run.inputs.iter().zip(&call.sources) {
            if let (Some(placed), Some(source)) = (placed, source) {
                lease.write(placed, request.tensors[*source].data);
            }
        }
        lease
            .write_run(&mut call.run)
            .map_err(|error| self.lane.failure(Cause::Inputs, error.to_string()))
    }

    /// Copies the outputs out of shared memory and checks the worker's word on each.
    fn collect(&self, mut lease: Lease, call: &mut Call) -> Result<(), InferError> {
        self.lane.read_reply(&mut lease, &mut call.placed)?;
        if call.placed.len() != call.wanted.len() {
            let (found, expected) = (call.placed.len(), call.wanted.len());
            return Err(self.nonsense(format!("{found} outputs instead of {expected}")));
        }
        for (placed, &index) in call.placed.iter().zip(&call.wanted) {
            let start = call.data.len();
            if !lease.append_to(placed, &mut call.data) {
                let name = &self.spec.manifest.outputs[index].name;
                return Err(self.nonsense(format!("output `{name}` outside its slot")));
            }
            self.check_output(index, placed, &call.data[start..])?;
        }
        drop(lease);
        call.confidence = self.confidence(call);
        Ok(())
    }

    fn check_output(&self, index: usize, placed: &Placed, data: &[u8]) -> Result<(), InferError> {
        let spec = &self.spec.manifest.outputs[index];
        let fills = if placed.datatype == Datatype::Bytes {
            let count = placed
                .shape
                .iter()
                .try_fold(1_usize, |all, &dim| all.checked_mul(dim));
            count.is_some() && string_count(data) == count
        } else {
            byte_length(placed.datatype, &placed.shape) == Some(data.len())
        };
        if placed.datatype == spec.datatype && fills {
            return Ok(());
        }
        Err(self.nonsense(format!(
            "output `{}` as {} {:?} in {} bytes",
            spec.name, placed.datatype, placed.shape, placed.length
        )))
    }

    fn confidence(&self, call: &Call) -> Option<f64> {
        let confidence = self.spec.manifest.confidence.as_ref()?;
        let output = self.signature.confidence_output()?;
        let position = call.wanted.iter().position(|&index| index == output)?;
        confidence_of(confidence.reduce, call.output(position))
    }

    fn nonsense(&self, what: String) -> InferError {
        InferError::Failed {
            model: self.spec.model.clone(),
            message: format!("the worker answered with {what}"),
        }
    }

    /// Inputs of zeros in the smallest shape the manifest allows.
    pub(crate) fn zeros(&self) -> InferInput {
        let length = |dim: &Dim| match dim {
            Dim::Fixed(length) => usize::try_from(length.get()).unwrap_or(usize::MAX),
            Dim::Dynamic => WARM_DIM,
        };
        let tensors = self.spec.manifest.inputs.iter().filter_map(|spec| {
            let shape: Vec<usize> = spec.shape.iter().map(length).collect();
            // Empty strings: four bytes of length for each.
            let counted = match spec.datatype {
                Datatype::Bytes => Datatype::Uint32,
                sized => sized,
            };
            let bytes = byte_length(counted, &shape)?;
            (bytes <= protocol::SLOT_BYTES).then(|| Tensor {
                name: spec.name.clone(),
                datatype: spec.datatype,
                shape,
                data: Bytes::from(vec![0; bytes]),
            })
        });
        InferInput {
            tensors: tensors.collect(),
            outputs: OutputSelection::All,
            sequence: None,
        }
    }
}

/// The one number of an output's elements, as the manifest says.
pub(super) fn confidence_of(reduce_by: Reduce, output: TensorRef<'_>) -> Option<f64> {
    reduce(reduce_by, numbers::of(output.datatype, output.data))
}
