//! How many may knock at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Handshakes under way on one transport. A handshake costs two signatures (about 0.5 ms of a core) and some
/// 50 KiB; this many keep two cores busy for a quarter of a second.
const HANDSHAKES_MAX: usize = 512;

/// Above this many QUIC handshakes a peer must first prove its address (Retry), so that forged ones cost nothing.
const RETRY_ABOVE: usize = 64;

/// TLS and, on WebSocket, the upgrade: a few round trips; a satellite link has 0.7 s each.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The door of one transport. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door(Arc<Semaphore>);

impl Door {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(HANDSHAKES_MAX)))
    }

    /// Held during one handshake; `None` when too many are under way.
    pub(super) fn try_enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// Whether it is crowded enough to ask for proof of address.
    pub(super) fn is_crowded(&self) -> bool {
        HANDSHAKES_MAX - self.0.available_permits() > RETRY_ABOVE
    }
}
