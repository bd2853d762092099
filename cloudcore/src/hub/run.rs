//! One session from its first body to its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use millwright_proto::ids::Generation;
use millwright_proto::link::Downlink;
use thiserror::Error;
use tokio::sync::watch;

use super::wire::{Wire, WireError};
use super::{Ending, Hub, Orders, identity, session};
use crate::pki::{self, PkiError};
use crate::signals::draining;
use crate::store::StoreError;
use crate::tasks::ingest::{Admission, BATCH_REPORTS_MAX, Report, SessionKey};

/// From the end of the handshake to Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Sending to a node that does not read: its socket buffers are full by then, and it gets nothing more.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// Why a session ended before anybody wanted it to.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] PkiError),
    #[error("the node took too long to {0}")]
    Slow(&'static str),
}

/// Runs a session over `wire` with the node the certificate names.
pub(super) async fn run(hub: Arc<Hub>, identity: NodeIdentity, mut wire: Wire) {
    let goodbye = match greet(&hub, &identity, &mut wire).await {
        Ok(Greeting::Live { session, applied }) => {
            let orders = hub.enter(&session);
            tracing::info!(
                node = %identity.node, site = %identity.site, term = session.term, transport = ?wire.transport(),
                "a session began"
            );
            let ended = live(&hub, &session, applied, orders, &mut wire).await;
            hub.leave(&session);
            if let Err(fault) = hub.parts.ingest.ended(&session).await {
                tracing::warn!(node = %identity.node, error = %fault, "cannot store the end of a session");
            }
            ended
        }
        Ok(Greeting::Refused(message)) => Ok(Some(message)),
        Err(broken) => Err(broken),
    };
    match goodbye {
        Ok(message) => {
            if let Some(message) = message {
                tracing::info!(node = %identity.node, ?message, "a session is ended");
                // Courtesy: the connection closes either way.
                drop(send(&mut wire, &message).await);
            }
            wire.close().await;
        }
        Err(broken) => tracing::info!(node = %identity.node, reason = %broken, "a session ended"),
    }
}

enum Greeting {
    Live {
        session: SessionKey,
        applied: Generation,
    },
    Refused(Downlink),
}

async fn greet(hub: &Hub, node: &NodeIdentity, wire: &mut Wire) -> Result<Greeting, Broken> {
    let body = tokio::time::timeout(HELLO_WITHIN, wire.receive())
        .await
        .map_err(|_| Broken::Slow("say Hello"))??;
    let hello = match session::hello(body, node, wire.transport(), pki::random()?) {
        Ok(hello) => hello,
        Err(refusal) => {
            identity::audit(hub, node, &refusal).await;
            return Ok(Greeting::Refused(refusal));
        }
    };
    if let Some(refusal) = identity::foreign(hub, node).await? {
        identity::audit(hub, node, &refusal).await;
        return Ok(Greeting::Refused(refusal));
    }
    let admission = hub.parts.ingest.hello(&hello).await?;
    if let Some(refusal) = session::refusal(&admission) {
        return Ok(Greeting::Refused(refusal));
    }
    let Admission::Welcome {
        session,
        watermarks,
        ..
    } = admission
    else {
        return Ok(Greeting::Refused(session::ending(Ending::ComeBack)));
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
    send(wire, &welcome).await?;
    let applied = hello
        .applied
        .map_or(Generation::NONE, |(generation, _)| generation);
    Ok(Greeting::Live { session, applied })
}

/// Until it ends; returns the message to end with, if there is one.
async fn live(
    hub: &Hub,
    session: &SessionKey,
    applied: Generation,
    mut orders: watch::Receiver<Orders>,
    wire: &mut Wire,
) -> Result<Option<Downlink>, Broken> {
    let mut shutdown = hub.shutdown.clone();
    let mut known = send_desired(hub, session, applied, wire).await?;
    loop {
        let body = tokio::select! {
            body = wire.receive() => body?,
            // The sender lives in the table until this session leaves it or a newer one takes its place.
            _ = orders.changed() => {
                if let Some(why) = orders.borrow_and_update().end {
                    return Ok(Some(session::ending(why)));
                }
                known = send_desired(hub, session, known, wire).await?;
                continue;
            }
            () = draining(&mut shutdown) => return Ok(None),
        };
        let mut reports = Vec::new();
        let mut violation = collect(body, &mut reports);
        while violation.is_none() && reports.len() < BATCH_REPORTS_MAX {
            // What has arrived already shares the transaction.
            match wire.receive().now_or_never() {
                Some(body) => violation = collect(body?, &mut reports),
                None => break,
            }
        }
        if !reports.is_empty() {
            let (acks, end) = session::answers(hub.parts.ingest.batch(session, &reports).await?);
            for ack in &acks {
                send(wire, ack).await?;
            }
            violation = end.or(violation);
        }
        if violation.is_some() {
            return Ok(violation);
        }
    }
}

/// Adds what a body reports; returns the message to end with when it breaks the protocol.
fn collect(body: bytes::Bytes, reports: &mut Vec<Report>) -> Option<Downlink> {
    match session::report(body) {
        Ok(report) => {
            reports.extend(report);
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
