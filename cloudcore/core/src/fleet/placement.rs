//! Which deployment has which node: at most one per model and node.
//!
//! Two deployments of one model may select one node. The older one has it (by creation time, then by
//! name), so that a new deployment never takes over a node that another one keeps running; the
//! younger one is told which nodes it lost to whom.

use std::collections::{BTreeMap, BTreeSet};

use millwright_proto::ids::{DeploymentName, ModelName, NodeName};

use super::{Deployment, Node};

/// Who has which node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Nodes of every deployment; every deployment has an entry.
    pub nodes: BTreeMap<DeploymentName, BTreeSet<NodeName>>,
    /// Per deployment that lost nodes: which node to which older deployment.
    pub lost: BTreeMap<DeploymentName, BTreeMap<NodeName, DeploymentName>>,
}

/// Places every deployment.
#[must_use]
pub fn place(
    deployments: &BTreeMap<DeploymentName, Deployment>,
    nodes: &BTreeMap<NodeName, Node>,
) -> Placement {
    let mut by_age: Vec<_> = deployments.iter().collect();
    by_age.sort_by_key(|(name, deployment)| (deployment.created_ms, *name));
    let mut placement = Placement::default();
    let mut owners: BTreeMap<(&ModelName, &NodeName), &DeploymentName> = BTreeMap::new();
    for (name, deployment) in by_age {
        let own = placement.nodes.entry(name.clone()).or_default();
        let selected = nodes
            .iter()
            .filter(|(_, node)| deployment.selector.selects(node));
        for (node, _) in selected {
            let owner = owners
                .entry((&deployment.target.model, node))
                .or_insert(name);
            if *owner == name {
                own.insert(node.clone());
            } else {
                let lost = placement.lost.entry(name.clone()).or_default();
                lost.insert(node.clone(), (*owner).clone());
            }
        }
    }
    placement
}
