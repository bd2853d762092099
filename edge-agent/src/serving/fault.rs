//! What went wrong with a request, as every protocol here says it: the one table of HTTP statuses and gRPC codes.
//!
//! | fault | HTTP | gRPC | whose it is |
//! |---|---|---|---|
//! | [`Kind::Invalid`] | 400 | INVALID_ARGUMENT | the request's |
//! | [`Kind::Forbidden`] | 403 | PERMISSION_DENIED | the request's |
//! | [`Kind::Unknown`] | 404 | NOT_FOUND | no such model or path here |
//! | [`Kind::Method`] | 405 | UNIMPLEMENTED | the request's |
//! | [`Kind::Elsewhere`] | 409 | FAILED_PRECONDITION | somebody else decides this |
//! | [`Kind::TooLarge`] | 413 | OUT_OF_RANGE | the request's |
//! | [`Kind::Encoded`] | 415 | INVALID_ARGUMENT | the request's |
//! | [`Kind::Busy`] | 429 + Retry-After | RESOURCE_EXHAUSTED | too many at once: try again |
//! | [`Kind::Model`] | 500 | INTERNAL | the model's |
//! | [`Kind::Absent`] | 501 | UNIMPLEMENTED | nobody's: Triton has it, this agent has not |
//! | [`Kind::NotReady`] | 503 + Retry-After | UNAVAILABLE | not loaded at the moment: try again |
//! | [`Kind::TooSlow`] | 504 | DEADLINE_EXCEEDED | the model's, or a short deadline's |

use axum::http::StatusCode;
use thiserror::Error;
use tonic::{Code, Status};

use super::budget::BodyError;
use super::tensors::RequestError;
use crate::worker::InferError;

/// What a client is told to wait before it tries again: a worker is replaced, and a full queue of a slow model empties,
/// in about this time.
pub(super) const RETRY_AFTER_S: u32 = 1;

/// A request that was not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) message: String,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Invalid,
    Forbidden,
    Unknown,
    Method,
    Elsewhere,
    TooLarge,
    Encoded,
    Busy,
    Model,
    Absent,
    NotReady,
    TooSlow,
}

impl Kind {
    const fn codes(self) -> (StatusCode, Code) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::Forbidden => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            Self::Unknown => (StatusCode::NOT_FOUND, Code::NotFound),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::Elsewhere => (StatusCode::CONFLICT, Code::FailedPrecondition),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange),
            Self::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::Model => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
            Self::Absent => (StatusCode::NOT_IMPLEMENTED, Code::Unimplemented),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::TooSlow => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
        }
    }

    /// The HTTP status.
    pub(super) const fn status(self) -> StatusCode {
        self.codes().0
    }

    /// Seconds after which trying again makes sense.
    pub(super) const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy | Self::NotReady => Some(RETRY_AFTER_S),
            _ => None,
        }
    }
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }
}

impl From<InferError> for Fault {
    fn from(error: InferError) -> Self {
        let kind = match error {
            InferError::UnknownModel(_) | InferError::UnknownVersion { .. } => Kind::Unknown,
            InferError::NotReady(_) | InferError::WorkerEnded(_) => Kind::NotReady,
            InferError::Busy { .. } | InferError::SequencesFull { .. } => Kind::Busy,
            InferError::TooLarge { .. } => Kind::TooLarge,
            InferError::Failed { .. } => Kind::Model,
            InferError::Timeout { .. } => Kind::TooSlow,
            InferError::UnknownInput { .. }
            | InferError::MissingInput { .. }
            | InferError::DuplicateInput(_)
            | InferError::UnknownOutput { .. }
            | InferError::Datatype { .. }
            | InferError::Shape { .. }
            | InferError::Size { .. }
            | InferError::Strings { .. }
            | InferError::UnknownSequence { .. }
            | InferError::Refused { .. } => Kind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        Self::new(Kind::Invalid, error.to_string())
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge => Kind::TooLarge,
            BodyError::NoRoom => Kind::Busy,
            BodyError::Broken(_) => Kind::Invalid,
            BodyError::Encoded => Kind::Encoded,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        Self::new(fault.kind.codes().1, fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_try_can_mend_says_when_to_try_again() {
        let model = || "detector".parse().unwrap();
        let busy = Fault::from(InferError::Busy {
            model: model(),
            waiting: 64,
        });
        assert_eq!(busy.kind.retry_after_s(), Some(RETRY_AFTER_S));
        assert_eq!(busy.kind.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(Status::from(busy).code(), Code::ResourceExhausted);
        let unknown = Fault::from(InferError::UnknownModel(model()));
        assert_eq!(unknown.kind.retry_after_s(), None);
        assert_eq!(Status::from(unknown).code(), Code::NotFound);
    }
}
