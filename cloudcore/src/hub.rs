//! Live sessions with agents, over QUIC or WebSocket.
//!
//! ```text
//!   quic, ws ──frames──> session ──reports──> tasks::ingest ──> store
//!      ^                    │  ^
//!      └──Welcome, Ack, ────┘  └── signals: desired changed, node revoked
//!         Desired, Fenced
//! ```
//! Owns the transports, the table of live sessions and what is sent to a node. It does not decide who may
//! have a session ([`crate::tasks::ingest`] does, against the store) nor what a node shall run (the planner
//! does): it reads the newest desired state and sends it. Who a node is comes from its certificate alone.
//!
//! One thing reaches a session from the API: what an operator asks about hard examples ([`asks`]).
//!
//! Invariants: a node has at most one live session, the newest; an `Ack` is sent only after the commit;
//! what waits for a slow node is one mark (latest wins), never a queue. When anything fails the session
//! ends, and the node comes back.

mod admission;
pub(crate) mod asks;
mod blobs;
mod cid;
mod identity;
mod quic;
mod recall;
mod run;
mod session;
mod wire;
mod ws;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millwright_identity::ServerCredentials;
use millwright_proto::ids::{Incarnation, InstanceId, NodeUid};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use self::asks::Asks;
use self::recall::Recall;
use crate::auth::Refusals;
use crate::pki::{self, PkiError};
use crate::registry::Registry;
use crate::signals::{Signals, draining};
use crate::store::{QuicPeer, Store};
use crate::tasks::ingest::{Ingest, SessionKey};

/// Why the hub cannot start.
#[derive(Debug, Error)]
pub(crate) enum HubError {
    /// The certificate cannot carry QUIC.
    #[error("the server certificate cannot carry QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The reset key.
    #[error(transparent)]
    Key(#[from] PkiError),
    /// The UDP socket.
    #[error("cannot use the UDP socket for QUIC: {0}")]
    Socket(#[from] std::io::Error),
}

/// What the hub stands on.
pub(crate) struct HubParts {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) ingest: Ingest,
    /// Bounds how many refusals are audited.
    pub(crate) refusals: Refusals,
    pub(crate) signals: Arc<Signals>,
    /// What operators ask of nodes.
    pub(crate) asks: Arc<Asks>,
    pub(crate) credentials: Arc<ServerCredentials>,
    pub(crate) incarnation: Incarnation,
    /// Makes stateless resets, so that agents notice a restarted cloudcore at once.
    pub(crate) reset_key: [u8; 64],
    /// The QUIC sessions that the process before this one left behind.
    pub(crate) recall: Vec<(NodeUid, QuicPeer)>,
}

/// How often live sessions are held against the store, in case a signal was lost: a revoked node is cut off within 60
/// seconds, whatever happens.
const BARRED_LOOK_EVERY: Duration = Duration::from_secs(30);

/// The sockets the hub accepts on.
pub(crate) struct HubListeners {
    pub(crate) websocket: TcpListener,
    pub(crate) quic: UdpSocket,
}

/// What a live session has to do next. Overwritten, never queued.
#[derive(Clone, Debug, Default)]
struct Orders {
    /// Counts changes of the desired state.
    desired: u64,
    /// Set once: the session ends.
    end: Option<Ending>,
}

/// Why the hub ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A newer session of the node is live.
    Superseded,
    /// The node may no longer connect.
    Revoked,
    /// The node shall connect again, and be looked at again.
    ComeBack {
        /// When.
        after_ms: u32,
    },
}

/// For a node that may have been revoked unnoticed, or has two connections.
const LOOK_AGAIN: Ending = Ending::ComeBack {
    after_ms: admission::COME_BACK_MS_MIN,
};

/// One live session as the table knows it.
struct Live {
    term: u64,
    instance: InstanceId,
    orders: watch::Sender<Orders>,
}

/// Shared by all sessions. Its one lock guards the table, is held for a look-up, and never over an await.
struct Hub {
    parts: HubParts,
    live: Mutex<BTreeMap<NodeUid, Live>>,
    shutdown: watch::Receiver<bool>,
}

