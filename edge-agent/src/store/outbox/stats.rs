//! What the outbox tells about itself, for `edge-agent status` and the summary windows.

use std::collections::BTreeMap;

use edge_core::outbox::{Backlog, GapReason};

/// How the outbox is doing. Everything is as of the moment of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Records that the cloud has not acknowledged, and what they cost on disk.
    pub backlog: Backlog,
    /// When the oldest of them was measured or happened, in Unix milliseconds by the node's clock; `None` when
    /// nothing waits or it does not say.
    pub oldest_unix_ms: Option<u64>,
    /// Sequence numbers declared lost since this store was started, by reason; a reason without losses is absent.
    pub losses: BTreeMap<GapReason, u64>,
    /// Windows that no longer have a record of their own, because they were merged into a coarser one since this
    /// store was started. Nothing of them is lost but their resolution.
    pub merged_windows: u64,
    /// Bytes the outbox takes on disk.
    pub used_bytes: u64,
    /// Bytes it may take.
    pub quota_bytes: u64,
    /// Bytes written to the disk since midnight (UTC, by the node's clock), overhead included.
    pub written_today_bytes: u64,
    /// Bytes that may be written in a day before windows become longer; `None`: no budget.
    pub written_per_day_max_bytes: Option<u64>,
}

impl OutboxStats {
    /// Whether more was written today than the flash-wear budget allows.
    #[must_use]
    pub fn is_over_wear_budget(&self) -> bool {
        self.written_per_day_max_bytes
            .is_some_and(|budget_bytes| self.written_today_bytes > budget_bytes)
    }
}
