//! The gate every node has to pass: the version answers requests on it.
//!
//! Evidence counts only when it is about a desired state that names the version since then; an older
//! report leaves the verdict as it was. A pass stays one while the node is silent or restarts; a refusal
//! overrules it.

use millwright_proto::ids::{ModelName, ModelVersion, NodeName};

use crate::desired::Standing;
use crate::fleet::{Node, SlotReport, SlotState};

/// What a gate says of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The version answers requests.
    Pass,
    /// The node refused the version.
    Fail,
    /// Not known yet; a silent node is neither success nor failure.
    Inconclusive,
}

/// Judges `node`, which stood at `before`, and says why.
#[must_use]
pub fn judge(
    name: &NodeName,
    node: &Node,
    target: &ModelVersion,
    before: Verdict,
    told: Told,
) -> (Verdict, String) {
    match told {
        Told::NotYet => (Verdict::Inconclusive, waiting(name, node, target)),
        Told::Now => (Verdict::Inconclusive, missing(node, target)),
        Told::Before => evidence(node, target)
            .unwrap_or(before)
            .with_message(node, target),
    }
}

/// Whether the desired state of a node names the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It names another one, or none: the wave has not begun, or the budget is used up, or it is held.
    NotYet,
    /// The plan in the making changes it to the version.
    Now,
    /// The stored one names it.
    Before,
}

/// Whether the stored desired state of `node` names `target`.
#[must_use]
pub fn is_told(node: &Node, target: &ModelVersion) -> bool {
    let desired = node.desired.as_ref();
    let slot = desired.and_then(|desired| desired.content.slots.get(&target.model));
    slot.is_some_and(|slot| slot.version == target.version)
}

/// The version of `model` that the stored desired state of `node` names.
#[must_use]
pub fn told(node: &Node, model: &ModelName) -> Option<ModelVersion> {
    let slot = node.desired.as_ref()?.content.slots.get(model)?;
    Some(ModelVersion {
        model: model.clone(),
        version: slot.version.clone(),
    })
}

/// What the node's last report says of `target`, if it is about what the node was told last.
#[must_use]
pub fn evidence(node: &Node, target: &ModelVersion) -> Option<Verdict> {
    let desired = node.desired.as_ref()?;
    if !is_told(node, target) || !desired.is_spoken_of(&target.model, node.report.applied?) {
        return None;
    }
    let slot = slot_at(node, target)?;
    match slot.state {
        SlotState::Active => Some(Verdict::Pass),
        SlotState::Failed => Some(Verdict::Fail),
        SlotState::Pending | SlotState::Staged | SlotState::Verified | SlotState::Warmed => None,
    }
}

impl Verdict {
    fn with_message(self, node: &Node, target: &ModelVersion) -> (Self, String) {
        let message = match self {
            Self::Pass => format!("{target} is active"),
            Self::Fail => refusal(node, target),
            Self::Inconclusive => missing(node, target),
        };
        (self, message)
    }
}

/// In which words `node` refused `target`.
pub(super) fn refusal(node: &Node, target: &ModelVersion) -> String {
    let refused = |slot: &&SlotReport| slot.state == SlotState::Failed;
    match slot_at(node, target).filter(refused) {
        Some(slot) => format!("{target} was refused: {}: {}", slot.reason, slot.message),
        None => format!("{target} was refused"),
    }
}

fn was_adopted(node: &Node, target: &ModelVersion) -> bool {
    let desired = node.desired.as_ref();
    let slot = desired.and_then(|desired| desired.content.slots.get(&target.model));
    slot.is_some_and(|slot| slot.adopted.is_some())
}

fn waiting(name: &NodeName, node: &Node, target: &ModelVersion) -> String {
    match Standing::of(node).hold(name) {
        Some((reason, _)) => format!("held: {reason}, see the conditions of Node/{name}"),
        None if Standing::of(node) == Standing::Unheard => {
            "not heard since an older backup was restored".to_owned()
        }
        None if was_adopted(node, target) => {
            "keeps the version adopted from it until the deployment says something new".to_owned()
        }
        None => "waits for the disruption budget".to_owned(),
    }
}

fn missing(node: &Node, target: &ModelVersion) -> String {
    let progress = match slot_at(node, target).map(|slot| slot.state) {
        Some(SlotState::Staged) => "the files are on the node",
        Some(SlotState::Verified) => "the files are verified",
        Some(SlotState::Warmed) => "the golden outputs agree",
        Some(SlotState::Pending | SlotState::Active | SlotState::Failed) | None => {
            "the node was told"
        }
    };
    match blocked(node) {
        None => progress.to_owned(),
        Some(Blocked::NotConnected) => format!("{progress}; it is not connected"),
        Some(Blocked::HeldAtNode) => {
            let why = node.held_at_node().unwrap_or_default();
            format!("{progress}; it is held at the node: {why}")
        }
    }
}

/// What keeps a node that was told from moving on, as far as the cloud can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It has no session.
    NotConnected,
    /// Somebody at the box holds it.
    HeldAtNode,
}

impl Blocked {
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::NotConnected => "not connected",
            Self::HeldAtNode => "held at the node",
        }
    }
}

pub(super) fn blocked(node: &Node) -> Option<Blocked> {
    if !node.is_connected() {
        Some(Blocked::NotConnected)
    } else if node.held_at_node().is_some() {
        Some(Blocked::HeldAtNode)
    } else {
        None
    }
}

fn slot_at<'a>(node: &'a Node, target: &ModelVersion) -> Option<&'a SlotReport> {
    let slot = node.report.slots.get(&target.model)?;
    (slot.version == target.version).then_some(slot)
}
