//! What agent and worker say to each other: names, shapes and offsets, never tensor bytes.
//!
//! ```text
//! control socket   Load (with the memory) ──▶       ◀── Loaded or LoadFailed       ◀── one byte: look at the bell
//! slot             │ length │ Run, later Reply │ tensors of the request, later of the answer │
//! ```
//!
//! Both ends are the same executable, so the encoding (postcard) may change with any release. An answer is hostile input
//! to the agent all the same: it is bounded, copied out of shared memory, decoded into these types, and every number in it
//! is checked where it is used. Decoding fills lists that are kept, so that a request needs no memory of its own.

mod run;
mod shape;

pub(crate) use run::{
    Cause, LENGTH_BYTES, Placed, Reply, Run, StateUse, encode_done, encode_failed,
};
pub(crate) use shape::Shape;

use edge_ipc::{MESSAGE_BYTES_MAX, region_bytes};
use millwright_package::Datatype;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Requests whose tensors can be in shared memory at once. While the worker computes one, the inputs of
/// the next are already in place; more would only hold memory, because the worker runs one at a time.
pub(crate) const SLOTS: usize = 2;

/// Shared memory of one request: its inputs, later its outputs. Address space until it is used. One 8K
/// RGB image as 32-bit floats has 400 MB and is refused; a 4K one has 100 MB.
pub(crate) const SLOT_BYTES: usize = 128 * 1024 * 1024;

/// Place at the beginning of a slot for the length of a message and the message itself.
pub(crate) const MESSAGE_AREA: usize = 64 * 1024;

/// Size of the memory both processes map.
pub(crate) const REGION_BYTES: usize = region_bytes(SLOTS, MESSAGE_AREA + SLOT_BYTES);

/// The whole of a message that tells the agent to look at the bell.
pub(crate) const NUDGE: &[u8] = b"!";

/// Written memory that a slot keeps between requests; more is given back to the system after each. A
/// camera frame of 640 x 640 as floats has 4.7 MiB, and taking its pages anew would cost about a
/// millisecond each time.
pub(crate) const SLOT_BYTES_KEPT: usize = 8 * 1024 * 1024;

/// Tensors begin at multiples of this, the cache line.
pub(crate) const TENSOR_ALIGNMENT: usize = 64;

/// Longest text of an error from the worker, in bytes.
const ERROR_TEXT_BYTES_MAX: usize = 2048;

/// What to load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Path of ONNX Runtime.
    pub runtime: String,
    /// Path of the ONNX file.
    pub model: String,
    /// Threads one inference may use.
    pub threads: u16,
    /// Memory the process may use for data.
    pub memory_mib: Option<u32>,
    /// Inputs that are the outputs of the request before.
    pub state: Vec<StatePort>,
}

/// An input that is an output of the request before of the same sequence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatePort {
    /// The model's input.
    pub input: String,
    /// The model's output.
    pub output: String,
    /// Type of one element.
    pub datatype: Datatype,
    /// Lengths, outermost first.
    pub shape: Shape,
}

/// What the worker says to Load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The model is open; these are its ports.
    Loaded(Ports),
    /// The model is not open; the worker ends.
    LoadFailed(LoadFailure),
}

/// Inputs and outputs as the model itself declares them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// In the order in which a request places them.
    pub inputs: Vec<Port>,
    /// In the order in which a request numbers them. A sequence of maps is two of them.
    pub outputs: Vec<Port>,
}

/// One input or output of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// As in the ONNX graph.
    pub name: String,
    /// What it carries.
    pub kind: PortKind,
    /// Whether the model has a value of its own for this input.
    pub optional: bool,
}

/// What an input or output carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PortKind {
    /// A tensor; -1 is a dimension that each request decides.
    Tensor {
        /// Type of one element.
        datatype: Datatype,
        /// Lengths, outermost first.
        shape: Vec<i64>,
    },
    /// Something this agent does not pass on, described for people.
    Unsupported(String),
}

/// How far loading came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadFailure {
    /// ONNX Runtime could not be loaded.
    Runtime(String),
    /// The process could not be confined.
    Sandbox(String),
    /// The file is no model that ONNX Runtime can open.
    Model(String),
}

/// Why bytes are not a message.
#[derive(Debug, Error)]
pub(crate) enum ProtocolError {
    #[error("control message does not decode: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a message of {0} bytes does not fit the {MESSAGE_AREA} bytes of its slot")]
    TooLong(usize),
    #[error("a message lists {0} tensors")]
    TooMany(usize),
    #[error("a message is followed by {0} more bytes")]
    Trailing(usize),
}

/// A message as bytes.
pub(crate) fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, ProtocolError> {
    Ok(postcard::to_allocvec(message)?)
}

/// A message from bytes.
pub(crate) fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, ProtocolError> {
    Ok(postcard::from_bytes(bytes)?)
}

/// A buffer for one received message.
pub(crate) fn buffer() -> Box<[u8]> {
    vec![0; MESSAGE_BYTES_MAX].into_boxed_slice()
}

/// Cuts a text for people to [`ERROR_TEXT_BYTES_MAX`], at a character.
pub(crate) fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
    text
}

/// Where the next tensor may begin after `end`.
pub(crate) const fn aligned(end: u64) -> u64 {
    end.next_multiple_of(TENSOR_ALIGNMENT as u64)
}
