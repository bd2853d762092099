//! The flags of `fleetctl model pack`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use millwright_package::Reduce;
use millwright_proto::ids::{ModelName, Version};

use crate::output::OutputArgs;

/// Most lengths of a shape, as in a manifest.
const RANK_MAX: usize = 32;

/// Arguments of `model pack`.
#[derive(Args, Debug)]
pub(crate) struct PackArgs {
    /// The ONNX file to make a package of; or the directory of a package that is only signed
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Name of the model: a-z, 0-9 and -
    #[arg(long, help_heading = "The package")]
    pub(crate) name: Option<ModelName>,
    /// Version of the model, for example 1.0.0; a published version never changes
    #[arg(long = "version", value_name = "VERSION", help_heading = "The package")]
    pub(crate) model_version: Option<Version>,
    /// Directory to make; must not exist [default: NAME-VERSION]
    #[arg(long, value_name = "DIR", help_heading = "The package")]
    pub(crate) out: Option<PathBuf>,
    /// What the model does, for people
    #[arg(long, value_name = "TEXT", help_heading = "The package")]
    pub(crate) description: Option<String>,
    /// Its licence as an SPDX expression, for example Apache-2.0
    #[arg(long, value_name = "SPDX", help_heading = "The package")]
    pub(crate) license: Option<String>,
    /// A file to put beside the model: its weights when they are in a file of their own, a licence; may be repeated
    #[arg(long = "with", value_name = "FILE", help_heading = "The package")]
    pub(crate) with: Vec<PathBuf>,
    /// Private key from `model keygen`: sign the package too
    #[arg(long, value_name = "FILE", help_heading = "The package")]
    pub(crate) key: Option<PathBuf>,

    /// Shape of an input where the model leaves lengths open, as in images=1x3x640x640; -1 leaves one open; may be
    /// repeated
    #[arg(long = "shape", value_name = "INPUT=DIMS", help_heading = "The model")]
    pub(crate) shapes: Vec<ShapeFlag>,
    /// An output that is an input of the next request of the same sequence, as in state=stateN, or
    /// state=stateN:2x1x128 where the model leaves its lengths open; may be repeated
    #[arg(
        long = "state",
        value_name = "INPUT=OUTPUT[:DIMS]",
        help_heading = "The model"
    )]
    pub(crate) states: Vec<StateFlag>,
    /// How a request's confidence is read, as in scores=max (or min, mean)
    #[arg(long, value_name = "OUTPUT=REDUCE", help_heading = "The model")]
    pub(crate) confidence: Option<ConfidenceFlag>,
    /// Threads one inference may use [default: 1]
    #[arg(long, value_name = "COUNT", help_heading = "The model")]
    pub(crate) threads: Option<std::num::NonZeroU16>,
    /// Memory the worker may use, in MiB
    #[arg(long, value_name = "MIB", help_heading = "The model")]
    pub(crate) memory_mib: Option<std::num::NonZeroU32>,

    /// Inputs to record a golden set of, run on every device before the model is used: .npz, .npy, .csv or a picture;
    /// arrays called like outputs are what must come out; may be repeated
    #[arg(long = "golden", value_name = "FILE", help_heading = "Data")]
    pub(crate) golden: Vec<PathBuf>,
    /// An output's element may differ by this much from the recorded one on another device ...
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0.001,
        help_heading = "Data"
    )]
    pub(crate) absolute_tolerance: f64,
    /// ... plus this share of the recorded one
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.001,
        help_heading = "Data"
    )]
    pub(crate) relative_tolerance: f64,
    /// Typical inputs, to tell later when the plant's are others: .npz, .npy or .csv with one row for each, a picture, or a
    /// directory of pictures; may be repeated
    #[arg(long = "sample", value_name = "PATH", help_heading = "Data")]
    pub(crate) samples: Vec<PathBuf>,
    /// Columns of .csv files that are the model's features, in its order [default: all]
    #[arg(
        long,
        value_name = "NAME,..",
        value_delimiter = ',',
        help_heading = "Data"
    )]
    pub(crate) columns: Vec<String>,
    /// Names of the features of other files [default: columns of .csv files, else feature-0 and so on]
    #[arg(
        long,
        value_name = "NAME,..",
        value_delimiter = ',',
        help_heading = "Data"
    )]
    pub(crate) features: Vec<String>,
    /// What is done to pictures: a file with the `preprocess.image` of a pipeline, or the pipeline itself
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub(crate) preprocess: Option<PathBuf>,
    /// Output whose largest element is the class, to profile how often which comes out
    #[arg(long, value_name = "OUTPUT", help_heading = "Data")]
    pub(crate) class: Option<String>,

    /// Most runs to measure the latency with
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Running it")]
    pub(crate) runs: u32,
    /// The program that runs the model [default: edge-agent beside fleetctl, or on PATH]
    #[arg(long, value_name = "FILE", help_heading = "Running it")]
    pub(crate) agent: Option<PathBuf>,
    /// Shared library of ONNX Runtime, for the agent
    #[arg(long, value_name = "FILE", help_heading = "Running it")]
    pub(crate) onnxruntime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `--shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShapeFlag {
    pub(crate) input: String,
    pub(crate) dims: Vec<i64>,
}

/// `--state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateFlag {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) dims: Option<Vec<i64>>,
}

