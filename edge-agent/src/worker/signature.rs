//! What a model takes and gives: agreement of model and manifest, and checking each request against it.

use std::sync::Arc;

use millwright_package::{Datatype, Dim, Manifest, StateSpec, TensorSpec};
use millwright_proto::ids::ModelVersion;
use thiserror::Error;

use super::call::{Call, Request};
use super::protocol::{Placed, Port, PortKind, Ports, SLOT_BYTES, Shape, aligned};
use super::tensor::{InferError, OutputSelection, TensorRef, byte_length, string_count};

/// Model and manifest disagree.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The manifest names a tensor the model does not have.
    #[error("model.yaml lists {side} `{name}`, which the model does not have; it has {found}")]
    Missing {
        /// `input` or `output`.
        side: &'static str,
        /// As in the manifest.
        name: String,
        /// The names the model has.
        found: String,
    },
    /// The model needs an input the manifest does not name.
    #[error("the model needs input `{0}`, which model.yaml does not list")]
    Unlisted(String),
    /// Same name, another type or shape.
    #[error("{side} `{name}`: model.yaml says {expected}, the model has {found}")]
    Differs {
        /// `input` or `output`.
        side: &'static str,
        /// The tensor.
        name: String,
        /// As in the manifest, for example `FP32 [1, 3, -1, -1]`.
        expected: String,
        /// As in the model.
        found: String,
    },
    /// An input that the model has no value of its own for.
    #[error(
        "input `{0}` is optional in model.yaml, but the model has no value of its own for it: remove `optional`"
    )]
    NotOptional(String),
}

/// The agreed inputs and outputs of one loaded model.
#[derive(Debug)]
pub(crate) struct Signature {
    model: ModelVersion,
    manifest: Arc<Manifest>,
    /// For each input port, its index in the manifest; `None` for a state and for one that no request gives.
    inputs: Vec<Option<usize>>,
    /// For each output of the manifest, the number of its port.
    outputs: Vec<u32>,
}

