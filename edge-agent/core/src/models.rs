//! The life of the model versions on this node, one [`Slot`] per model.
//!
//! Owns what is known about every package on the node ([`Life`], all of them in [`Observed`]), which facts move it on
//! ([`facts`]) and how long a failed step waits ([`failure`]). It does not decide what to do next:
//! that is [`crate::reconcile`], which only reads what stands here.
//!
//! ```text
//! Wanted -> Staged -> Verified -> Warmed -> Active -> Retained -> (Removing)
//!    |         |          |          |         |
//!    +---------+----------+----------+--> Failed  +--> RolledBack
//! ```
//!
//! Times are monotonic, given by the caller as the time since the agent started.
//! Invariant: a slot has at most one [`Life::Active`]; asserted by the property tests of
//! [`crate::reconcile`]. A fact that does not fit the state it meets (a late answer of a worker
//! already replaced) changes nothing.

pub mod facts;
pub mod failure;
mod observed;
mod transitions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use millwright_proto::Digest;
use millwright_proto::ids::{Generation, ModelVersion};

pub use facts::{Fact, Notice};
pub use failure::{Failure, FailureClass};
pub use observed::{GivenUp, Observed};

/// How many activated versions of a model keep their files: the active one and the one before it,
/// so that going back never needs the uplink.
pub const ACTIVATED_KEPT: usize = 2;

/// One package: a model version and the digest of its signed file list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageId {
    /// The model version.
    pub version: ModelVersion,
    /// Digest of the file list, so that two contents under one version never share a directory.
    pub digest: Digest,
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, &self.digest.to_hex()[..8])
    }
}

/// One worker process of this agent run; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(u64);

impl WorkerId {
    /// The worker with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A step that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it runs now.
    pub phase: Phase,
    /// How often it failed in a row.
    pub failures: u32,
    /// Why it failed last.
    pub last: Option<Failure>,
}

/// Where an [`Attempt`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs; the step may start at `not_before`.
    Due {
        /// Earliest start.
        not_before: Duration,
    },
    /// The step runs; the executor bounds its time and reports a fact.
    Running,
}

impl Attempt {
    /// May start at once, never failed.
    #[must_use]
    pub const fn fresh() -> Self {
        Self {
            phase: Phase::Due {
                not_before: Duration::ZERO,
            },
            failures: 0,
            last: None,
        }
    }

    /// Whether the step may start.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Due { not_before } => not_before <= now,
            Phase::Running => false,
        }
    }

    /// Whether it failed last because there was not enough memory.
    #[must_use]
    pub fn lacks_memory(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| last.class == FailureClass::Memory)
    }

    /// Whether the step runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }
}

/// How far one package has come on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not (completely) on disk. Entered when the desired state first names it or its files turned
    /// out to be damaged; left to `Staged` when every file is here. No deadline: without an uplink
    /// it waits, the version before it serves on.
    Wanted {
        /// The download.
        fetch: Attempt,
    },
    /// All files on disk, not yet trusted. Entered after the download, or at start for what the
    /// last run left; left to `Verified`, or to `Failed` at a bad signature. Takes seconds.
    Staged {
        /// Checking digests and signature.
        verify: Attempt,
    },
    /// Trusted in this run, no worker. Entered after the check or when its worker ended; left to
    /// `Warmed` when a worker has loaded it. The executor bounds the load.
    Verified {
        /// Starting a worker.
        start: Attempt,
    },
    /// A worker holds it. Left to `Active` by a switch once the golden set passed, or to `Failed`.
    Warmed {
        /// The worker.
        worker: WorkerId,
        /// The golden run.
        golden: Golden,
    },
    /// Answers the requests for its model. Left to `Retained` when another version takes over or
    /// the model is withdrawn, to `Verified` when its worker crashes, to `RolledBack` when it
    /// crashes too often.
    Active {
        /// The worker.
        worker: WorkerId,
        /// Another worker in its place.
        relief: Relief,
    },
    /// Was active and was replaced; its files stay. Its worker stays warm until the deadline in
    /// [`Rest::Warm`], so that going back costs nothing while its successor is unproven.
    Retained {
        /// What became of its worker.
        rest: Rest,
    },
    /// Was active and was taken back by this node. Final until the desired state changes, except
    /// at `again`.
    RolledBack {
        /// Why.
        failure: Failure,
        /// The desired generation that asked for it.
        generation: Generation,
        /// When it is tried once more; only while the node has no other version.
        again: Option<Duration>,
    },
    /// Never became active. Final until the desired state changes, except at `again`.
    Failed {
        /// Why.
        failure: Failure,
        /// The desired generation that asked for it.
        generation: Generation,
        /// As in [`Life::RolledBack`].
        again: Option<Duration>,
    },
    /// Its files are being deleted; gone from the slot when that is done.
    Removing,
}