/// Accepts agents until `shutdown`, then ends every session.
///
/// # Errors
/// When the TLS settings or the UDP socket cannot be used.
pub(crate) fn start(
    mut parts: HubParts,
    listeners: HubListeners,
    shutdown: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send + use<>, HubError> {
    let recall = Recall {
        socket: listeners.quic.try_clone()?,
        key: quic::reset_key(&parts),
        peers: std::mem::take(&mut parts.recall),
    };
    let endpoint = quic::endpoint(&parts, listeners.quic)?;
    let acceptor = ws::acceptor(&parts);
    let hub = Arc::new(Hub {
        parts,
        live: Mutex::default(),
        shutdown,
    });
    Ok(async move {
        tokio::join!(
            quic::accept(Arc::clone(&hub), endpoint),
            ws::accept(Arc::clone(&hub), listeners.websocket, acceptor),
            recall::run(Arc::clone(&hub), recall),
            follow_signals(hub),
        );
    })
}

impl Hub {
    fn table(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeUid, Live>> {
        // Nothing panics while it is held; a poisoned table is still whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session; the one before it is told to end. Another process of the agent took its place: that
    /// is a matter for people. The same process only dialled twice, and what it gave up arrived late: whichever
    /// of its connections it still has, it shall come back at once.
    fn enter(&self, session: &SessionKey, instance: InstanceId) -> watch::Receiver<Orders> {
        let (orders, receiver) = watch::channel(Orders::default());
        let mut table = self.table();
        match table.get(&session.uid) {
            // The two transports may race; the store gave the newer one the higher term.
            Some(newer) if newer.term > session.term => {
                let why = newer.replaces(instance);
                orders.send_modify(|orders| orders.end = Some(why));
            }
            _ => {
                let live = Live {
                    term: session.term,
                    instance,
                    orders,
                };
                if let Some(older) = table.insert(session.uid, live) {
                    older.end(older.replaces(instance));
                }
            }
        }
        receiver
    }

    /// Takes a session out, unless a newer one has its place.
    fn leave(&self, session: &SessionKey) {
        let mut table = self.table();
        if table
            .get(&session.uid)
            .is_some_and(|live| live.term == session.term)
        {
            table.remove(&session.uid);
        }
    }

    /// What a node is told that has to leave because this process ends: to come back when the next one
    /// is there, and not all at once.
    fn goodbye(&self) -> Result<Ending, PkiError> {
        let random = u64::from_be_bytes(pki::random()?);
        let after_ms = admission::goodbye_ms(self.table().len(), random);
        Ok(Ending::ComeBack { after_ms })
    }

    /// Whether the node has a session now; a node without one gets no blobs either.
    fn is_live(&self, node: NodeUid) -> bool {
        self.table().contains_key(&node)
    }
}

impl Live {
    /// Why one of two sessions of a node ends, the other being of `instance`.
    fn replaces(&self, instance: InstanceId) -> Ending {
        if self.instance == instance {
            LOOK_AGAIN
        } else {
            Ending::Superseded
        }
    }

    fn end(&self, why: Ending) {
        self.orders.send_modify(|orders| {
            orders.end.get_or_insert(why);
        });
    }

    fn desired_changed(&self) {
        self.orders.send_modify(|orders| orders.desired += 1);
    }
}

/// Passes signals on to the sessions they concern. A lagging receiver concerns them all.
async fn follow_signals(hub: Arc<Hub>) {
    let mut shutdown = hub.shutdown.clone();
    let mut desired = hub.parts.signals.desired.subscribe();
    let mut revoked = hub.parts.signals.revoked.subscribe();
    let mut look = tokio::time::interval(BARRED_LOOK_EVERY);
    loop {
        tokio::select! {
            () = draining(&mut shutdown) => break,
            _ = look.tick() => end_barred(&hub).await,
            node = desired.recv() => match node {
                Ok(node) => drop(hub.table().get(&node).map(Live::desired_changed)),
                Err(RecvError::Lagged(_)) => hub.table().values().for_each(Live::desired_changed),
                Err(RecvError::Closed) => break,
            },
            node = revoked.recv() => match node {
                Ok(node) => drop(hub.table().get(&node).map(|live| live.end(Ending::Revoked))),
                Err(RecvError::Lagged(_)) => hub.table().values().for_each(|live| live.end(LOOK_AGAIN)),
                Err(RecvError::Closed) => break,
            },
        }
    }
}

/// Ends sessions of nodes that may not have one.
async fn end_barred(hub: &Hub) {
    match hub.parts.store.barred_nodes().await {
        Ok(barred) => {
            let table = hub.table();
            let live = barred.iter().filter_map(|node| table.get(node));
            live.for_each(|live| live.end(Ending::Revoked));
        }
        Err(fault) => tracing::warn!(error = %fault, "cannot look for revoked nodes; trying again"),
    }
}

#[cfg(test)]
mod tests;
