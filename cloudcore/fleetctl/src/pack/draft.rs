//! The manifest on its way: what the model declares, what flags say, what the first answer showed.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use millwright_package::probe::{Described, DescribedKind, DescribedPort};
use millwright_package::{Datatype, Dim, Reduce, StateSpec, TensorSpec};

use super::PackError;
use super::arguments::{PackArgs, StateFlag};
use super::array::Array;
use super::pictures::Pictures;

/// What `model.yaml` will say.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) args: &'a PackArgs,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) file: String,
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
    state: Vec<StateSpec>,
    /// Outputs whose shape the model does not tell.
    shapeless: Vec<String>,
    /// Paths in the package.
    pub(super) golden: Vec<String>,
    pub(super) profile: Option<String>,
}

impl<'a> Draft<'a> {
    /// What the model declares, with what flags say about it.
    pub(super) fn of(
        args: &'a PackArgs,
        (name, version): (&'a str, &'a str),
        file: String,
        described: &Described,
        pictures: Option<&Pictures>,
    ) -> Result<Self, PackError> {
        let state = states(&args.states, described)?;
        let mut draft = Self {
            args,
            name,
            version,
            file,
            inputs: Vec::new(),
            outputs: Vec::new(),
            shapeless: Vec::new(),
            golden: Vec::new(),
            profile: None,
            state,
        };
        for port in &described.inputs {
            let is_state = draft.state.iter().any(|state| state.input == port.name);
            if !port.optional && !is_state {
                let spec = tensor(port)?;
                draft.inputs.push(spec);
            }
        }
        for port in &described.outputs {
            let is_state = draft.state.iter().any(|state| state.output == port.name);
            if let DescribedKind::Tensor { shape, .. } = &port.kind
                && !is_state
            {
                draft.outputs.push(tensor(port)?);
                if shape.is_empty() {
                    draft.shapeless.push(port.name.clone());
                }
            }
        }
        if draft.outputs.is_empty() {
            return Err(PackError::NoOutputs);
        }
        draft.apply_shapes()?;
        if let Some(pictures) = pictures {
            pictures.fix(&mut draft.inputs)?;
        }
        Ok(draft)
    }

    fn apply_shapes(&mut self) -> Result<(), PackError> {
        for flag in &self.args.shapes {
            let wrong = |problem| {
                Err(PackError::flag(
                    format!("--shape {}=..", flag.input),
                    problem,
                ))
            };
            let known: Vec<String> = self
                .inputs
                .iter()
                .map(|spec| format!("`{}`", spec.name))
                .collect();
            let Some(spec) = self.inputs.iter_mut().find(|spec| spec.name == flag.input) else {
                return wrong(format!(
                    "the model has no such input; its inputs are {}",
                    known.join(", ")
                ));
            };
            let declared = spec.dims();
            let fits = |(dim, own): (&i64, &i64)| *own == -1 || dim == own;
            if declared.len() != flag.dims.len() || !flag.dims.iter().zip(&declared).all(fits) {
                return wrong(format!(
                    "the model takes {declared:?}; only a -1 can be given another length"
                ));
            }
            spec.shape = flag.dims.iter().map(|&dim| length(dim)).collect();
        }
        Ok(())
    }

    /// Refuses inputs of open lengths, of which nobody knows what to run the model with.
    pub(super) fn check_closed(&self) -> Result<(), PackError> {
        for spec in &self.inputs {
            if spec.shape.iter().skip(1).any(|dim| *dim == Dim::Dynamic) {
                let example: Vec<String> = spec
                    .dims()
                    .iter()
                    .enumerate()
                    .map(|(at, dim)| match (at, *dim) {
                        (0, -1) => "1".to_owned(),
                        (_, -1) => "640".to_owned(),
                        (_, dim) => dim.to_string(),
                    })
                    .collect();
                return Err(PackError::Open {
                    input: spec.name.clone(),
                    shape: spec.dims(),
                    example: example.join("x"),
                });
            }
        }
        Ok(())
    }

    /// Takes the shapes the model does not tell from answers.
    pub(super) fn see(&mut self, answer: &[Array]) {
        let rows = self
            .inputs
            .iter()
            .any(|spec| spec.shape.first() == Some(&Dim::Dynamic));
        let open = self
            .inputs
            .iter()
            .any(|spec| spec.shape.iter().skip(1).any(|dim| *dim == Dim::Dynamic));
        for spec in &mut self.outputs {
            let seen = answer.iter().find(|array| array.name == spec.name);
            let Some(seen) = seen.filter(|_| self.shapeless.contains(&spec.name)) else {
                continue;
            };
            let dim = |(at, &seen): (usize, &usize)| match (at, open) {
                (0, _) if rows => Dim::Dynamic,
                (_, true) => Dim::Dynamic,
                (_, false) => length(i64::try_from(seen).unwrap_or(-1)),
            };
            spec.shape = seen.shape.iter().enumerate().map(dim).collect();
        }
    }

