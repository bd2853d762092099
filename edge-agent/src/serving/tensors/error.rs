//! Why a body is no request.

use millwright_package::Datatype;
use millwright_summary::ErrorClass;
use thiserror::Error;

use super::TENSORS_MAX;

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
            Self::Json(_) | Self::HeaderLength { .. } | Self::Unsupported(_) => None,
            Self::TooMany(_) | Self::Shape { .. } => Some(ErrorClass::Shape),
            Self::Datatype { .. } => Some(ErrorClass::Datatype),
            Self::Data { .. }
            | Self::NoData(_)
            | Self::BinaryShort { .. }
            | Self::BinaryLeft(_) => Some(ErrorClass::Size),
        }
    }
}
