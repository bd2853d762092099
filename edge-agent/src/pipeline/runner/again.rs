//! Whether an input that was not answered is given up.

use crate::worker::InferError;

/// Tries of an input whose worker died or hung. One death can be bad luck, a second one is the input.
const DEADLY_TRIES_MAX: u32 = 2;

/// Whether trying again could not help, or has been tried often enough.
pub(super) fn is_final(error: &InferError, deadly_tries: &mut u32) -> bool {
    match error {
        InferError::UnknownModel(_)
        | InferError::UnknownVersion { .. }
        | InferError::NotReady(_)
        | InferError::Busy { .. }
        | InferError::SequencesFull { .. } => false,
        InferError::WorkerEnded(_) | InferError::Timeout { .. } => {
            *deadly_tries += 1;
            *deadly_tries >= DEADLY_TRIES_MAX
        }
        InferError::UnknownInput { .. }
        | InferError::MissingInput { .. }
        | InferError::DuplicateInput(_)
        | InferError::UnknownOutput { .. }
        | InferError::Datatype { .. }
        | InferError::Shape { .. }
        | InferError::Size { .. }
        | InferError::Strings { .. }
        | InferError::UnknownSequence { .. }
        | InferError::TooLarge { .. }
        | InferError::Refused { .. }
        | InferError::Failed { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_kills_its_worker_twice_is_given_up_and_an_absent_model_is_waited_for() {
        let model: millwright_proto::ids::ModelVersion = "a@1".parse().unwrap();
        let mut tries = 0;
        let mut check = |error: InferError, expected: bool| {
            assert_eq!(is_final(&error, &mut tries), expected, "{error}");
        };
        check(InferError::NotReady(model.model.clone()), false);
        check(InferError::WorkerEnded(model.clone()), false);
        check(InferError::WorkerEnded(model.clone()), true);
        check(InferError::DuplicateInput("x".to_owned()), true);
    }
}
