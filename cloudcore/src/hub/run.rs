//! One session from its first body to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use millwright_proto::ids::Generation;
use millwright_proto::link::Downlink;
use thiserror::Error;
use tokio::sync::watch;

use super::asks::{Desk, Support};
use super::session::Said;
use super::wire::{Wire, WireError};
use super::{Ending, Hub, LOOK_AGAIN, Orders, admission, identity, session};
use crate::pki::{self, PkiError};
use crate::signals::draining;
use crate::store::StoreError;
use crate::tasks::ingest::{Admission, BATCH_REPORTS_MAX, Hello, Outcome, Report, SessionKey};

/// From the end of the handshake to Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Sending to a node that does not read: its socket buffers are full by then, and it gets nothing more.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// From the commit of a session to its entry in the table.
const ENTERS_WITHIN: Duration = Duration::from_secs(1);

/// How long a node whose connection broke counts as connected: an agent's first attempts come within a few
/// seconds, and a dial takes up to three.
const RETURN_WITHIN: Duration = Duration::from_secs(15);

/// Why a session ended before anybody wanted it to.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] PkiError),
    #[error("the node did not wait for its Welcome")]
    Early,
    #[error("the node took too long to {0}")]
    Slow(&'static str),
}

/// Runs a session over `wire` with the node the certificate names. Returns the session when it broke,
/// for [`await_return`], once the caller has let the connection go.
pub(super) async fn run(
    hub: Arc<Hub>,
    identity: NodeIdentity,
    mut wire: Wire,
) -> Option<SessionKey> {
    let greeted = greet(&hub, &identity, &mut wire).await;
    let (goodbye, session) = match greeted {
        Ok(Greeting::Live {
            session,
            orders,
            desk,
            welcome,
            applied,
        }) => {
            tracing::info!(
                node = %identity.node, site = %identity.site, term = session.term, transport = ?wire.transport(),
                "a session began"
            );
            let ended = match send(&mut wire, &welcome).await {
                Ok(()) => live(&hub, &session, applied, (orders, desk), &mut wire).await,
                Err(broken) => Err(broken),
            };
            hub.leave(&session);
            (ended, Some(session))
        }
        Ok(Greeting::Refused(message)) => (Ok(End::Told(message)), None),
        Err(broken) => (Err(broken), None),
    };
    match goodbye {
        Ok(end) => {
            let (End::Told(message) | End::Draining(message)) = &end;
            tracing::debug!(node = %identity.node, ?message, "a session is ended");
            // Courtesy: the connection closes either way.
            drop(send(&mut wire, message).await);
            wire.close().await;
            if let (End::Told(_), Some(session)) = (&end, session) {
                forget(&hub, &session).await;
            }
            None
        }
        Err(broken) => {
            tracing::info!(node = %identity.node, reason = %broken, "a session ended");
            session
        }
    }
}

/// A node whose connection broke is about to come back, and one that is back in time was never gone: its
/// session ends only after a grace. A process that drains leaves it to the next one.
pub(super) async fn await_return(hub: &Hub, broken: Option<SessionKey>) {
    let Some(session) = broken else { return };
    let mut shutdown = hub.shutdown.clone();
    tokio::select! {
        () = tokio::time::sleep(RETURN_WITHIN) => forget(hub, &session).await,
        () = draining(&mut shutdown) => {}
    }
}

async fn forget(hub: &Hub, session: &SessionKey) {
    if let Err(fault) = hub.parts.ingest.ended(session).await {
        tracing::warn!(node = %session.uid, error = %fault, "cannot store the end of a session");
    }
}

/// How a session ends that did not break.
enum End {
    /// By this message; the node is not connected any more.
    Told(Downlink),
    /// Because this process ends. The node comes back to the next one and counts as connected meanwhile.
    Draining(Downlink),
}

enum Greeting {
    Live {
        session: SessionKey,
        orders: watch::Receiver<Orders>,
        desk: Desk,
        welcome: Downlink,
        applied: Generation,
    },
    Refused(Downlink),
}

async fn greet(hub: &Hub, node: &NodeIdentity, wire: &mut Wire) -> Result<Greeting, Broken> {
    let body = tokio::time::timeout(HELLO_WITHIN, wire.receive())
        .await
        .map_err(|_| Broken::Slow("say Hello"))??;
    let from = (wire.transport(), wire.peer());
    let hello = match session::hello(body, node, from, pki::random()?) {
        Ok(hello) => hello,
        Err(refusal) => {
            identity::audit(hub, node, &refusal).await;
            return Ok(Greeting::Refused(refusal));
        }
    };
    let random = u64::from_be_bytes(pki::random()?);
    if let Some(after_ms) = admission::come_back_ms(hub.parts.ingest.load(), random) {
        let later = session::ending(Ending::ComeBack { after_ms });
        return Ok(Greeting::Refused(later));
    }
    if let Some(refusal) = identity::foreign(hub, node).await? {
        identity::audit(hub, node, &refusal).await;
        return Ok(Greeting::Refused(refusal));
    }
    let admission = admit(hub, &hello, wire).await?;
    if let Some(refusal) = session::refusal(&admission) {
        return Ok(Greeting::Refused(refusal));
    }
    let Admission::Welcome {
        session,
        watermarks,
        ..
    } = admission
    else {
        return Ok(Greeting::Refused(session::ending(LOOK_AGAIN)));
    };
    let now_ms = Timestamp::now().as_millisecond().unsigned_abs();
    let watermarks = watermarks
        .into_iter()
        .map(|(stream, through)| (stream.into(), through));
    let welcome = session::welcome(
        &hello,
        session.term,
        watermarks,
        hub.parts.incarnation,
        now_ms,
    );
    let orders = hub.enter(&session, hello.instance);
    let support = Support::of(&hello.capabilities);
    let desk = hub.parts.asks.open(&session, support);
    let applied = hello
        .applied
        .map_or(Generation::NONE, |(generation, _)| generation);
    Ok(Greeting::Live {
        session,
        orders,
        desk,
        applied,
        welcome,
    })
}