/// `--confidence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfidenceFlag {
    pub(crate) output: String,
    pub(crate) reduce: Reduce,
}

impl FromStr for ShapeFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not INPUT=DIMS, for example images=1x3x640x640");
        // Names of tensors may hold `=`, lengths may not.
        let (input, dims) = text.rsplit_once('=').ok_or_else(wrong)?;
        let dims = dims_of(dims).filter(|_| !input.is_empty());
        Ok(Self {
            input: input.to_owned(),
            dims: dims.ok_or_else(wrong)?,
        })
    }
}

impl FromStr for StateFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not INPUT=OUTPUT or INPUT=OUTPUT:DIMS, for example state=stateN:2x1x128"
            )
        };
        let (input, rest) = text.split_once('=').ok_or_else(wrong)?;
        // Names of tensors may hold `:`, as TensorFlow's do (`state:0`): only what looks like lengths is taken for some.
        let (output, dims) = match rest.rsplit_once(':') {
            Some((output, dims)) if dims.contains('x') => (output, dims_of(dims)),
            Some(_) | None => (rest, None),
        };
        if input.is_empty() || output.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            input: input.to_owned(),
            output: output.to_owned(),
            dims,
        })
    }
}

impl FromStr for ConfidenceFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not OUTPUT=REDUCE, for example scores=max (or min, mean)");
        let (output, reduce) = text.rsplit_once('=').ok_or_else(wrong)?;
        let reduce = match reduce {
            "max" => Reduce::Max,
            "min" => Reduce::Min,
            "mean" => Reduce::Mean,
            _ => return Err(wrong()),
        };
        Ok(Self {
            output: output.to_owned(),
            reduce,
        })
    }
}

/// Lengths as in `1x3x640x640`.
fn dims_of(text: &str) -> Option<Vec<i64>> {
    let dims: Option<Vec<i64>> = text
        .split('x')
        .map(|dim| dim.parse().ok().filter(|dim| *dim > 0 || *dim == -1))
        .collect();
    dims.filter(|dims| dims.len() <= RANK_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_any_name_a_tensor_may_have() {
        let shape: ShapeFlag = "input.1=1x3x-1x640".parse().unwrap();
        assert_eq!(
            (shape.input.as_str(), shape.dims),
            ("input.1", vec![1, 3, -1, 640])
        );
        let state: StateFlag = "state:0=next:0".parse().unwrap();
        assert_eq!((state.output.as_str(), state.dims), ("next:0", None));
        let state: StateFlag = "h=hn:2x1x128".parse().unwrap();
        assert_eq!(
            (state.output.as_str(), state.dims),
            ("hn", Some(vec![2, 1, 128]))
        );
    }

    #[test]
    fn flags_that_cannot_be_meant_show_an_example() {
        for bad in ["images", "=1x3", "images=0x3", "images=1xa", "images=-2"] {
            let error = bad.parse::<ShapeFlag>().unwrap_err();
            assert!(error.contains("images=1x3x640x640"), "{error}");
        }
        assert!(
            "scores=top"
                .parse::<ConfidenceFlag>()
                .unwrap_err()
                .contains("scores=max")
        );
        assert!(
            "=next"
                .parse::<StateFlag>()
                .unwrap_err()
                .contains("state=stateN")
        );
    }
}
