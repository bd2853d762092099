//! What a model takes and gives: agreement of model and manifest, and checking each request against it.

use std::sync::Arc;

use bytes::Bytes;
use millwright_package::{Datatype, Dim, Manifest, TensorSpec};
use millwright_proto::ids::ModelVersion;
use thiserror::Error;

use super::protocol::{Placed, Port, PortKind, Ports, SLOT_BYTES, aligned};
use super::tensor::{InferError, InferInput, OutputSelection, Tensor, byte_length};

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
    /// A type of element that requests cannot carry yet.
    #[error("{side} `{name}` has datatype BYTES, which this agent does not pass to models yet")]
    Bytes {
        /// `input` or `output`.
        side: &'static str,
        /// The tensor.
        name: String,
    },
}

/// The agreed inputs and outputs of one loaded model.
#[derive(Debug)]
pub(crate) struct Signature {
    model: ModelVersion,
    manifest: Arc<Manifest>,
    /// For each input of the session, its index in the manifest.
    inputs: Vec<usize>,
    /// For each output of the manifest, its index in the session.
    outputs: Vec<u32>,
}

/// A request that was found good.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// In the order of the session.
    pub inputs: Vec<(Placed, &'a Bytes)>,
    /// Indices in the manifest, in the order asked for; then what only the agent itself needs.
    pub outputs: Vec<usize>,
    /// How many of `outputs` were asked for.
    pub returned: usize,
}

impl Signature {
    /// Compares the model's own declaration with its manifest.
    pub(super) fn agree(manifest: Arc<Manifest>, ports: &Ports) -> Result<Self, SignatureError> {
        for spec in &manifest.inputs {
            agree_on("input", spec, &ports.inputs)?;
        }
        let inputs = ports
            .inputs
            .iter()
            .map(|port| {
                position(&manifest.inputs, &port.name)
                    .ok_or_else(|| SignatureError::Unlisted(port.name.clone()))
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

    /// The session's indices of outputs given by their index in the manifest.
    pub(super) fn session_outputs(&self, outputs: &[usize]) -> Vec<u32> {
        outputs.iter().map(|&index| self.outputs[index]).collect()
    }

    /// Checks a request and decides where each of its tensors lies.
    pub(super) fn plan<'a>(&self, input: &'a InferInput) -> Result<Plan<'a>, InferError> {
        for (index, tensor) in input.tensors.iter().enumerate() {
            if self.manifest.input(&tensor.name).is_none() {
                return Err(InferError::UnknownInput {
                    model: self.model.clone(),
                    input: tensor.name.clone(),
                    known: names(self.manifest.inputs.iter().map(|spec| &spec.name)),
                });
            }
            if input.tensors[..index]
                .iter()
                .any(|other| other.name == tensor.name)
            {
                return Err(InferError::DuplicateInput(tensor.name.clone()));
            }
        }
        let mut end = 0;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for &index in &self.inputs {
            let spec = &self.manifest.inputs[index];
            let tensor = input
                .tensors
                .iter()
                .find(|tensor| tensor.name == spec.name)
                .ok_or_else(|| InferError::MissingInput {
                    model: self.model.clone(),
                    input: spec.name.clone(),
                })?;
            let length = check_tensor(spec, tensor)?;
            let placed = Placed {
                datatype: tensor.datatype,
                shape: tensor.shape.iter().map(|&dim| dim as u64).collect(),
                offset: end,
                length,
            };
            end = aligned(placed.offset.saturating_add(length).min(u64::MAX / 2));
            if end > SLOT_BYTES as u64 {
                return Err(InferError::TooLarge {
                    bytes: input
                        .tensors
                        .iter()
                        .map(|tensor| tensor.data.len() as u64)
                        .sum(),
                    limit: SLOT_BYTES as u64,
                });
            }
            inputs.push((placed, &tensor.data));
        }
        let mut outputs = self.selected(&input.outputs)?;
        let returned = outputs.len();
        if let Some(confidence) = self.confidence_output()
            && !outputs.contains(&confidence)
        {
            outputs.push(confidence);
        }
        Ok(Plan {
            inputs,
            outputs,
            returned,
        })
    }

    /// Index in the manifest of the output that the confidence is read from.
    pub(super) fn confidence_output(&self) -> Option<usize> {
        let confidence = self.manifest.confidence.as_ref()?;
        position(&self.manifest.outputs, &confidence.output)
    }

    fn selected(&self, selection: &OutputSelection) -> Result<Vec<usize>, InferError> {
        match selection {
            OutputSelection::All => Ok((0..self.outputs.len()).collect()),
            OutputSelection::Named(wanted) => wanted
                .iter()
                .map(|name| {
                    position(&self.manifest.outputs, name).ok_or_else(|| {
                        InferError::UnknownOutput {
                            model: self.model.clone(),
                            output: name.clone(),
                            known: names(self.manifest.outputs.iter().map(|spec| &spec.name)),
                        }
                    })
                })
                .collect(),
        }
    }
}

/// Checks one tensor against the manifest; returns its length in bytes.
fn check_tensor(spec: &TensorSpec, tensor: &Tensor) -> Result<u64, InferError> {
    if tensor.datatype != spec.datatype {
        return Err(InferError::Datatype {
            input: spec.name.clone(),
            expected: spec.datatype,
            found: tensor.datatype,
        });
    }
    if !spec.admits(&tensor.shape) {
        return Err(InferError::Shape {
            input: spec.name.clone(),
            expected: format!("{:?}", spec.dims()),
            found: format!("{:?}", tensor.shape),
        });
    }
    let expected = byte_length(tensor.datatype, &tensor.shape);
    if expected != Some(tensor.data.len()) {
        return Err(InferError::Size {
            input: spec.name.clone(),
            expected: expected.map_or(u64::MAX, |bytes| bytes as u64),
            found: tensor.data.len() as u64,
        });
    }
    Ok(tensor.data.len() as u64)
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
    if spec.datatype == Datatype::Bytes {
        return Err(SignatureError::Bytes {
            side,
            name: spec.name.clone(),
        });
    }
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
