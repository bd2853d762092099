//! Why a step failed, and whether and when it is tried again.

use std::time::Duration;

/// Crashes further apart than this do not add up: a worker that ran this long has worked.
pub const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// Crashes within [`CRASH_WINDOW`] after which a version is given up: enough to ride out a machine
/// that is short of memory for some seconds, few enough that the line gets its answers from the
/// version before within a quarter of a minute (waits of 0.5, 1, 2 and 4 s, and the loads between).
pub const CRASHES_MAX: u32 = 5;

/// When a version that crashed too often is tried once more, if no other version of its model is on
/// the node: a model that is tried every few minutes may come back (a short machine, a bad input),
/// one that is never tried again stops the line until somebody comes. Shorter than
/// [`CRASH_WINDOW`], so that one more crash ends the attempt.
pub const CRASH_REST: Duration = Duration::from_secs(300);

/// A failed step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Decides whether it is tried again.
    pub class: FailureClass,
    /// For people: what, where, how to fix it.
    pub message: String,
}

/// The classes of failure; each has one retry rule, see [`FailureClass::retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// A blob did not arrive: no uplink, refused, timed out.
    Fetch,
    /// The disk refused: full, read-only, damaged.
    Storage,
    /// A file's content is not what its digest says.
    Digest,
    /// No trust key of this node made the signature.
    SignatureUntrusted,
    /// The signature does not cover these files.
    SignatureInvalid,
    /// The manifest is missing, unreadable, or about something else.
    Manifest,
    /// ONNX Runtime is not on this node.
    RuntimeMissing,
    /// The runtime refused the model, or its inputs and outputs are not the manifest's.
    ModelInvalid,
    /// Its worker would not fit into the memory that workers may use.
    Memory,
    /// A worker could not be started for a reason outside the model.
    WorkerStart,
    /// A worker ended without being told to.
    WorkerCrash,
    /// A golden output was outside its tolerance.
    Golden,
}

/// When a failed step may run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Never for this desired generation.
    Never,
    /// After `base`, doubled with each failure up to `ceiling`, `attempts_max` times in a row.
    Backoff {
        /// First wait.
        base: Duration,
        /// Longest wait.
        ceiling: Duration,
        /// `None`: the cause lies outside the node and goes away by itself or by a person.
        attempts_max: Option<u32>,
    },
}

impl FailureClass {
    /// Stable machine-readable name, as in `SlotStatus.reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Fetch => "FetchFailed",
            Self::Storage => "StorageFailed",
            Self::Digest => "DigestMismatch",
            Self::SignatureUntrusted => "SignatureUntrusted",
            Self::SignatureInvalid => "SignatureInvalid",
            Self::Manifest => "ManifestInvalid",
            Self::RuntimeMissing => "RuntimeMissing",
            Self::ModelInvalid => "ModelInvalid",
            Self::Memory => "Memory",
            Self::WorkerStart => "WorkerStartFailed",
            Self::WorkerCrash => "WorkerCrashed",
            Self::Golden => "GoldenFailed",
        }
    }

    /// Whether giving up for this reason is remembered across a restart. What crashes takes the line's
    /// answers away, so it is not tried anew with every start; everything else is judged again at
    /// each start, while the version before it serves.
    #[must_use]
    pub const fn is_remembered(self) -> bool {
        match self {
            Self::WorkerCrash | Self::WorkerStart => true,
            Self::Fetch
            | Self::Storage
            | Self::Digest
            | Self::SignatureUntrusted
            | Self::SignatureInvalid
            | Self::Manifest
            | Self::RuntimeMissing
            | Self::ModelInvalid
            | Self::Memory
            | Self::Golden => false,
        }
    }

    /// The remembered class whose [`FailureClass::reason`] this is.
    #[must_use]
    pub fn remembered(reason: &str) -> Option<Self> {
        [Self::WorkerCrash, Self::WorkerStart]
            .into_iter()
            .find(|class| class.reason() == reason)
    }

    /// The retry rule. What the package itself causes is final: the same bytes give the same
    /// answer. What the surroundings cause is repeated.
    #[must_use]
    pub const fn retry(self) -> Retry {
        const SECOND: Duration = Duration::from_secs(1);
        match self {
            Self::SignatureUntrusted
            | Self::SignatureInvalid
            | Self::Manifest
            | Self::ModelInvalid
            | Self::Golden => Retry::Never,
            Self::Fetch => Retry::Backoff {
                base: SECOND,
                ceiling: Duration::from_secs(120),
                attempts_max: None,
            },
            Self::Storage => Retry::Backoff {
                base: Duration::from_secs(5),
                ceiling: Duration::from_secs(300),
                attempts_max: None,
            },
            // A person installs the runtime; looking is one `stat`.
            Self::RuntimeMissing => Retry::Backoff {
                base: Duration::from_secs(2),
                ceiling: Duration::from_secs(15),
                attempts_max: None,
            },
            // Freed by the end of another worker, which starts it at once, or by a person.
            Self::Memory => Retry::Backoff {
                base: Duration::from_secs(5),
                ceiling: Duration::from_secs(60),
                attempts_max: None,
            },
            Self::Digest => Retry::Backoff {
                base: SECOND,
                ceiling: Duration::from_secs(60),
                attempts_max: Some(3),
            },
            Self::WorkerStart => Retry::Backoff {
                base: SECOND,
                ceiling: Duration::from_secs(60),
                attempts_max: Some(6),
            },
            Self::WorkerCrash => Retry::Backoff {
                base: Duration::from_millis(500),
                ceiling: Duration::from_secs(30),
                attempts_max: Some(CRASHES_MAX),
            },
        }
    }

    /// How long to wait after the `failures`-th failure in a row; `None`: give up.
    #[must_use]
    pub fn wait_after(self, failures: u32) -> Option<Duration> {
        match self.retry() {
            Retry::Never => None,
            Retry::Backoff {
                base,
                ceiling,
                attempts_max,
            } => {
                if attempts_max.is_some_and(|max| failures >= max) {
                    return None;
                }
                let doublings = failures.saturating_sub(1).min(16);
                Some(base.saturating_mul(1 << doublings).min(ceiling))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_never_end_for_a_download() {
        let waits: Vec<_> = (1..=9)
            .map(|failures| FailureClass::Fetch.wait_after(failures).unwrap().as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert!(FailureClass::Fetch.wait_after(u32::MAX).is_some());
    }

    #[test]
    fn a_bad_signature_is_final_and_crashes_are_bounded() {
        assert_eq!(FailureClass::SignatureInvalid.wait_after(1), None);
        assert_eq!(FailureClass::SignatureUntrusted.wait_after(1), None);
        assert!(
            FailureClass::WorkerCrash
                .wait_after(CRASHES_MAX - 1)
                .is_some()
        );
        assert_eq!(FailureClass::WorkerCrash.wait_after(CRASHES_MAX), None);
    }
}
