//! What the desired state of every node says, gathered from all deployments.

use std::collections::BTreeMap;

use millwright_proto::ids::{ModelName, ModelVersion, NodeName};

use super::Snapshot;
use crate::desired::{Content, Gap, NO_DEPLOYMENT, Slot, Standing};
use crate::fleet::placement::Placement;
use crate::fleet::{Deployment, Node, Phase};
use crate::rollout::Progress;

/// An empty content for every node that is planned for.
pub(super) fn empty(snapshot: &Snapshot) -> BTreeMap<NodeName, Content> {
    let takes_part = snapshot.nodes.iter().filter(|(_, node)| match node.phase {
        Phase::Enrolled => true,
        Phase::Revoked | Phase::Decommissioned => false,
    });
    let content = Content {
        slots: BTreeMap::new(),
        pipelines: BTreeMap::new(),
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
                gap: deployment.strategy.gap,
                adopted: None,
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

/// How long the replaced worker of an adopted version stays warm when no deployment says, in milliseconds.
const PROVE_FOR_MS: u32 = 30_000;

/// Adds what was adopted from a node and belongs to no deployment: it stays until one takes the node.
pub(super) fn keep_adopted(contents: &mut BTreeMap<NodeName, Content>, snapshot: &Snapshot) {
    for (name, content) in contents {
        let stored = snapshot.nodes.get(name);
        let stored = stored.and_then(|node| node.desired.as_ref());
        for (model, slot) in stored.iter().flat_map(|desired| &desired.content.slots) {
            if slot.adopted == Some(NO_DEPLOYMENT) && !content.slots.contains_key(model) {
                content.slots.insert(model.clone(), slot.clone());
            }
        }
    }
}

/// Makes what an adopted node reports its content, whatever the deployments say. A node that reports a
/// version nobody pushed has no content: nothing is planned for it, and its condition tells.
pub(super) fn adopt(
    contents: &mut BTreeMap<NodeName, Content>,
    snapshot: &Snapshot,
    placement: &Placement,
) {
    for (name, node) in &snapshot.nodes {
        if !matches!(Standing::of(node), Standing::Adopted { .. }) {
            continue;
        }
        // A Hello names only the generation; what the node runs comes with its first report.
        if !node.report.tells_models() {
            contents.remove(name);
            continue;
        }
        let slots: Option<BTreeMap<ModelName, Slot>> = node
            .report
            .slots
            .keys()
            .map(|model| {
                Some((
                    model.clone(),
                    reported(name, node, model, snapshot, placement)?,
                ))
            })
            .collect();
        match (slots, contents.get_mut(name)) {
            (Some(slots), Some(content)) => content.slots = slots,
            (None, Some(_)) => drop(contents.remove(name)),
            (_, None) => {}
        }
    }
}

/// The version of `model` that the node was told to run by a cloud this one knows nothing of.
fn reported(
    name: &NodeName,
    node: &Node,
    model: &ModelName,
    snapshot: &Snapshot,
    placement: &Placement,
) -> Option<Slot> {
    let version = ModelVersion {
        model: model.clone(),
        version: node.report.slots.get(model)?.version.clone(),
    };
    let package = *snapshot.versions.get(&version)?;
    let deployment = snapshot.deployments.iter().find(|(deployment, intent)| {
        let nodes = placement.nodes.get(*deployment);
        intent.target.model == *model && nodes.is_some_and(|nodes| nodes.contains(name))
    });
    let deployment = deployment.map(|(_, intent)| intent);
    Some(Slot {
        version: version.version,
        package,
        prove_for_ms: deployment.map_or(PROVE_FOR_MS, |intent| intent.strategy.prove_for_ms),
        gap: deployment.map_or(Gap::Refused, |intent| intent.strategy.gap),
        adopted: Some(deployment.map_or(NO_DEPLOYMENT, |intent| intent.generation)),
    })
}

/// Versions a node reports that nobody pushed, so that they cannot be adopted.
pub(super) fn unknown_versions(snapshot: &Snapshot, node: &Node) -> Vec<ModelVersion> {
    let reported = node.report.slots.iter().map(|(model, slot)| ModelVersion {
        model: model.clone(),
        version: slot.version.clone(),
    });
    reported
        .filter(|version| !snapshot.versions.contains_key(version))
        .collect()
}
