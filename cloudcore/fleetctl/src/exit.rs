//! What the exit code says.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::commands::apply::ApplyError;
use crate::commands::hard_examples::FetchError;
use crate::commands::push::PushError;
use crate::commands::rollout::RolloutEnd;
use crate::context::ContextError;
use crate::pack::PackError;
use crate::package::PackageError;

/// The table that `fleetctl --help` shows.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  done
   1  failed for a reason without a code of its own
   2  the command line is wrong
   3  not logged in, or the token is refused
   4  there is no such object
   5  conflict: the name is taken, or something does not change any more
   6  a document or a model package is refused
   7  cloudcore cannot be reached, or is not the pinned one
  10  the rollout failed
  11  the rollout was superseded by a newer one
  12  the rollout did not end within --timeout";

/// Exit codes; stable, scripts branch on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 3
    Unauthenticated,
    /// 4
    NotFound,
    /// 5
    Conflict,
    /// 6
    Refused,
    /// 7
    Unreachable,
    /// 10
    RolloutFailed,
    /// 11
    RolloutSuperseded,
    /// 12
    RolloutTimeout,
}

impl Exit {
    /// The code for an error: that of the first typed cause in its chain.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| {
                cause
                    .downcast_ref()
                    .map(ClientError::exit)
                    .or_else(|| cause.downcast_ref().map(RolloutEnd::exit))
                    .or_else(|| cause.downcast_ref().map(PushError::exit))
                    .or_else(|| cause.downcast_ref().map(FetchError::exit))
                    .or_else(|| {
                        cause
                            .downcast_ref::<ContextError>()
                            .map(|_| Self::Unauthenticated)
                    })
                    .or_else(|| cause.downcast_ref::<ApplyError>().map(|_| Self::Refused))
                    .or_else(|| cause.downcast_ref::<PackageError>().map(|_| Self::Refused))
                    .or_else(|| cause.downcast_ref::<PackError>().map(|_| Self::Refused))
            })
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Unauthenticated => 3,
            Exit::NotFound => 4,
            Exit::Conflict => 5,
            Exit::Refused => 6,
            Exit::Unreachable => 7,
            Exit::RolloutFailed => 10,
            Exit::RolloutSuperseded => 11,
            Exit::RolloutTimeout => 12,
        })
    }
}

/// Whether the reader of stdout went away, as in `fleetctl get nodes | head -1`.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(closed))
}

/// The error with its causes, leaving out a cause that the message before it already quotes.
pub(crate) fn in_full(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
