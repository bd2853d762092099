//! How many may knock at once, and who is sent away for a while.
//!
//! Waiting is cheaper than refusing: who is refused comes back with another handshake. So whoever finds
//! the door full waits for a moment, and only who waits too long is let go. Handshakes that hang give way
//! to those who wait, so that connections opened to hold the door cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::tasks::ingest::Load;

/// Handshakes under way on one transport. A handshake costs two signatures (about 0.5 ms of a core) and some
/// 50 KiB; this many keep two cores busy for a quarter of a second.
const HANDSHAKES_MAX: usize = 512;

/// Who waits before the door: a few KiB each.
const WAITING_MAX: usize = 8_192;

/// How long one waits: agents give a QUIC dial three seconds.
pub(super) const QUIC_WAIT_MAX: Duration = Duration::from_secs(2);

/// And one over WebSocket ten.
pub(super) const WEBSOCKET_WAIT_MAX: Duration = Duration::from_secs(6);

/// A handshake this old ends when others wait: over a satellite it takes a round trip of 0.7 s, and on a
/// busy server with a full door as long as the door is full of others, about a second.
const GIVES_WAY_AFTER: Duration = Duration::from_millis(2_500);

/// TLS and, on WebSocket, the upgrade: a few round trips; a satellite link has 0.7 s each.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// How long a Hello may have to wait for its commit before its node is sent away: agents wait three seconds in all.
const HELLO_WAIT_MS_MAX: u64 = 1_500;

/// Shortest time a node is sent away for.
pub(super) const COME_BACK_MS_MIN: u32 = 1_000;

/// Nodes that are sent away together come back over as many milliseconds as give each this much.
const COME_BACK_MS_EACH: u64 = 1;

/// The door of one transport. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    inside: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    wait_max: Duration,
}

/// Why a handshake came to nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfinished {
    #[error("too many are waiting")]
    Full,
    #[error("it took too long")]
    Slow,
}

struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    /// A door before which one waits for at most `wait_max`.
    pub(super) fn new(wait_max: Duration) -> Self {
        Self {
            wait_max,
            inside: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            waiting: Arc::default(),
        }
    }

    /// Whether more cannot even wait.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= WAITING_MAX
    }

    /// Does one handshake, once there is room for it.
    pub(super) async fn pass<T>(
        &self,
        handshake: impl Future<Output = T>,
    ) -> Result<T, Unfinished> {
        let permit = self.enter().await?;
        let began = Instant::now();
        tokio::pin!(handshake);
        let done = tokio::select! {
            done = &mut handshake => Ok(done),
            () = self.must_go(began) => Err(Unfinished::Slow),
        };
        drop(permit);
        done
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit, Unfinished> {
        let inside = Arc::clone(&self.inside);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Unfinished::Full);
        }
        let _waiter = Waiter(&self.waiting);
        match tokio::time::timeout(self.wait_max, inside.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Unfinished::Full),
        }
    }

    /// Resolves when a handshake that began then has to end: late, or earlier when others wait.
    async fn must_go(&self, began: Instant) {
        let mut look_at = began + GIVES_WAY_AFTER;
        loop {
            sleep_until(look_at).await;
            let others_wait =
                self.inside.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) > 0;
            if others_wait || look_at >= began + HANDSHAKE_WITHIN {
                return;
            }
            look_at += GIVES_WAY_AFTER;
        }
    }
}

/// Whether a node that says Hello shall come back later instead, and after how many milliseconds: when
/// so many Hellos wait that its own would wait too long. Those sent away together come back one after
/// the other, at the pace at which Hellos are committed.
pub(super) fn come_back_ms(load: Load, random: u64) -> Option<u32> {
    let per_second = u64::from(load.hellos_per_second.max(1));
    let wait_ms = load.hellos_waiting as u64 * 1_000 / per_second;
    (wait_ms > HELLO_WAIT_MS_MAX).then(|| spread_ms(wait_ms * 2, random))
}

/// When a node comes back that is sent away together with `nodes` others.
pub(super) fn goodbye_ms(nodes: usize, random: u64) -> u32 {
    spread_ms(nodes as u64 * COME_BACK_MS_EACH, random)
}

fn spread_ms(over_ms: u64, random: u64) -> u32 {
    let share = (u128::from(random) * u128::from(over_ms)) >> 64;
    COME_BACK_MS_MIN.saturating_add(u32::try_from(share).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
