//! How the loops of cloudcore wake each other. A lost signal costs time, never correctness: every
//! receiver looks at the store, and looks again by itself.

use std::sync::Arc;

use millwright_proto::ids::NodeUid;
use tokio::sync::{Notify, broadcast, watch};

/// Nodes that may be told of before a slow receiver must look at the whole store instead. A rollout
/// wave of a few thousand nodes fits.
const NODES_QUEUED_MAX: usize = 4096;

/// The signals. Share it as `Arc<Signals>`.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Intent or facts changed: the planner shall look. Woken once however often it is notified.
    pub(crate) plan: Arc<Notify>,
    /// These nodes have a new desired state in the store. Sender: the planner; receiver: the hub.
    pub(crate) desired: broadcast::Sender<NodeUid>,
    /// These nodes may no longer connect: cut their live session. Sender: the API; receiver: the hub.
    pub(crate) revoked: broadcast::Sender<NodeUid>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            plan: Arc::default(),
            desired: broadcast::Sender::new(NODES_QUEUED_MAX),
            revoked: broadcast::Sender::new(NODES_QUEUED_MAX),
        }
    }
}

impl Signals {
    /// Wakes the planner.
    pub(crate) fn wake_planner(&self) {
        self.plan.notify_one();
    }

    /// Tells the hub that `node` has a new desired state.
    pub(crate) fn desired_changed(&self, node: NodeUid) {
        // No receiver means no session to tell: the node reads the store when it connects.
        let _ = self.desired.send(node);
    }

    /// Tells the hub to cut the session of `node`.
    pub(crate) fn node_revoked(&self, node: NodeUid) {
        // No receiver means no live session; Hello checks the store again anyway.
        let _ = self.revoked.send(node);
    }
}

/// Resolves when the server drains, at once if it does so already.
pub(crate) async fn draining(shutdown: &mut watch::Receiver<bool>) {
    // The sender is gone only when the process is about to be.
    let _ = shutdown.wait_for(|ending| *ending).await;
}