impl Signature {
    /// Compares the model's own declaration with its manifest.
    pub(super) fn agree(manifest: Arc<Manifest>, ports: &Ports) -> Result<Self, SignatureError> {
        for spec in &manifest.inputs {
            let port = agree_on("input", spec, &ports.inputs)?;
            if spec.optional && !ports.inputs[port as usize].optional {
                return Err(SignatureError::NotOptional(spec.name.clone()));
            }
        }
        for state in &manifest.state {
            agree_on("input", &state_spec(state, &state.input), &ports.inputs)?;
            agree_on("output", &state_spec(state, &state.output), &ports.outputs)?;
        }
        let inputs = ports
            .inputs
            .iter()
            .map(|port| {
                let listed = position(&manifest.inputs, &port.name);
                let state = manifest.state.iter().any(|state| state.input == port.name);
                if listed.is_none() && !state && !port.optional {
                    return Err(SignatureError::Unlisted(port.name.clone()));
                }
                Ok(listed)
            })
            .collect::<Result<_, _>>()?;
        let outputs = manifest
            .outputs
            .iter()
            .map(|spec| agree_on("output", spec, &ports.outputs))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            model: manifest.model_version(),
            manifest,
            inputs,
            outputs,
        })
    }

    /// Checks a request and decides where each of its tensors lies.
    pub(super) fn plan(&self, request: &Request<'_>, call: &mut Call) -> Result<(), InferError> {
        call.begin(&self.manifest);
        self.check_names(request.tensors)?;
        let mut end = 0;
        for &index in &self.inputs {
            let source = index.and_then(|index| {
                let name = &self.manifest.inputs[index].name;
                request
                    .tensors
                    .iter()
                    .position(|tensor| tensor.name == name)
            });
            call.sources.push(source);
            let (Some(index), Some(source)) = (index, source) else {
                self.check_left_out(index)?;
                call.run.inputs.push(None);
                continue;
            };
            let tensor = &request.tensors[source];
            let placed = place(&self.manifest.inputs[index], tensor, end)?;
            end = aligned(
                placed
                    .offset
                    .saturating_add(placed.length)
                    .min(u64::MAX / 2),
            );
            if end > SLOT_BYTES as u64 {
                let lengths = request
                    .tensors
                    .iter()
                    .map(|tensor| tensor.data.len() as u64);
                return Err(InferError::TooLarge {
                    bytes: lengths.sum(),
                    limit: SLOT_BYTES as u64,
                });
            }
            call.run.inputs.push(Some(placed));
        }
        self.select(request.outputs, &mut call.wanted)?;
        call.returned = call.wanted.len();
        if let Some(confidence) = self.confidence_output()
            && !call.wanted.contains(&confidence)
        {
            call.wanted.push(confidence);
        }
        let ports = call.wanted.iter().map(|&index| self.outputs[index]);
        call.run.outputs.extend(ports);
        Ok(())
    }

    /// Each input is known and given once.
    fn check_names(&self, tensors: &[TensorRef<'_>]) -> Result<(), InferError> {
        for (index, tensor) in tensors.iter().enumerate() {
            if self.manifest.input(tensor.name).is_none() {
                return Err(InferError::UnknownInput {
                    model: self.model.clone(),
                    input: tensor.name.to_owned(),
                    known: names(self.manifest.inputs.iter().map(|spec| &spec.name)),
                });
            }
            if tensors[..index]
                .iter()
                .any(|other| other.name == tensor.name)
            {
                return Err(InferError::DuplicateInput(tensor.name.to_owned()));
            }
        }
        Ok(())
    }

    /// An input that the request does not give is a state, optional, or missing.
    fn check_left_out(&self, index: Option<usize>) -> Result<(), InferError> {
        match index.map(|index| &self.manifest.inputs[index]) {
            Some(spec) if !spec.optional => Err(InferError::MissingInput {
                model: self.model.clone(),
                input: spec.name.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Index in the manifest of the output that the confidence is read from.
    pub(super) fn confidence_output(&self) -> Option<usize> {
        let confidence = self.manifest.confidence.as_ref()?;
        position(&self.manifest.outputs, &confidence.output)
    }

    fn select(&self, selection: &OutputSelection, into: &mut Vec<usize>) -> Result<(), InferError> {
        match selection {
            OutputSelection::All => into.extend(0..self.outputs.len()),
            OutputSelection::Named(wanted) => {
                for name in wanted {
                    let index = position(&self.manifest.outputs, name);
                    into.push(index.ok_or_else(|| InferError::UnknownOutput {
                        model: self.model.clone(),
                        output: name.clone(),
                        known: names(self.manifest.outputs.iter().map(|spec| &spec.name)),
                    })?);
                }
            }
        }
        Ok(())
    }
}

/// Checks one tensor against the manifest; says where it lies if it begins at `offset`.
fn place(spec: &TensorSpec, tensor: &TensorRef<'_>, offset: u64) -> Result<Placed, InferError> {
    if tensor.datatype != spec.datatype {
        return Err(InferError::Datatype {
            input: spec.name.clone(),
            expected: spec.datatype,
            found: tensor.datatype,
        });
    }
    let shape = Shape::new(tensor.shape).filter(|shape| spec.admits(shape));
    let Some(shape) = shape else {
        return Err(InferError::Shape {
            input: spec.name.clone(),
            expected: format!("{:?}", spec.dims()),
            found: format!("{:?}", tensor.shape),
        });
    };
    check_length(spec, tensor)?;
    Ok(Placed {
        datatype: tensor.datatype,
        shape,
        offset,
        length: tensor.data.len() as u64,
    })
}

fn check_length(spec: &TensorSpec, tensor: &TensorRef<'_>) -> Result<(), InferError> {
    if tensor.datatype == Datatype::Bytes {
        let expected = tensor
            .shape
            .iter()
            .try_fold(1_usize, |all, &dim| all.checked_mul(dim));
        if expected.is_some() && string_count(tensor.data) == expected {
            return Ok(());
        }
        return Err(InferError::Strings {
            input: spec.name.clone(),
            expected: expected.unwrap_or(usize::MAX),
        });
    }
    let expected = byte_length(tensor.datatype, tensor.shape);
    if expected == Some(tensor.data.len()) {
        return Ok(());
    }
    Err(InferError::Size {
        input: spec.name.clone(),
        expected: expected.map_or(u64::MAX, |bytes| bytes as u64),
        found: tensor.data.len() as u64,
    })
}

/// A state as the manifest would list it among inputs or outputs.
fn state_spec(state: &StateSpec, name: &str) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        datatype: state.datatype,
        shape: state.shape.iter().copied().map(Dim::Fixed).collect(),
        optional: false,
    }
}

/// Finds the model's port for a tensor of the manifest and compares them; returns the port's index.
fn agree_on(side: &'static str, spec: &TensorSpec, ports: &[Port]) -> Result<u32, SignatureError> {
    let found = ports
        .iter()
        .zip(0_u32..)
        .find(|(port, _)| port.name == spec.name);
    let Some((port, index)) = found else {
        return Err(SignatureError::Missing {
            side,
            name: spec.name.clone(),
            found: names(ports.iter().map(|port| &port.name)),
        });
    };
    let agrees = match &port.kind {
        PortKind::Tensor { datatype, shape } => {
            *datatype == spec.datatype && shapes_agree(side, spec, shape)
        }
        PortKind::Unsupported(_) => false,
    };
    if agrees {
        return Ok(index);
    }
    Err(SignatureError::Differs {
        side,
        name: spec.name.clone(),
        expected: format!("{} {:?}", spec.datatype, spec.dims()),
        found: match &port.kind {
            PortKind::Tensor { datatype, shape } => format!("{datatype} {shape:?}"),
            PortKind::Unsupported(what) => what.clone(),
        },
    })
}

/// A manifest may fix what the model leaves open, never the other way round. Exporters often leave the
/// shape of an output out, which ONNX Runtime reports as no dimensions.
fn shapes_agree(side: &str, spec: &TensorSpec, found: &[i64]) -> bool {
    let fits = |(dim, &found): (&Dim, &i64)| match (dim, found) {
        (_, -1) => true,
        (Dim::Fixed(length), found) => i64::from(length.get()) == found,
        (Dim::Dynamic, _) => side == "output",
    };
    let unknown = side == "output" && found.is_empty();
    unknown || (spec.shape.len() == found.len() && spec.shape.iter().zip(found).all(fits))
}

fn position(specs: &[TensorSpec], name: &str) -> Option<usize> {
    specs.iter().position(|spec| spec.name == name)
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
