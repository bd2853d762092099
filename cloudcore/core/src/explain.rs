//! Why a node is not where its desired state wants it: the first thing that blocks, in the order in
//! which a node gets there.

use millwright_proto::ids::ModelName;

use crate::desired::{Slot, Standing};
use crate::fleet::{Node, Phase, SlotState};

/// What keeps a model on a node from its wanted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The node is revoked or decommissioned; only a new enrollment helps.
    NotEnrolled,
    /// An operator has to decide; see the node's `AheadOfCloud` condition.
    Held,
    /// Somebody at the box holds it; with their words.
    HeldAtNode(String),
    /// Its last report is older than its desired state and it is not connected.
    Offline,
    /// It has no ONNX Runtime, so it can run no model.
    RuntimeMissing,
    /// It refused the version; `reason` and `message` are the node's.
    Refused {
        /// Machine-readable: `Signature`, `Incompatible`, `Memory`, ...
        reason: String,
        /// For people.
        message: String,
    },
    /// Nothing blocks: it is on its way, this far.
    Moving(SlotState),
}

/// What keeps `model` on `node` from the version `slot` wants; `None` when it is active.
#[must_use]
pub fn blocker(node: &Node, model: &ModelName, slot: &Slot) -> Option<Blocker> {
    let report = node.report.slots.get(model);
    let report = report.filter(|report| report.version == slot.version);
    let state = report.map_or(SlotState::Pending, |report| report.state);
    let has_runtime = |platform: &crate::fleet::Platform| platform.onnxruntime.is_some();
    if state == SlotState::Active {
        return None;
    }
    if node.phase != Phase::Enrolled {
        return Some(Blocker::NotEnrolled);
    }
    let standing = Standing::of(node);
    if matches!(
        standing,
        Standing::Ahead { .. } | Standing::OutOfReach { .. }
    ) {
        return Some(Blocker::Held);
    }
    if let Some(report) = report.filter(|_| state == SlotState::Failed) {
        return Some(Blocker::Refused {
            reason: report.reason.clone(),
            message: report.message.clone(),
        });
    }
    if !node.is_connected() {
        return Some(Blocker::Offline);
    }
    if let Some(why) = node.held_at_node() {
        return Some(Blocker::HeldAtNode(why.to_owned()));
    }
    if !node.platform.as_ref().is_none_or(has_runtime) {
        return Some(Blocker::RuntimeMissing);
    }
    Some(Blocker::Moving(state))
}
