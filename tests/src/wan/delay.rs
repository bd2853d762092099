//! Holds datagrams back until they are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::{Lane, Shared};

/// Datagrams under way on one lane: half a second of a gigabit; what comes on top is lost.
pub(super) const UNDER_WAY_MAX: usize = 8_192;

/// Where a datagram leaves.
#[derive(Clone)]
pub(super) enum Exit {
    /// Towards cloudcore, from the address the agent has then.
    Up(watch::Receiver<Arc<UdpSocket>>),
    /// Towards the agent.
    Down(Arc<UdpSocket>, SocketAddr),
}

/// A datagram under way.
pub(super) struct Parcel {
    pub(super) due_us: u64,
    pub(super) bytes: Arc<[u8]>,
    pub(super) exit: Exit,
}

/// Delivers what comes in through `parcels` when it is due, in the order of arrival times.
pub(super) async fn line(shared: Arc<Shared>, lane: Lane, mut parcels: mpsc::Receiver<Parcel>) {
    let mut waiting = BinaryHeap::new();
    let mut serial = 0_u64;
    let mut contents = std::collections::BTreeMap::new();
    loop {
        let pause = waiting.peek().map(|Reverse((due_us, _))| {
            Duration::from_micros(u64::saturating_sub(*due_us, shared.now_us()))
        });
        tokio::select! {
            parcel = parcels.recv(), if contents.len() < UNDER_WAY_MAX => {
                let Some(parcel) = parcel else { return };
                waiting.push(Reverse((parcel.due_us, serial)));
                contents.insert(serial, parcel);
                serial += 1;
            }
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                let next = waiting.pop().and_then(|Reverse((_, serial))| contents.remove(&serial));
                if let Some(parcel) = next {
                    deliver(&shared, lane, parcel).await;
                }
            }
        }
    }
}

async fn deliver(shared: &Shared, lane: Lane, parcel: Parcel) {
    if shared.conditions.borrow().is_cut(lane) {
        shared.book(|traffic| traffic.lost(lane));
        return;
    }
    // A datagram that is refused (nobody listens there now) is lost, as on a real network.
    match parcel.exit {
        Exit::Up(upstream) => {
            let upstream = Arc::clone(&upstream.borrow());
            drop(upstream.send(&parcel.bytes).await);
        }
        Exit::Down(near, agent) => drop(near.send_to(&parcel.bytes, agent).await),
    }
}