/// The golden run of a [`Life::Warmed`] package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Golden {
    /// Not started.
    Due,
    /// Running; bounded by the executor.
    Running,
    /// Every output was within its tolerance on this device.
    Passed,
}

/// The worker that is to take over from one that has become too large, in the same version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relief {
    /// None is needed.
    None,
    /// It is being started. Left to `Loaded`; a start that does not fit into memory ends the large one
    /// instead.
    Starting(Attempt),
    /// It holds the model, and takes over once the golden set passed.
    Loaded {
        /// The worker.
        worker: WorkerId,
        /// Its golden run.
        golden: Golden,
    },
}

/// Whether a version gave way to its successor for lack of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// None was made.
    #[default]
    NotMade,
    /// The version before it ended for this desired generation; nobody answers until this one does.
    Made(Generation),
    /// It did not help for this generation: the version before it is brought back, and stays.
    Useless(Generation),
}

/// What became of the worker of a [`Life::Retained`] package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Loaded and ready to take over again.
    Warm {
        /// The worker.
        worker: WorkerId,
        /// When its successor counts as proven.
        until: Duration,
    },
    /// Finishing its last requests; bounded by the executor.
    Draining {
        /// The worker.
        worker: WorkerId,
    },
    /// No worker.
    Cold,
}

/// A worker that is no longer of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// What it holds.
    pub package: PackageId,
    /// Whether it has been told to end.
    pub told: Told,
}

/// Whether a retiring worker was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Still to be told.
    NotYet,
    /// Told; the fact that it is gone is awaited.
    ToEnd,
}

/// Crashes of the workers of one package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crashes {
    /// How many without a calm [`failure::CRASH_WINDOW`] between them.
    pub count: u32,
    /// When the last one was.
    pub last: Duration,
}

/// Everything this node has of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Each package and how far it has come.
    pub lives: BTreeMap<PackageId, Life>,
    /// Crashes per package.
    pub crashes: BTreeMap<PackageId, Crashes>,
    /// The last activated packages, newest last, at most [`ACTIVATED_KEPT`]. Survives a restart.
    pub activated: Vec<PackageId>,
    /// Workers to be ended.
    pub retiring: BTreeMap<WorkerId, Retiring>,
    /// Packages for which a worker is being started that nobody waits for any more. Another start waits
    /// for the answer to this one, and so do their files.
    pub abandoned: BTreeSet<PackageId>,
    /// Whether memory was made for the desired version.
    pub room: Room,
}

impl Slot {
    /// The package that answers requests, and its worker.
    #[must_use]
    pub fn active(&self) -> Option<(&PackageId, WorkerId)> {
        self.lives.iter().find_map(|(package, life)| match life {
            Life::Active { worker, .. } => Some((package, *worker)),
            Life::Wanted { .. }
            | Life::Staged { .. }
            | Life::Verified { .. }
            | Life::Warmed { .. }
            | Life::Retained { .. }
            | Life::RolledBack { .. }
            | Life::Failed { .. }
            | Life::Removing => None,
        })
    }

    /// Whether any worker of the model is in memory, or about to be out of it.
    #[must_use]
    pub fn has_worker(&self) -> bool {
        let holds = |life: &Life| match life {
            Life::Warmed { .. }
            | Life::Active { .. }
            | Life::Retained {
                rest: Rest::Warm { .. } | Rest::Draining { .. },
            } => true,
            Life::Wanted { .. }
            | Life::Staged { .. }
            | Life::Verified { .. }
            | Life::Retained { rest: Rest::Cold }
            | Life::RolledBack { .. }
            | Life::Failed { .. }
            | Life::Removing => false,
        };
        !self.retiring.is_empty() || self.lives.values().any(holds)
    }

    /// Notes that `package` answers requests now.
    fn note_activated(&mut self, package: &PackageId) {
        self.activated.retain(|other| other != package);
        self.activated.push(package.clone());
        let surplus = self.activated.len().saturating_sub(ACTIVATED_KEPT);
        drop(self.activated.drain(..surplus));
    }
}
