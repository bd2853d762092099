//! Nodes that had a session when the process before this one ended, and do not come back.
//!
//! A restart of cloudcore says nothing about nodes, so none is shown as offline because of it. Their
//! sessions are read once at start; which of them are still the newest of their node when the time to come
//! back is over are ended. A node that came back has a newer session, which is left alone.

use std::time::Duration;

use millwright_proto::ids::{Lineage, NodeUid};
use tokio::sync::watch;

use crate::signals::draining;
use crate::store::{Store, StoreError};
use crate::tasks::ingest::{Ingest, SessionKey};

/// How long nodes have to come back: the longest pause of an agent that found nobody is a minute, and
/// a dial over both transports takes 13 s.
const RETURN_WITHIN: Duration = Duration::from_secs(90);

/// The sessions that a process left behind.
pub(crate) struct Absent {
    ingest: Ingest,
    left: Vec<(NodeUid, u64)>,
}

impl Absent {
    /// Reads them; call before the first agent is let in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn since_start(store: &Store, ingest: Ingest) -> Result<Self, StoreError> {
        let left = store.live_sessions().await?;
        Ok(Self { ingest, left })
    }

    /// Waits until the time is over, ends those still there, and then does nothing until `shutdown`.
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            () = self.end_them() => draining(&mut shutdown).await,
            () = draining(&mut shutdown) => {}
        }
    }

    async fn end_them(&self) {
        tokio::time::sleep(RETURN_WITHIN).await;
        for &(uid, term) in &self.left {
            let session = SessionKey {
                uid,
                term,
                // Only the node and its term name a session that ends.
                lineage: Lineage::from_bytes([0; 16]),
            };
            if let Err(fault) = self.ingest.ended(&session).await {
                tracing::warn!(node = %uid, error = %fault, "cannot end a session left behind");
            }
        }
    }
}
