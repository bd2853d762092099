//! What rollouts remember of nodes and may not believe any more.
//!
//! A verdict is about a device and about what this cloud told it. It is void when the name belongs to another
//! device by now, and when the node works on something this cloud never told it.

use std::collections::BTreeMap;

use millwright_proto::ids::{DeploymentName, NodeName};

use super::{Plan, Snapshot};
use crate::desired::Standing;
use crate::fleet::Node;
use crate::rollout::Rollout;
use crate::rollout::gate::Verdict;

/// The rollouts of one deployment, by number.
type History = BTreeMap<u64, Rollout>;

/// The histories that remember such verdicts, without them.
pub(super) fn voided(snapshot: &Snapshot) -> BTreeMap<DeploymentName, History> {
    let doubted: Vec<(&NodeName, Doubt)> = snapshot
        .nodes
        .iter()
        .filter_map(|(name, node)| Some((name, doubt(node)?)))
        .collect();
    if doubted.is_empty() {
        return BTreeMap::new();
    }
    let void = |history: &History| {
        let mut history = history.clone();
        let mut changed = false;
        for rollout in history.values_mut() {
            for (name, doubt) in &doubted {
                if doubt.voids(rollout.verdict(name)) {
                    rollout.nodes.remove(*name);
                    changed = true;
                }
            }
        }
        changed.then_some(history)
    };
    let deployed = snapshot
        .rollouts
        .iter()
        .filter(|(name, _)| snapshot.deployments.contains_key(*name));
    deployed
        .filter_map(|(name, history)| Some((name.clone(), void(history)?)))
        .collect()
}

/// Writes what [`voided`] changed in the rollouts of one deployment.
pub(super) fn write(
    snapshot: &Snapshot,
    name: &DeploymentName,
    voided: &BTreeMap<DeploymentName, History>,
    plan: &mut Plan,
) {
    let stored = snapshot.rollouts.get(name);
    for (number, rollout) in voided.get(name).into_iter().flatten() {
        if stored.and_then(|stored| stored.get(number)) != Some(rollout) {
            plan.rollouts
                .insert((name.clone(), *number), rollout.clone());
        }
    }
}

/// Why verdicts under a node's name are not believed.
#[derive(Clone, Copy)]
enum Doubt {
    /// Another device had the name: this one was never planned for.
    NewDevice,
    /// The node has what this cloud never told it.
    Ahead,
}

impl Doubt {
    /// A node that is ahead may still be known to have refused a version.
    fn voids(self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (_, Verdict::Inconclusive) | (Self::Ahead, Verdict::Fail) => false,
            (_, Verdict::Pass) | (Self::NewDevice, Verdict::Fail) => true,
        }
    }
}

fn doubt(node: &Node) -> Option<Doubt> {
    // The first plan for a node gives it conditions.
    if node.status.conditions.is_empty() || node.status.uid.is_some_and(|uid| uid != node.uid) {
        return Some(Doubt::NewDevice);
    }
    match Standing::of(node) {
        Standing::Level { .. } | Standing::Unheard => None,
        Standing::Ahead { .. }
        | Standing::OutOfReach { .. }
        | Standing::Reasserted { .. }
        | Standing::Adopted { .. } => Some(Doubt::Ahead),
    }
}
