//! Why a body is no request.

use millwright_package::Datatype;
use millwright_summary::ErrorClass;
use thiserror::Error;

use super::{SEQUENCE_ID_BYTES_MAX, TENSORS_MAX};

/// Why a body is no request.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The header is not the JSON of a request.
    #[error("the request is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The announced header is longer than the body.
    #[error("Inference-Header-Content-Length is {header}, but the body has {body} bytes")]
    HeaderLength {
        /// As announced.
        header: usize,
        /// Bytes received.
        body: usize,
    },
    /// Too many tensors.
    #[error("the request names {0} tensors; at most {TENSORS_MAX} are allowed")]
    TooMany(usize),
    /// An unknown datatype.
    #[error("input `{input}`: {problem}")]
    Datatype {
        /// The input.
        input: String,
        /// What is wrong and what is known.
        problem: String,
    },
    /// A shape no tensor can have.
    #[error("input `{input}`: shape {shape:?} has a negative length")]
    Shape {
        /// The input.
        input: String,
        /// As sent.
        shape: Vec<i64>,
    },
    /// JSON data that are no elements of the datatype.
    #[error("input `{input}`: data is no list of {datatype}: {problem}")]
    Data {
        /// The input.
        input: String,
        /// As announced.
        datatype: Datatype,
        /// What was found.
        problem: String,
    },
    /// Neither or both kinds of data.
    #[error("input `{0}` must have either `data` or the parameter `binary_data_size`")]
    NoData(String),
    /// A datatype that JSON has no numbers for.
    #[error(
        "`{tensor}` is {datatype}, which goes as binary data only: use the binary tensor extension"
    )]
    BinaryOnly {
        /// The input or output.
        tensor: String,
        /// Its datatype.
        datatype: Datatype,
    },
    /// Byte strings that JSON cannot carry.
    #[error(
        "output `{0}` has strings that are not UTF-8: ask for it with the parameter `binary_data`"
    )]
    NotText(String),
    /// Classes of something that has no scores.
    #[error("output `{0}` has no numbers to classify: leave the parameter `classification` out")]
    NoScores(String),
    /// A sequence with a long name.
    #[error("sequence_id has {0} bytes; at most {SEQUENCE_ID_BYTES_MAX} are allowed")]
    SequenceId(usize),
    /// Contents of gRPC that are not those of the datatype.
    #[error(
        "input `{input}`: {problem}; send it in raw_input_contents, or in the field of `contents` that its datatype has"
    )]
    Contents {
        /// The input.
        input: String,
        /// What was found.
        problem: String,
    },
    /// Raw contents for some inputs only.
    #[error(
        "raw_input_contents has {raw} entries for {inputs} inputs; it has one for each input, or none"
    )]
    RawCount {
        /// Entries.
        raw: usize,
        /// Inputs.
        inputs: usize,
    },
    /// The binary part is too short.
    #[error(
        "input `{input}` should have {wanted} bytes of binary data, but only {left} are left in the body"
    )]
    BinaryShort {
        /// The input.
        input: String,
        /// As announced.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// The binary part is too long.
    #[error("{0} bytes of the body belong to no input")]
    BinaryLeft(usize),
    /// A feature of the protocol this agent does not have.
    #[error("`{0}` is not supported by this agent")]
    Unsupported(&'static str),
}

impl RequestError {
    /// The class it is counted under; `None` for a body that never was a request.
    #[must_use]
    pub const fn class(&self) -> Option<ErrorClass> {
        match self {
            Self::Json(_)
            | Self::HeaderLength { .. }
            | Self::NotText(_)
            | Self::NoScores(_)
            | Self::SequenceId(_)
            | Self::Unsupported(_) => None,
            Self::TooMany(_) | Self::Shape { .. } => Some(ErrorClass::Shape),
            Self::Datatype { .. } | Self::BinaryOnly { .. } => Some(ErrorClass::Datatype),
            Self::Data { .. }
            | Self::NoData(_)
            | Self::Contents { .. }
            | Self::RawCount { .. }
            | Self::BinaryShort { .. }
            | Self::BinaryLeft(_) => Some(ErrorClass::Size),
        }
    }
}
