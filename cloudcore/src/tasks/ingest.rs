//! What sessions observed, made durable: the only way from a session into the store.
//!
//! A session (in the hub) calls [`Ingest::hello`] once, then [`Ingest::batch`] with whatever it has
//! received since its last batch, then [`Ingest::ended`]. Every call is one transaction, committed
//! before it returns, so an `Ack` built from its answer never promises what a crash could undo.
//!
//! Exactly once: per (node, lineage, stream) there is one contiguous watermark, moved in the
//! transaction of the insert. A record is accepted only if it begins right after the watermark; at or
//! below it is a duplicate and is acknowledged again; anything else is a [`Violation`]: what came before
//! it in the batch is committed, what comes after it is not read, and the session must end.
//! `fleet_core::ingest` decides it, `tests.rs` asserts it against the store.
//!
//! A window or event that does not decode is still counted once: it is stored as it came, with an event.
//! Knows nothing of transports and keep-alives. Wakes the planner when a fact it plans by has changed.

mod batch;
mod payload;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_api::NodePhase;
use fleet_core::ingest::secret::{self, Outbox, Presented};
use jiff::Timestamp;

pub(crate) use self::session::{
    Admission, Hello, Outcome, Report, SessionKey, StreamName, Violation,
};

use self::batch::{Batch, stream_key};
use crate::signals::Signals;
use crate::store::{KnownNode, KnownSession, NewSession, Store, StoreError};

/// Most reports one batch may carry. A session collects what arrived while the batch before it was
/// being committed; 256 windows of about 1 KiB keep a transaction in the low milliseconds.
pub(crate) const BATCH_REPORTS_MAX: usize = 256;

/// Makes sessions durable. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    store: Store,
    signals: Arc<Signals>,
}

impl Ingest {
    /// Call once before the hub accepts: no session outlives the process, so every node is marked
    /// as not connected.
    pub(crate) async fn start(store: Store, signals: Arc<Signals>) -> Result<Self, StoreError> {
        store.end_all_sessions().await?;
        Ok(Self { store, signals })
    }

    /// Begins a session, unless the node must not have one.
    pub(crate) async fn hello(&self, hello: &Hello) -> Result<Admission, StoreError> {
        let now = Timestamp::now();
        let mut write = self.store.write().await?;
        let Some(node) = write.known_node(hello.uid).await? else {
            return Ok(Admission::Unknown);
        };
        match node.phase {
            NodePhase::Enrolled => {}
            NodePhase::Revoked | NodePhase::Decommissioned => return Ok(Admission::Revoked),
        }
        let lineage = hello.lineage;
        let outbox = match write.knows_lineage(hello.uid, lineage).await? {
            true => Outbox::Known,
            false => Outbox::New,
        };
        let remembered = node.session.as_ref().map(KnownSession::remembered);
        let presented = secret::judge(remembered, &hello.secret, outbox);
        match presented {
            Presented::Accepted => {}
            Presented::StateLost => payload::state_lost(&mut write, &node, now).await?,
            Presented::Cloned => {
                payload::cloned(&mut write, &node, now).await?;
                write.commit().await?;
                return Ok(Admission::Cloned);
            }
        }
        let term = node.session.as_ref().map_or(1, |last| last.term + 1);
        let given = secret::given(remembered, &hello.secret, &hello.new_secret);
        write
            .begin_session(&new_session(hello, &node, term, &given), now)
            .await?;
        let mut watermarks = BTreeMap::new();
        for stream in [StreamName::Events, StreamName::Summaries] {
            let key = stream_key(hello.uid, &node, lineage, stream);
            watermarks.insert(stream, write.watermark(key).await?);
        }
        write.commit().await?;
        self.signals.wake_planner();
        let uid = hello.uid;
        Ok(Admission::Welcome {
            session: SessionKey { uid, term, lineage },
            node: node.name,
            watermarks,
        })
    }

    /// Commits what a session received, in order; at most [`BATCH_REPORTS_MAX`].
    pub(crate) async fn batch(
        &self,
        session: &SessionKey,
        reports: &[Report],
    ) -> Result<Outcome, StoreError> {
        let mut write = self.store.write().await?;
        let node = match write.known_node(session.uid).await? {
            Some(node) if node.phase == NodePhase::Enrolled => node,
            Some(_) | None => return Ok(Outcome::Revoked),
        };
        if node.session.as_ref().map(|live| live.term) != Some(session.term) {
            return Ok(Outcome::Superseded);
        }
        let mut batch = Batch::new(session, &node, Timestamp::now());
        let mut violation = (reports.len() > BATCH_REPORTS_MAX).then_some(Violation::Batch {
            reports: reports.len(),
        });
        for report in reports.iter().take(BATCH_REPORTS_MAX) {
            if let Err(broken) = batch.take(&mut write, report).await? {
                violation = Some(broken);
                break;
            }
        }
        let closed = batch.close(&mut write).await?;
        write.commit().await?;
        if closed.wakes {
            self.signals.wake_planner();
        }
        Ok(Outcome::Committed {
            acknowledge: closed.acknowledge,
            violation,
        })
    }

    /// The session's transport is gone. Without effect when a newer session is live.
    pub(crate) async fn ended(&self, session: &SessionKey) -> Result<(), StoreError> {
        let mut write = self.store.write().await?;
        let was_live = write
            .end_session(session.uid, session.term, Timestamp::now())
            .await?;
        write.commit().await?;
        if was_live {
            self.signals.wake_planner();
        }
        Ok(())
    }
}

fn new_session<'a>(
    hello: &'a Hello,
    node: &'a KnownNode,
    term: u64,
    given: &'a [u8],
) -> NewSession<'a> {
    NewSession {
        uid: hello.uid,
        tenant: &node.tenant,
        term,
        secret_current: given,
        secret_previous: &hello.secret,
        instance: hello.instance,
        boot: hello.boot,
        lineage: hello.lineage,
        transport: hello.transport,
        agent_version: &hello.agent_version,
        os: &hello.os,
        arch: &hello.arch,
        onnxruntime: &hello.onnxruntime,
        capabilities: &hello.capabilities,
        applied: hello.applied,
    }
}

#[cfg(test)]
mod tests;