/// Asks for a session. An agent says nothing more until its Welcome, so what arrives meanwhile is its end: it
/// gave this connection up and has another, which a late session over this one would cut. When the session
/// is committed already it is entered all the same, so that it ends like any other.
async fn admit(hub: &Hub, hello: &Hello, wire: &mut Wire) -> Result<Admission, Broken> {
    let given_up = Arc::new(AtomicBool::new(false));
    let asked = hub.parts.ingest.hello(hello, &given_up);
    tokio::pin!(asked);
    tokio::select! {
        admission = &mut asked => Ok(admission?),
        _ = wire.receive() => {
            given_up.store(true, Ordering::Relaxed);
            asked.await.map_err(|_| Broken::Early)
        }
    }
}

/// Until it ends; returns how.
async fn live(
    hub: &Hub,
    session: &SessionKey,
    applied: Generation,
    (mut orders, mut desk): (watch::Receiver<Orders>, Desk),
    wire: &mut Wire,
) -> Result<End, Broken> {
    let mut shutdown = hub.shutdown.clone();
    let mut known = send_desired(hub, session, applied, wire).await?;
    loop {
        let body = tokio::select! {
            body = wire.receive() => body?,
            // The sender lives in the table until this session leaves it or a newer one takes its place.
            _ = orders.changed() => {
                if let Some(why) = orders.borrow_and_update().end {
                    return Ok(End::Told(session::ending(why)));
                }
                known = send_desired(hub, session, known, wire).await?;
                continue;
            }
            ask = desk.next() => {
                send(wire, &session::ask(ask)).await?;
                continue;
            }
            () = draining(&mut shutdown) => return Ok(End::Draining(session::ending(hub.goodbye()?))),
        };
        let mut reports = Vec::new();
        let mut violation = collect(body, &mut reports, &mut desk);
        while violation.is_none() && reports.len() < BATCH_REPORTS_MAX {
            // What has arrived already shares the transaction.
            match wire.receive().now_or_never() {
                Some(body) => violation = collect(body?, &mut reports, &mut desk),
                None => break,
            }
        }
        if !reports.is_empty() {
            let outcome = hub.parts.ingest.batch(session, reports).await?;
            if outcome == Outcome::Superseded {
                // The newer session enters the table in a moment and says why this one ends.
                drop(
                    tokio::time::timeout(ENTERS_WITHIN, orders.wait_for(|o| o.end.is_some())).await,
                );
                let why = orders.borrow().end.unwrap_or(LOOK_AGAIN);
                return Ok(End::Told(session::ending(why)));
            }
            let (acks, end) = session::answers(outcome);
            for ack in &acks {
                send(wire, ack).await?;
            }
            violation = end.or(violation);
        }
        if let Some(violation) = violation {
            return Ok(End::Told(violation));
        }
    }
}

/// Adds what a body reports, and passes on what it answers; returns the message to end with when it breaks the protocol.
fn collect(body: bytes::Bytes, reports: &mut Vec<Report>, desk: &mut Desk) -> Option<Downlink> {
    match session::said(body) {
        Ok(said) => {
            match said {
                Some(Said::Report(report)) => reports.push(report),
                Some(Said::Answer(answer)) => desk.answered(answer),
                None => {}
            }
            None
        }
        Err(violation) => Some(violation),
    }
}

/// Sends the newest desired state if it is newer than `known`; returns what the node knows then.
async fn send_desired(
    hub: &Hub,
    session: &SessionKey,
    known: Generation,
    wire: &mut Wire,
) -> Result<Generation, Broken> {
    match hub.parts.store.desired(session.uid).await? {
        Some(stored) if stored.generation > known => {
            let generation = stored.generation;
            send(wire, &session::desired(stored)).await?;
            Ok(generation)
        }
        Some(_) | None => Ok(known),
    }
}

async fn send(wire: &mut Wire, message: &Downlink) -> Result<(), Broken> {
    let sent = tokio::time::timeout(SEND_WITHIN, wire.send(message)).await;
    Ok(sent.map_err(|_| Broken::Slow("read"))??)
}
