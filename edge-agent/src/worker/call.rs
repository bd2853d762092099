//! One request on its way through the agent, in buffers that the next request uses again.
//!
//! A [`Call`] is what a caller keeps: where inputs and outputs lie, and the bytes of the outputs. After a few requests
//! nothing in it grows any more, so a request of the same size takes no memory from the heap.

use std::sync::Arc;

use bytes::Bytes;
use millwright_package::Manifest;

use super::protocol::{Placed, Run};
use super::tensor::{InferOutput, OutputSelection, Sequence, Tensor, TensorRef, Timing};

/// One request, of tensors that the caller holds.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As [`super::InferInput::tensors`].
    pub tensors: &'a [TensorRef<'a>],
    /// What to return.
    pub outputs: &'a OutputSelection,
    /// As [`super::InferInput::sequence`].
    pub sequence: Option<&'a Sequence>,
}

/// Buffers of one caller: of the request, later of its answer.
#[derive(Debug, Default)]
pub struct Call {
    pub(super) run: Run,
    /// For each placed input of `run`, which tensor of the request it is.
    pub(super) sources: Vec<Option<usize>>,
    /// Indices in the manifest, in the order asked for; then what only the agent itself needs.
    pub(super) wanted: Vec<usize>,
    /// How many of `wanted` were asked for.
    pub(super) returned: usize,
    pub(super) placed: Vec<Placed>,
    /// The outputs one after another.
    pub(super) data: Vec<u8>,
    pub(super) confidence: Option<f64>,
    pub(super) timing: Timing,
    manifest: Option<Arc<Manifest>>,
}

impl Call {
    /// Forgets the last request.
    pub(super) fn begin(&mut self, manifest: &Arc<Manifest>) {
        self.run.inputs.clear();
        self.run.outputs.clear();
        self.run.state = None;
        self.sources.clear();
        self.wanted.clear();
        self.placed.clear();
        self.data.clear();
        self.confidence = None;
        if !self
            .manifest
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, manifest))
        {
            self.manifest = Some(Arc::clone(manifest));
        }
    }

    /// The outputs of the last request, in the order asked for; none after an error.
    pub fn outputs(&self) -> impl Iterator<Item = TensorRef<'_>> + '_ {
        (0..self.placed.len().min(self.returned)).map(|index| self.output(index))
    }

    /// The number the manifest's `confidence` made of one output.
    #[must_use]
    pub const fn confidence(&self) -> Option<f64> {
        self.confidence
    }

    /// Where the time of the last request went.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// One output, also one that only the agent itself needs.
    pub(super) fn output(&self, index: usize) -> TensorRef<'_> {
        let placed = &self.placed[index];
        let manifest = self.manifest.as_deref().expect("set before any output");
        let start = data_start(&self.placed[..index]);
        TensorRef {
            name: &manifest.outputs[self.wanted[index]].name,
            datatype: placed.datatype,
            shape: &placed.shape,
            data: &self.data[start..start + placed.length as usize],
        }
    }

    /// The answer as tensors that can be kept and sent on.
    pub(super) fn into_output(mut self) -> Option<InferOutput> {
        let data = Bytes::from(std::mem::take(&mut self.data));
        let manifest = self.manifest?;
        let mut start = 0;
        let mut tensors = Vec::with_capacity(self.returned);
        for (placed, &wanted) in self.placed.iter().zip(&self.wanted).take(self.returned) {
            let end = start + placed.length as usize;
            tensors.push(Tensor {
                name: manifest.outputs[wanted].name.clone(),
                datatype: placed.datatype,
                shape: placed.shape.to_vec(),
                data: data.slice(start..end),
            });
            start = end;
        }
        Some(InferOutput {
            model: manifest.model_version(),
            tensors,
            confidence: self.confidence,
            timing: self.timing,
        })
    }
}

/// Where the data after these outputs begin.
fn data_start(before: &[Placed]) -> usize {
    before.iter().map(|placed| placed.length as usize).sum()
}
