//! A UDP relay that can swallow every datagram: how a plant network that blocks UDP looks from the agent.
//!
//! A closed port answers; a firewall does not. Only swallowing shows whether the agent gives up by itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Larger than any datagram QUIC sends.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Relays datagrams between any number of clients and one server until dropped.
pub struct UdpRelay {
    address: SocketAddr,
    swallowing: Arc<AtomicBool>,
    swallowed: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl UdpRelay {
    /// Starts relaying to `server`, on a port the system chooses.
    ///
    /// # Errors
    /// When no socket can be bound.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")
            .await
            .context("binding the relay")?;
        let address = socket.local_addr().context("asking for the relay's port")?;
        let swallowing = Arc::new(AtomicBool::new(false));
        let swallowed = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(relay(
            Arc::new(socket),
            server,
            Arc::clone(&swallowing),
            Arc::clone(&swallowed),
        ));
        Ok(Self {
            address,
            swallowing,
            swallowed,
            task,
        })
    }

    /// What clients dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on no datagram arrives, in either direction.
    pub fn swallow(&self) {
        self.swallowing.store(true, Ordering::SeqCst);
    }

    /// From now on datagrams arrive again.
    pub fn pass(&self) {
        self.swallowing.store(false, Ordering::SeqCst);
    }

    /// Datagrams that never arrived.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for UdpRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    clients: Arc<UdpSocket>,
    server: SocketAddr,
    swallowing: Arc<AtomicBool>,
    swallowed: Arc<AtomicU64>,
) {
    let mut upstreams: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok((length, client)) = clients.recv_from(&mut datagram).await {
        if swallowing.load(Ordering::SeqCst) {
            swallowed.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let upstream = match upstreams.entry(client) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => {
                let Ok(upstream) = connect_upstream(server).await else {
                    continue;
                };
                answers.spawn(relay_answers(
                    Arc::clone(&upstream),
                    Arc::clone(&clients),
                    client,
                    Arc::clone(&swallowing),
                ));
                Arc::clone(new.insert(upstream))
            }
        };
        // A refused datagram (server away) is lost, as on a real network.
        let _ = upstream.send(&datagram[..length]).await;
    }
}

async fn connect_upstream(server: SocketAddr) -> std::io::Result<Arc<UdpSocket>> {
    let upstream = UdpSocket::bind("127.0.0.1:0").await?;
    upstream.connect(server).await?;
    Ok(Arc::new(upstream))
}

async fn relay_answers(
    upstream: Arc<UdpSocket>,
    clients: Arc<UdpSocket>,
    client: SocketAddr,
    swallowing: Arc<AtomicBool>,
) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is the server's port being closed for a while; later datagrams may pass again.
        let Ok(length) = upstream.recv(&mut datagram).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if !swallowing.load(Ordering::SeqCst) {
            let _ = clients.send_to(&datagram[..length], client).await;
        }
    }
}
