//! The execution record of one change of a deployment: waves, gates, verdicts, budget, fallback.
//!
//! ```text
//!            new generation of the deployment
//!                        |                      every node of the last wave passes
//!                        v         .---------------------------------------> Succeeded
//!                   Progressing ---+---- a node of a begun wave fails -----> Failed
//!                    |  ^           `--- a newer rollout begins -----------> Superseded
//!                    '--' every node of this wave passes: the next wave begins
//! ```
//!
//! *One rollout per generation of a deployment.* It begins once the version is known and at least one
//! node is selected. Its waves are fixed then. A node that is selected later (enrolled, relabelled) is
//! *late*: it belongs to no wave and no gate, and moves with the last wave, or at once when that has
//! begun; no new rollout is made for it. A node that is no longer selected drops out of the gates.
//!
//! A node whose turn has not come keeps the version proven before; a failed rollout begins
//! nothing more, and the nodes that refused the version keep the one before active by themselves.
//! A wave that lost all its nodes before one of them passed proves nothing and holds the rollout.
//!
//! Knows nothing of generations of desired state; [`mod@crate::plan`] turns assignments into them.

mod admission;
pub mod budget;
pub mod gate;
mod progress;
pub mod waves;

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::{ModelVersion, NodeName};

pub use progress::{Case, Progress, advance};

use crate::desired::Gap;

use self::budget::Budget;
use self::gate::Verdict;
use self::waves::WaveSpec;

/// How a change moves through the selected nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Waves in order; the nodes no wave takes move in a last one. None: all nodes in one wave.
    pub waves: Vec<WaveSpec>,
    /// How many nodes may be changing at once.
    pub budget: Budget,
    /// How long the replaced version stays loaded on a node, in milliseconds.
    pub prove_for_ms: u32,
    /// Whether the replaced version may end first where both do not fit into memory.
    pub gap: Gap,
}

/// One rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The generation of the deployment that it executes.
    pub deployment_generation: u64,
    /// The version it rolls out.
    pub target: ModelVersion,
    /// Nodes of each wave, in order; never empty, and no wave is.
    pub waves: Vec<Wave>,
    /// Where it stands.
    pub phase: Phase,
    /// Index of the wave that moves now.
    pub wave: usize,
    /// Verdicts of the nodes of the waves begun so far, with the reason.
    pub nodes: BTreeMap<NodeName, (Verdict, String)>,
    /// For people: why it stands where it stands.
    pub message: String,
    /// When it began, in Unix milliseconds.
    pub started_ms: i64,
    /// When it ended, in Unix milliseconds.
    pub finished_ms: Option<i64>,
}

/// A group of nodes that moves together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// For people.
    pub name: String,
    /// The nodes.
    pub nodes: BTreeSet<NodeName>,
}

/// Where a rollout stands; see the diagram of this module. `Progressing` has no deadline: a silent node is
/// waited for, because it is neither success nor failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waves are moving or waited for.
    Progressing,
    /// Every node of every wave has the version active. Final.
    Succeeded,
    /// A node refused the version; no later wave begins. Final.
    Failed,
    /// A newer rollout of the deployment took over. Final.
    Superseded,
}

impl Rollout {
    /// Whether the wave of `node` has begun; `None` when it is in no wave.
    #[must_use]
    pub fn has_begun(&self, node: &NodeName) -> Option<bool> {
        let wave = self
            .waves
            .iter()
            .position(|wave| wave.nodes.contains(node))?;
        Some(wave <= self.wave)
    }

    /// Whether the last wave has begun.
    #[must_use]
    pub fn is_in_last_wave(&self) -> bool {
        self.wave + 1 >= self.waves.len()
    }

    /// The verdict on `node` so far.
    #[must_use]
    pub fn verdict(&self, node: &NodeName) -> Verdict {
        self.nodes
            .get(node)
            .map_or(Verdict::Inconclusive, |(verdict, _)| *verdict)
    }
}
