//! The UDP relay: every agent socket gets an upstream socket of its own, as behind a NAT.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::delay::{self, Exit, Parcel, UNDER_WAY_MAX};
use super::{Fate, Lane, Shared};

/// Larger than any datagram QUIC sends.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Agent sockets the NAT remembers; an agent uses a new one per dial. Datagrams of further ones are lost.
const FLOWS_MAX: usize = 4_096;

/// The first bit of a datagram of QUIC version 1 is set as long as the handshake goes on (RFC 9000, 17.2).
const LONG_HEADER: u8 = 0x80;

/// One lane and its delay line.
#[derive(Clone)]
struct Way {
    shared: Arc<Shared>,
    lane: Lane,
    line: mpsc::Sender<Parcel>,
}

impl Way {
    fn open(shared: &Arc<Shared>, lane: Lane, lines: &mut JoinSet<()>) -> Self {
        let (line, parcels) = mpsc::channel(UNDER_WAY_MAX);
        lines.spawn(delay::line(Arc::clone(shared), lane, parcels));
        Self {
            shared: Arc::clone(shared),
            lane,
            line,
        }
    }

    /// Books a datagram and sends it on its way, if it has one.
    fn enter(&self, datagram: &[u8], exit: &Exit) {
        let (shared, lane) = (&self.shared, self.lane);
        shared.book(|traffic| traffic.datagram(lane, datagram.len()));
        let fate = shared.fate(lane, datagram.len());
        let conditions = shared.conditions.borrow();
        let handshake = datagram
            .first()
            .is_some_and(|first| first & LONG_HEADER != 0);
        let blocked = conditions.is_cut(lane) || conditions.handshakes_only && !handshake;
        let Fate::Arrives { at_us, again_at_us } = fate else {
            return shared.book(|traffic| traffic.lost(lane));
        };
        if blocked {
            return shared.book(|traffic| traffic.lost(lane));
        }
        let bytes: Arc<[u8]> = datagram.into();
        for due_us in [Some(at_us), again_at_us].into_iter().flatten() {
            let parcel = Parcel {
                due_us,
                bytes: Arc::clone(&bytes),
                exit: exit.clone(),
            };
            if self.line.try_send(parcel).is_err() {
                shared.book(|traffic| traffic.lost(lane));
            }
        }
    }
}

/// Relays between any number of agent sockets at `near` and `server`.
pub(super) async fn relay(shared: Arc<Shared>, near: UdpSocket, server: SocketAddr) {
    let near = Arc::new(near);
    let mut lines = JoinSet::new();
    let up = Way::open(&shared, Lane::UdpUp, &mut lines);
    let down = Way::open(&shared, Lane::UdpDown, &mut lines);
    let mut flows: BTreeMap<SocketAddr, Exit> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error tells of an earlier datagram that the agent's host refused: that one is lost.
        let Ok((length, agent)) = near.recv_from(&mut datagram).await else {
            continue;
        };
        if !flows.contains_key(&agent) && flows.len() < FLOWS_MAX {
            let Ok(first) = upstream(server).await else {
                continue;
            };
            let (address, current) = watch::channel(Arc::new(first));
            let exit = Exit::Down(Arc::clone(&near), agent);
            answers.spawn(answer(down.clone(), exit, address, server));
            flows.insert(agent, Exit::Up(current));
        }
        if let Some(exit) = flows.get(&agent) {
            up.enter(&datagram[..length], exit);
        }
    }
}

/// Relays what cloudcore answers to one agent socket, and moves its upstream socket when the address changes.
async fn answer(down: Way, exit: Exit, address: watch::Sender<Arc<UdpSocket>>, server: SocketAddr) {
    let mut conditions = down.shared.conditions.subscribe();
    let mut at = conditions.borrow_and_update().address;
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let socket = Arc::clone(&address.borrow());
        tokio::select! {
            // An error is cloudcore's port being closed for a while; later datagrams may pass again.
            received = socket.recv(&mut datagram) => match received {
                Ok(length) => down.enter(&datagram[..length], &exit),
                Err(_refused) => tokio::task::yield_now().await,
            },
            changed = conditions.changed() => {
                if changed.is_err() {
                    return;
                }
                let now_at = conditions.borrow_and_update().address;
                if now_at != at && let Ok(moved) = upstream(server).await {
                    at = now_at;
                    address.send_replace(Arc::new(moved));
                }
            }
        }
    }
}

async fn upstream(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    Ok(socket)
}
