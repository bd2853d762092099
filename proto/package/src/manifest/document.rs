//! The manifest as it stands in YAML, and what has to hold before it is a [`Manifest`].

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use millwright_proto::ids::{ModelName, Version};
use serde::Deserialize;

use super::batching::BatchingRule;
use super::state::{self, State};
use super::{
    ANSWER_SECONDS_MAX, ANSWER_WITHIN, Arena, Confidence, Dim, GOLDEN_COUNT_MAX, Golden, Limits,
    Manifest, RANK_MAX, Reduce, TENSOR_COUNT_MAX, TENSOR_NAME_BYTES_MAX, TensorSpec,
};
use crate::{Datatype, PackagePath, Provider};

/// What is wrong with a value, and where.
#[derive(Debug)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) problem: String,
}

pub(super) fn refuse<T>(
    field: impl Into<String>,
    problem: impl Into<String>,
) -> Result<T, FieldError> {
    Err(FieldError {
        field: field.into(),
        problem: problem.into(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ModelPackage {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: ModelName,
    version: Version,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    license: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    file: PackagePath,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    #[serde(default)]
    state: Vec<State>,
    #[serde(default)]
    golden: Vec<GoldenSet>,
    #[serde(default)]
    confidence: Option<ConfidenceRule>,
    #[serde(default)]
    profile: Option<PackagePath>,
    #[serde(default)]
    batching: Option<BatchingRule>,
    #[serde(default)]
    limits: WorkerLimits,
    #[serde(default)]
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tensor {
    name: String,
    datatype: Datatype,
    shape: Vec<i64>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GoldenSet {
    file: PackagePath,
    #[serde(default)]
    absolute_tolerance: f64,
    #[serde(default)]
    relative_tolerance: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfidenceRule {
    output: String,
    reduce: Reduce,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WorkerLimits {
    #[serde(default)]
    memory_mib: Option<NonZeroU32>,
    #[serde(default)]
    threads: Option<NonZeroU16>,
    #[serde(default)]
    arena: Arena,
    #[serde(default)]
    answer_seconds: Option<NonZeroU32>,
}

impl WorkerLimits {
    fn check(self) -> Result<Limits, FieldError> {
        let answer_within = match self.answer_seconds.map(NonZeroU32::get) {
            None => ANSWER_WITHIN,
            Some(seconds) if seconds <= ANSWER_SECONDS_MAX => Duration::from_secs(seconds.into()),
            Some(seconds) => {
                let problem = format!("is {seconds}; at most {ANSWER_SECONDS_MAX} seconds");
                return refuse("spec.limits.answerSeconds", problem);
            }
        };
        Ok(Limits {
            memory_mib: self.memory_mib,
            threads: self.threads.unwrap_or(NonZeroU16::MIN),
            arena: self.arena,
            answer_within,
        })
    }
}

/// Each provider once.
fn providers(listed: Vec<Provider>) -> Result<Vec<Provider>, FieldError> {
    let mut seen = BTreeSet::new();
    for provider in &listed {
        if !seen.insert(*provider) {
            return refuse("spec.providers", format!("repeats `{provider}`"));
        }
    }
    Ok(listed)
}

impl ModelPackage {
    pub(super) fn check(self) -> Result<Manifest, FieldError> {
        if self.api_version != "millwright/v1" {
            return refuse(
                "apiVersion",
                format!("is `{}`; expected `millwright/v1`", self.api_version),
            );
        }
        if self.kind != "ModelPackage" {
            return refuse(
                "kind",
                format!("is `{}`; expected `ModelPackage`", self.kind),
            );
        }
        let inputs = tensors("spec.inputs", self.spec.inputs)?;
        let outputs = tensors("spec.outputs", self.spec.outputs)?;
        if let Some(index) = outputs.iter().position(|tensor| tensor.optional) {
            let problem = "is for inputs only: every output is there when it is asked for";
            return refuse(format!("spec.outputs[{index}].optional"), problem);
        }
        let batching = match self.spec.batching {
            None => None,
            Some(rule) => Some(rule.check(&inputs, &outputs, self.spec.state.is_empty())?),
        };
        Ok(Manifest {
            model: self.metadata.name,
            version: self.metadata.version,
            description: self.metadata.description,
            license: self.metadata.license,
            file: self.spec.file,
            state: state::check(self.spec.state, &inputs, &outputs)?,
            inputs,
            golden: golden_sets(self.spec.golden)?,
            confidence: self
                .spec
                .confidence
                .map(|rule| rule.check(&outputs))
                .transpose()?,
            outputs,
            profile: self.spec.profile,
            batching,
            limits: self.spec.limits.check()?,
            providers: providers(self.spec.providers)?,
        })
    }
}

fn tensors(field: &str, listed: Vec<Tensor>) -> Result<Vec<TensorSpec>, FieldError> {
    if listed.is_empty() || listed.len() > TENSOR_COUNT_MAX {
        let problem = format!(
            "lists {} tensors; expected 1 to {TENSOR_COUNT_MAX}",
            listed.len()
        );
        return refuse(field, problem);
    }
    let mut names = BTreeSet::new();
    let mut specs = Vec::with_capacity(listed.len());
    for (index, tensor) in listed.into_iter().enumerate() {
        let field = format!("{field}[{index}]");
        if !names.insert(tensor.name.clone()) {
            return refuse(
                format!("{field}.name"),
                format!("repeats `{}`", tensor.name),
            );
        }
        specs.push(tensor.check(&field)?);
    }
    Ok(specs)
}

impl Tensor {
    fn check(self, field: &str) -> Result<TensorSpec, FieldError> {
        let name_fits = (1..=TENSOR_NAME_BYTES_MAX).contains(&self.name.len());
        if !name_fits || self.name.contains(char::is_control) {
            let problem =
                format!("must be 1 to {TENSOR_NAME_BYTES_MAX} bytes without control characters");
            return refuse(format!("{field}.name"), problem);
        }
        if self.shape.len() > RANK_MAX {
            let problem = format!("has {} dimensions; at most {RANK_MAX}", self.shape.len());
            return refuse(format!("{field}.shape"), problem);
        }
        let shape = self
            .shape
            .iter()
            .map(|&length| dim(field, length))
            .collect::<Result<_, _>>()?;
        Ok(TensorSpec {
            name: self.name,
            datatype: self.datatype,
            shape,
            optional: self.optional,
        })
    }
}

fn dim(field: &str, length: i64) -> Result<Dim, FieldError> {
    if length == -1 {
        return Ok(Dim::Dynamic);
    }
    match u32::try_from(length).ok().and_then(NonZeroU32::new) {
        Some(length) => Ok(Dim::Fixed(length)),
        None => refuse(
            format!("{field}.shape"),
            format!("has a dimension of {length}: use a positive length, or -1 for a dynamic one"),
        ),
    }
}

fn golden_sets(listed: Vec<GoldenSet>) -> Result<Vec<Golden>, FieldError> {
    if listed.len() > GOLDEN_COUNT_MAX {
        let problem = format!("lists {} sets; at most {GOLDEN_COUNT_MAX}", listed.len());
        return refuse("spec.golden", problem);
    }
    listed
        .into_iter()
        .enumerate()
        .map(|(index, set)| set.check(index))
        .collect()
}

impl GoldenSet {
    fn check(self, index: usize) -> Result<Golden, FieldError> {
        let tolerances = [
            ("absoluteTolerance", self.absolute_tolerance),
            ("relativeTolerance", self.relative_tolerance),
        ];
        for (key, tolerance) in tolerances {
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                let problem = format!("is {tolerance}; expected a finite number, 0 or more");
                return refuse(format!("spec.golden[{index}].{key}"), problem);
            }
        }
        Ok(Golden {
            file: self.file,
            absolute_tolerance: self.absolute_tolerance,
            relative_tolerance: self.relative_tolerance,
        })
    }
}

impl ConfidenceRule {
    fn check(self, outputs: &[TensorSpec]) -> Result<Confidence, FieldError> {
        let field = "spec.confidence.output";
        match outputs.iter().find(|tensor| tensor.name == self.output) {
            Some(tensor) if tensor.datatype == Datatype::Bytes => refuse(
                field,
                format!("names `{}`, whose elements are not numbers", self.output),
            ),
            Some(_) => Ok(Confidence {
                output: self.output,
                reduce: self.reduce,
            }),
            None => {
                let names: Vec<&str> = outputs.iter().map(|tensor| tensor.name.as_str()).collect();
                let problem = format!(
                    "names `{}`; spec.outputs has {}",
                    self.output,
                    names.join(", ")
                );
                refuse(field, problem)
            }
        }
    }
}
