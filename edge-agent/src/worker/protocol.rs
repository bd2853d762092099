//! What agent and worker say to each other on the control socket: names, shapes and offsets, never
//! tensor bytes.
//!
//! Both ends are the same executable, so the encoding (postcard) may change with any release. An answer
//! is hostile input to the agent all the same: it is bounded, decoded into these types, and every
//! number in it is checked where it is used.

use edge_ipc::MESSAGE_BYTES_MAX;
use millwright_package::Datatype;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sandbox::Gap;
use super::terms::{Computing, Terms};

/// Requests whose tensors can be in shared memory at once. While the worker computes one, the inputs of
/// the next are already in place; more would only hold memory, because the worker runs one at a time.
pub(crate) const SLOTS: usize = 2;

/// Shared memory of one request: its inputs, later its outputs. Address space until it is used. One 8K
/// RGB image as 32-bit floats has 400 MB and is refused; a 4K one has 100 MB.
pub(crate) const SLOT_BYTES: usize = 128 * 1024 * 1024;

/// Written memory that a slot keeps between requests; more is given back to the system after each. A
/// camera frame of 640 x 640 as floats has 4.7 MiB, and taking its pages anew would cost about a
/// millisecond each time.
pub(crate) const SLOT_BYTES_KEPT: usize = 8 * 1024 * 1024;

/// Tensors begin at multiples of this, the cache line.
pub(crate) const TENSOR_ALIGNMENT: usize = 64;

/// Longest text of an error from the worker, in bytes.
const ERROR_TEXT_BYTES_MAX: usize = 2048;

/// Agent to worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First and once, with the shared memory beside it.
    Load(Load),
    /// Compute.
    Run(Run),
}

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
    /// How it is confined and what it computes with.
    pub terms: Terms,
}

/// One inference. Its inputs lie in the slot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Repeated in the answer.
    pub id: u64,
    /// Which slot of the shared memory.
    pub slot: u32,
    /// One for each input of the session, in its order.
    pub inputs: Vec<Placed>,
    /// Indices of the session's outputs to copy back.
    pub outputs: Vec<u32>,
}

/// Where a tensor lies in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// Type of one element.
    pub datatype: Datatype,
    /// Lengths, outermost first.
    pub shape: Vec<u64>,
    /// First byte, from the beginning of the slot.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Worker to agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The process is confined, apart from these; said before it looks at the model.
    Confined(Vec<Gap>),
    /// The model is open; these are its ports, and what it is computed with.
    Loaded(Ports, Computing),
    /// The model is not open; the worker ends.
    LoadFailed(LoadFailure),
    /// The outputs, in the order asked for, lie in the slot.
    Done {
        /// As in the request.
        id: u64,
        /// One for each output asked for.
        outputs: Vec<Placed>,
    },
    /// No outputs.
    Failed {
        /// As in the request.
        id: u64,
        /// Whose fault it is.
        cause: Cause,
        /// For people.
        message: String,
    },
}

/// Inputs and outputs as the model itself declares them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// In the order of the session.
    pub inputs: Vec<Port>,
    /// In the order of the session.
    pub outputs: Vec<Port>,
}

/// One input or output of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// As in the ONNX graph.
    pub name: String,
    /// What it carries.
    pub kind: PortKind,
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

/// Whose fault a failed run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The model does not take these inputs.
    Inputs,
    /// The model failed on them.
    Model,
}

/// Why bytes are not a message.
#[derive(Debug, Error)]
pub(crate) enum ProtocolError {
    #[error("control message does not decode: {0}")]
    Malformed(#[from] postcard::Error),
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
