//! What the desired state of every node says, gathered from all deployments.

use std::collections::BTreeMap;

use millwright_proto::ids::{ModelVersion, NodeName};

use super::Snapshot;
use crate::desired::{Content, Slot};
use crate::fleet::{Deployment, Phase};
use crate::rollout::Progress;

/// An empty content for every node that is planned for.
pub(super) fn empty(snapshot: &Snapshot) -> BTreeMap<NodeName, Content> {
    let takes_part = snapshot.nodes.iter().filter(|(_, node)| match node.phase {
        Phase::Enrolled => true,
        Phase::Revoked | Phase::Decommissioned => false,
    });
    let content = Content {
        slots: BTreeMap::new(),
        summary_window_ms: snapshot.summary_window_ms,
    };
    takes_part
        .map(|(name, _)| (name.clone(), content.clone()))
        .collect()
}

/// Adds what one deployment assigns.
pub(super) fn assign(
    contents: &mut BTreeMap<NodeName, Content>,
    snapshot: &Snapshot,
    deployment: &Deployment,
    progress: &Progress,
) {
    let model = &deployment.target.model;
    for (name, version) in &progress.assigned {
        let stored = snapshot
            .nodes
            .get(name)
            .and_then(|node| node.desired.as_ref())
            .and_then(|desired| desired.content.slots.get(model))
            .filter(|slot| slot.version == *version);
        let fresh = || {
            let version = ModelVersion {
                model: model.clone(),
                version: version.clone(),
            };
            let package = *snapshot.versions.get(&version)?;
            Some(Slot {
                version: version.version,
                package,
                prove_for_ms: deployment.strategy.prove_for_ms,
            })
        };
        // A slot the node has already stays as it is, whatever became of the deployment's other
        // settings or of the pushed version: only a version that moves is a change.
        if let Some(slot) = stored.cloned().or_else(fresh)
            && let Some(content) = contents.get_mut(name)
        {
            content.slots.insert(model.clone(), slot);
        }
    }
}
