//! What the bench and the process with our outbox agree on.

use serde::{Deserialize, Serialize};

/// Bytes of a record.
pub(crate) const RECORD_BYTES: u64 = 200;

/// What a store's process prints.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) open_ms: f64,
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) rss_kib: u64,
    pub(crate) rss_max_kib: u64,
}
