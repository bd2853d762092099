//! After a restart: tells every agent whose QUIC session outlived the process that it is gone.
//!
//! A killed process says no goodbye, and a quiet agent would notice only with its next keep-alive, up to
//! 20 s later. So the sessions of the process before are read from the store, and each peer is sent a
//! stateless reset (RFC 9000, section 10.3), which only the holder of the reset key can make and which
//! agents obey at once. Whom it does not reach (another address by now, a packet lost) notices by itself.
//!
//! Resets are sent as fast as nodes come back: the storm after a restart has the size that this process
//! chooses, whatever the number of nodes and the speed of the machine. Nothing is decided by it: a node
//! without a reset, or with two, comes back the same.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use millwright_proto::ids::NodeUid;
use ring::hmac;
use tokio::time::{Instant, MissedTickBehavior};

use super::Hub;
use crate::pki::{self, PkiError};
use crate::signals::draining;
use crate::store::QuicPeer;

/// Nodes that were told and are not back: agents wait 0.5 to 5 s before they dial, so this many keep some 800
/// handshakes a second under way, which two cores just manage.
const AWAITED_MAX: usize = 2_800;

/// A node that is not back after this time is told once more, and then not waited for any longer.
const AWAITED_FOR: Duration = Duration::from_secs(8);

/// Time between two bursts, and the size of one: at most 2,000 a second.
const BURST_EVERY: Duration = Duration::from_millis(25);
const BURST_MAX: usize = 50;

/// The token that ends a stateless reset.
const TOKEN_BYTES: usize = 16;

/// Random bytes before the token: as many as make a reset look like any other packet.
const NOISE_BYTES: usize = 27;

/// Whom to tell, and with what.
pub(super) struct Recall {
    pub(super) socket: UdpSocket,
    pub(super) key: hmac::Key,
    pub(super) peers: Vec<(NodeUid, QuicPeer)>,
}

/// A node that was told and is not back.
struct Awaited {
    told: Instant,
    node: NodeUid,
    peer: QuicPeer,
    /// Whether this was the second time.
    again: bool,
}

/// Tells them all, then ends.
pub(super) async fn run(hub: Arc<Hub>, recall: Recall) {
    if recall.peers.is_empty() {
        return;
    }
    let mut shutdown = hub.shutdown.clone();
    let sessions = recall.peers.len();
    tracing::info!(sessions, "recalling the sessions of the process before");
    tokio::select! {
        () = recall.send_all(&hub) => tracing::info!(sessions, "every session was recalled"),
        () = draining(&mut shutdown) => {}
    }
}

impl Recall {
    async fn send_all(mut self, hub: &Hub) {
        let mut awaited: VecDeque<Awaited> = VecDeque::new();
        let mut ticks = tokio::time::interval(BURST_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            {
                let live = hub.table();
                awaited.retain(|awaited| !live.contains_key(&awaited.node));
                // Whoever noticed by itself is back already.
                self.peers.retain(|(node, _)| !live.contains_key(node));
            }
            while let Some(late) =
                awaited.pop_front_if(|awaited| now.duration_since(awaited.told) >= AWAITED_FOR)
            {
                if !late.again {
                    self.tell(&late.node, &late.peer);
                    awaited.push_back(Awaited {
                        told: now,
                        again: true,
                        ..late
                    });
                }
            }
            let burst = AWAITED_MAX.saturating_sub(awaited.len()).min(BURST_MAX);
            for _ in 0..burst {
                let Some((node, peer)) = self.peers.pop() else {
                    break;
                };
                self.tell(&node, &peer);
                awaited.push_back(Awaited {
                    told: now,
                    node,
                    peer,
                    again: false,
                });
            }
            if self.peers.is_empty() && awaited.is_empty() {
                return;
            }
        }
    }

    fn tell(&self, node: &NodeUid, peer: &QuicPeer) {
        if let Err(fault) = self.send(peer) {
            tracing::debug!(node = %node, error = %fault, "a node cannot be recalled");
        }
    }

    fn send(&self, peer: &QuicPeer) -> Result<(), PkiError> {
        let packet = packet(&self.key, &peer.connection_id, pki::random()?);
        // A full socket buffer loses it, as any network may.
        let _ = self.socket.send_to(&packet, peer.address);
        Ok(())
    }
}

/// A stateless reset for the connection that the peer knows by `connection_id`.
fn packet(
    key: &hmac::Key,
    connection_id: &[u8],
    noise: [u8; NOISE_BYTES],
) -> [u8; NOISE_BYTES + TOKEN_BYTES] {
    let mut packet = [0; NOISE_BYTES + TOKEN_BYTES];
    let (front, token) = packet.split_at_mut(NOISE_BYTES);
    front.copy_from_slice(&noise);
    // A short header: the fixed bit set, the long-header bit not.
    front[0] = 0b0100_0000 | (front[0] >> 2);
    token.copy_from_slice(&hmac::sign(key, connection_id).as_ref()[..TOKEN_BYTES]);
    packet
}

#[cfg(test)]
mod tests;
