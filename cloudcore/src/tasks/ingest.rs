//! What sessions observed, made durable: the only way from a session into the store.
//!
//! A session (in the hub) calls [`Ingest::hello`] once, then [`Ingest::batch`] with whatever it has
//! received since its last batch, then [`Ingest::ended`]. Every call is committed before it returns, so
//! an `Ack` built from its answer never promises what a crash could undo. Calls of many sessions share a
//! transaction (`group.rs`); what each writes is in `rows.rs`.
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
mod group;
mod payload;
mod rows;
mod session;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) use self::group::Load;
pub(crate) use self::session::{
    Admission, Hello, Outcome, Report, SessionKey, StreamName, Violation,
};

use self::group::{Ask, Door, Told};
use crate::signals::Signals;
use crate::store::{Store, StoreError};

/// Most reports one batch may carry. A session collects what arrived while the batch before it was
/// being committed; 256 windows of about 1 KiB keep a transaction in the low milliseconds.
pub(crate) const BATCH_REPORTS_MAX: usize = 256;

/// Makes sessions durable. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    writer: Door,
}

impl Ingest {
    /// The handle and the writer behind it, which runs until the last handle is dropped.
    ///
    /// Sessions of the process before this one stay as they are: their nodes are about to come back, and
    /// [`crate::tasks::expire`] marks those that do not.
    pub(crate) fn open(
        store: Store,
        signals: Arc<Signals>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (writer, running) = group::open(store, signals);
        (Self { writer }, running)
    }

    /// How many Hellos wait, and how many fit in a second.
    pub(crate) fn load(&self) -> Load {
        self.writer.load()
    }

    /// Begins a session, unless the node must not have one. An error when `given_up` was set in time.
    pub(crate) async fn hello(
        &self,
        hello: &Hello,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Admission, StoreError> {
        let ask = Ask::Hello {
            hello: Box::new(hello.clone()),
            given_up: Arc::clone(given_up),
        };
        match self.writer.ask(ask).await? {
            Told::Hello(admission) => Ok(admission),
            Told::Batch(_) | Told::Ended => unreachable!("the writer answers what was asked"),
        }
    }

    /// Commits what a session received, in order; at most [`BATCH_REPORTS_MAX`].
    pub(crate) async fn batch(
        &self,
        session: &SessionKey,
        reports: Vec<Report>,
    ) -> Result<Outcome, StoreError> {
        let session = *session;
        match self.writer.ask(Ask::Batch { session, reports }).await? {
            Told::Batch(outcome) => Ok(outcome),
            Told::Hello(_) | Told::Ended => unreachable!("the writer answers what was asked"),
        }
    }

    /// The session is over. Without effect when a newer session is live.
    pub(crate) async fn ended(&self, session: &SessionKey) -> Result<(), StoreError> {
        let session = *session;
        self.writer.ask(Ask::Ended { session }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
