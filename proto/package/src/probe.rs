//! What `edge-agent model describe` and `edge-agent model probe` say to whoever packs a model: one JSON object a line.
//!
//! ```text
//! packer ── Ask (a line on stdin) ──▶ edge-agent model probe ── request ──▶ worker
//!        ◀── Told (a line on stdout) ──                      ◀── answer ──
//! ```
//!
//! Tensors do not travel in the lines but in safetensors files that both sides can read, with the names of a golden set:
//! `input/<name>` and `output/<name>`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Datatype, Provider};

/// What a model declares by itself: the answer of `model describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// In the order of the model; those with a value of its own last.
    pub inputs: Vec<DescribedPort>,
    /// In the order of the model.
    pub outputs: Vec<DescribedPort>,
}

/// One input or output as the model declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedPort {
    /// As in the ONNX graph.
    pub name: String,
    /// What it carries.
    #[serde(flatten)]
    pub kind: DescribedKind,
    /// Whether the model has a value of its own for this input.
    #[serde(default)]
    pub optional: bool,
}

/// What an input or output carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DescribedKind {
    /// A tensor. Of an output, no lengths may also mean that the model does not tell them.
    Tensor {
        /// Type of one element.
        datatype: Datatype,
        /// Lengths, outermost first; -1 where each request decides.
        shape: Vec<i64>,
    },
    /// Something the agent does not pass on, in words.
    Unsupported {
        /// For people.
        unsupported: String,
    },
}

/// What `model probe` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Ask {
    /// Compute one request and write its outputs to a file.
    Answer {
        /// File with the inputs; zeros when there is none.
        inputs: Option<PathBuf>,
        /// File for the outputs.
        answers: PathBuf,
    },
    /// Compute many requests and tell only what a profile counts of each.
    Count {
        /// File with the inputs of all of them, one after another along the first dimension.
        inputs: PathBuf,
        /// Lengths of the first dimension that are one request.
        rows: usize,
        /// Output whose largest element is the class.
        class_of: Option<String>,
    },
    /// Compute the same request again and again.
    Measure {
        /// File with the inputs; zeros when there is none.
        inputs: Option<PathBuf>,
        /// Most runs.
        runs: u32,
        /// Longest time.
        seconds: u32,
    },
}

/// What `model probe` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Told {
    /// The model is open in a worker and its golden sets came out as they should.
    Ready(Ready),
    /// The outputs are in the file.
    Answered {
        /// Outputs that such a file cannot hold: strings.
        left_out: Vec<String>,
    },
    /// What the answers were, in the order of the requests.
    Counted {
        /// One for each request; empty when the manifest names no confidence.
        confidences: Vec<f64>,
        /// One for each request; empty when no output was named.
        classes: Vec<u32>,
    },
    /// What the runs took.
    Measured(Measured),
    /// It cannot be done, in words.
    Refused {
        /// For people.
        message: String,
    },
}

/// A model that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// What it is computed with.
    pub provider: Provider,
    /// The library that computes it.
    pub onnxruntime: String,
    /// From starting the process to the open model.
    pub load_ms: u64,
    /// Memory of the worker with the open model.
    pub memory_bytes: Option<u64>,
    /// What the worker could not be kept from.
    pub sandbox_gaps: Vec<String>,
    /// Largest difference of each output of each golden set from what was expected.
    pub golden: Vec<GoldenDifference>,
}

/// How one output of a golden set came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoldenDifference {
    /// The file of the set.
    pub file: String,
    /// The output.
    pub output: String,
    /// Largest absolute difference of two elements.
    pub max_absolute: f64,
}

/// What runs took on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Runs measured.
    pub runs: u32,
    /// From the request to its answer, half of the runs were faster; microseconds.
    pub p50_us: u64,
    /// 90 of 100 runs were faster.
    pub p90_us: u64,
    /// 99 of 100 runs were faster.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Memory of the worker after the runs, its share of shared pages counted proportionally.
    pub memory_bytes: Option<u64>,
    /// Most memory of the worker at any time, shared pages counted in full.
    pub memory_peak_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_reads_back_and_a_port_is_a_tensor_or_not() {
        let port = |kind| DescribedPort {
            name: "x".to_owned(),
            kind,
            optional: false,
        };
        let tensor = port(DescribedKind::Tensor {
            datatype: Datatype::Fp32,
            shape: vec![-1, 9],
        });
        let other = port(DescribedKind::Unsupported {
            unsupported: "a map".to_owned(),
        });
        for port in [tensor, other] {
            let line = serde_json::to_string(&port).unwrap();
            assert_eq!(serde_json::from_str::<DescribedPort>(&line).unwrap(), port);
        }
        let ask = Ask::Count {
            inputs: "a".into(),
            rows: 1,
            class_of: None,
        };
        let line = serde_json::to_string(&ask).unwrap();
        assert_eq!(line, r#"{"count":{"inputs":"a","rows":1,"classOf":null}}"#);
        assert_eq!(serde_json::from_str::<Ask>(&line).unwrap(), ask);
    }
}