    /// `model.yaml`.
    pub(super) fn yaml(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        writeln!(
            to,
            "apiVersion: millwright/v1\nkind: ModelPackage\nmetadata:"
        )?;
        writeln!(
            to,
            "  name: {}\n  version: {}",
            quoted(self.name),
            quoted(self.version)
        )?;
        let texts = [
            ("description", &self.args.description),
            ("license", &self.args.license),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                writeln!(to, "  {key}: {}", quoted(text))?;
            }
        }
        writeln!(to, "spec:\n  file: {}", quoted(&self.file))?;
        for (key, specs) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            writeln!(to, "  {key}:")?;
            for spec in specs {
                let (name, shape) = (quoted(&spec.name), spec.dims());
                writeln!(
                    to,
                    "    - {{name: {name}, datatype: {}, shape: {shape:?}}}",
                    spec.datatype
                )?;
            }
        }
        if !self.state.is_empty() {
            writeln!(to, "  state:")?;
        }
        for state in &self.state {
            let (input, output) = (quoted(&state.input), quoted(&state.output));
            writeln!(
                to,
                "    - {{input: {input}, output: {output}, datatype: {}, shape: {:?}}}",
                state.datatype, state.shape
            )?;
        }
        self.write_data(to)
    }

    /// Golden sets, confidence, profile and limits.
    fn write_data(&self, to: &mut String) -> std::fmt::Result {
        if !self.golden.is_empty() {
            writeln!(to, "  golden:")?;
        }
        for file in &self.golden {
            writeln!(
                to,
                "    - {{file: {}, absoluteTolerance: {}, relativeTolerance: {}}}",
                quoted(file),
                self.args.absolute_tolerance,
                self.args.relative_tolerance
            )?;
        }
        if let Some(confidence) = &self.args.confidence {
            let reduce = match confidence.reduce {
                Reduce::Max => "max",
                Reduce::Min => "min",
                Reduce::Mean => "mean",
            };
            writeln!(
                to,
                "  confidence: {{output: {}, reduce: {reduce}}}",
                quoted(&confidence.output)
            )?;
        }
        if let Some(profile) = &self.profile {
            writeln!(to, "  profile: {}", quoted(profile))?;
        }
        let threads = self
            .args
            .threads
            .map(|threads| format!("threads: {threads}"));
        let memory = self.args.memory_mib.map(|mib| format!("memoryMib: {mib}"));
        let limits: Vec<String> = memory.into_iter().chain(threads).collect();
        if !limits.is_empty() {
            writeln!(to, "  limits: {{{}}}", limits.join(", "))?;
        }
        Ok(())
    }
}

/// Text of JSON is text of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn tensor(port: &DescribedPort) -> Result<TensorSpec, PackError> {
    match &port.kind {
        DescribedKind::Tensor { datatype, shape } => Ok(TensorSpec {
            name: port.name.clone(),
            datatype: *datatype,
            shape: shape.iter().map(|&dim| length(dim)).collect(),
            optional: false,
        }),
        DescribedKind::Unsupported { unsupported } => Err(PackError::Input {
            input: port.name.clone(),
            what: unsupported.clone(),
        }),
    }
}

/// A length that no manifest can name is left to the request.
fn length(dim: i64) -> Dim {
    let fixed = u32::try_from(dim).ok().and_then(NonZeroU32::new);
    fixed.map_or(Dim::Dynamic, Dim::Fixed)
}

fn states(flags: &[StateFlag], described: &Described) -> Result<Vec<StateSpec>, PackError> {
    flags.iter().map(|flag| state(flag, described)).collect()
}

fn state(flag: &StateFlag, described: &Described) -> Result<StateSpec, PackError> {
    let wrong = |problem: String| {
        PackError::flag(format!("--state {}={}", flag.input, flag.output), problem)
    };
    let find = |ports: &[DescribedPort],
                name: &str,
                side: &str|
     -> Result<(Datatype, Vec<i64>), PackError> {
        let port = ports.iter().find(|port| port.name == name);
        match port.map(|port| &port.kind) {
            Some(DescribedKind::Tensor { datatype, shape }) => Ok((*datatype, shape.clone())),
            Some(DescribedKind::Unsupported { unsupported }) => Err(wrong(format!(
                "{side} `{name}` is {unsupported}, no tensor"
            ))),
            None => {
                let known: Vec<String> = ports
                    .iter()
                    .map(|port| format!("`{}`", port.name))
                    .collect();
                Err(wrong(format!(
                    "the model has no {side} `{name}`; it has {}",
                    known.join(", ")
                )))
            }
        }
    };
    let (datatype, declared) = find(&described.inputs, &flag.input, "input")?;
    find(&described.outputs, &flag.output, "output")?;
    let dims = flag.dims.as_ref().unwrap_or(&declared);
    let shape: Option<Vec<NonZeroU32>> = dims
        .iter()
        .map(|dim| u32::try_from(*dim).ok().and_then(NonZeroU32::new))
        .collect();
    let shape = shape.filter(|shape| shape.len() == declared.len()).ok_or_else(|| {
        wrong(format!(
            "the model says {declared:?} and the lengths of one sequence's state must be known: add them, as in {}={}:2x1x128",
            flag.input, flag.output
        ))
    })?;
    Ok(StateSpec {
        input: flag.input.clone(),
        output: flag.output.clone(),
        datatype,
        shape,
    })
}
