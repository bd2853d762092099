//! Which class of failure each error of a worker is.

use edge_core::models::{Failure, FailureClass};

use crate::worker::golden::GoldenError;
use crate::worker::{InferError, WorkerError};

pub(super) fn start_failure(error: &WorkerError) -> Failure {
    let class = match error {
        WorkerError::RuntimeMissing { .. } => FailureClass::RuntimeMissing,
        WorkerError::NotAModel { .. } | WorkerError::Signature { .. } => FailureClass::ModelInvalid,
        WorkerError::Sandbox { .. }
        | WorkerError::EndedLoading { .. }
        | WorkerError::LoadTimeout { .. }
        | WorkerError::Start(_)
        | WorkerError::HostEnded
        | WorkerError::Memory(_)
        | WorkerError::Control(_)
        | WorkerError::PathNotText(_) => FailureClass::WorkerStart,
    };
    let message = error.to_string();
    Failure { class, message }
}

pub(super) fn golden_failure(message: String) -> Failure {
    let class = FailureClass::Golden;
    Failure { class, message }
}

/// Whether the golden run failed only because the process ended.
pub(super) fn is_worker_end(error: &GoldenError) -> bool {
    match error {
        GoldenError::Infer { source, .. } => matches!(**source, InferError::WorkerEnded(_)),
        GoldenError::File { .. } | GoldenError::Form { .. } | GoldenError::Differs(_) => false,
    }
}
