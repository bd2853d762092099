//! What an operator asks of a live session: a bounded table, the one door between the API and the hub.
//!
//! ```text
//!   api ──begin──> Errand ──ask──> [one inbox per session] ──> Desk ──> session ──> node
//!    ^                └────────── answer, refusal, timeout <──── Desk <── session <──┘
//! ```
//! Owns which sessions can be asked and who asks what. It does not know who may ask, nor what becomes of an answer:
//! that is the API's, which audits both. A node is asked one thing at a time, by one errand at a time. When a session
//! ends, whoever waits for its answer hears so at once; nothing is kept for the next one.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millwright_proto::hard_example::{self, CHUNK_BYTES_MAX};
use millwright_proto::ids::NodeUid;
use millwright_proto::link::{
    HardExampleAnswer, HardExampleAsk, HardExampleChunk, HardExampleChunkAsk, HardExampleEntries,
    HardExampleListAsk, HardExampleRefusal, hard_example_answer, hard_example_ask,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::tasks::ingest::SessionKey;

/// Errands at once in the whole fleet. Each holds a few chunks in memory; people look at pictures one by one.
const ERRANDS_MAX: usize = 16;

/// Asks that wait for one session: one, and one whose asker has given up.
const WAITING_MAX: usize = 2;

/// From an ask to its answer. A chunk takes 13 s on 20 kbit/s, and what the node has measured goes before it. Less
/// than fleetctl waits for a byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// The node has no session.
    #[error("the node is not connected")]
    Offline,
    /// Its agent does not know how.
    #[error("its agent is older than the fetch of hard examples")]
    TooOld,
    /// Somebody else asks it.
    #[error("somebody else fetches from the node now")]
    Busy,
    /// Too many errands in the whole fleet.
    #[error(
        "hard examples are fetched from {ERRANDS_MAX} nodes at the moment, which is the most at once"
    )]
    Full,
    /// No answer in time.
    #[error("the node did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    /// The session ended meanwhile.
    #[error("the connection to the node ended meanwhile")]
    Left,
    /// It does not give what was asked for.
    #[error("the node refuses: {message}")]
    Refused {
        /// Why.
        reason: HardExampleRefusal,
        /// For people, by the node.
        message: String,
    },
    /// It answered something else.
    #[error("the node broke the protocol: it answered {0}")]
    Broken(&'static str),
}

/// Whether an agent can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It said so in its Hello.
    Answers,
    /// It did not.
    TooOld,
}

impl Support {
    /// What the capabilities of a Hello say.
    pub(super) fn of(capabilities: &[String]) -> Self {
        match capabilities.iter().any(|c| c == hard_example::CAPABILITY) {
            true => Self::Answers,
            false => Self::TooOld,
        }
    }
}

/// The table. Share it as `Arc<Asks>`; its one lock is held for a look-up, and never over an await.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    table: Mutex<Table>,
    last_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    sessions: BTreeMap<NodeUid, Line>,
    errands: BTreeSet<NodeUid>,
}

/// A session that can be asked.
#[derive(Debug)]
struct Line {
    term: u64,
    support: Support,
    inbox: mpsc::Sender<Waiting>,
}

/// One ask on its way to a session.
#[derive(Debug)]
struct Waiting {
    ask: HardExampleAsk,
    answer: oneshot::Sender<HardExampleAnswer>,
}

impl Asks {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held; a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to ask `node`, which nobody else may until the errand is dropped.
    ///
    /// # Errors
    /// When it cannot be asked now.
    pub(crate) fn begin(self: &Arc<Self>, node: NodeUid) -> Result<Errand, AskError> {
        let mut table = self.table();
        match table.sessions.get(&node).map(|line| line.support) {
            None => return Err(AskError::Offline),
            Some(Support::TooOld) => return Err(AskError::TooOld),
            Some(Support::Answers) => {}
        }
        if table.errands.len() >= ERRANDS_MAX {
            return Err(AskError::Full);
        }
        if !table.errands.insert(node) {
            return Err(AskError::Busy);
        }
        Ok(Errand {
            asks: Arc::clone(self),
            node,
        })
    }

    /// A session begins; the one before it cannot be asked any more.
    pub(crate) fn open(self: &Arc<Self>, session: &SessionKey, support: Support) -> Desk {
        let (sender, inbox) = mpsc::channel(WAITING_MAX);
        let mut table = self.table();
        let newer = |line: &Line| line.term > session.term;
        if !table.sessions.get(&session.uid).is_some_and(newer) {
            let line = Line {
                term: session.term,
                support,
                inbox: sender,
            };
            table.sessions.insert(session.uid, line);
        }
        Desk {
            asks: Arc::clone(self),
            node: session.uid,
            term: session.term,
            inbox,
            asked: None,
        }
    }
}

/// Somebody's visit to a node: asks one thing after the other.
#[derive(Debug)]
pub(crate) struct Errand {
    asks: Arc<Asks>,
    node: NodeUid,
}

impl Errand {
    /// The examples after `after`, of `pipeline` or of all when it is empty.
    pub(crate) async fn list(
        &self,
        pipeline: &str,
        (after_pipeline, after_example): (&str, &str),
    ) -> Result<HardExampleEntries, AskError> {
        let ask = HardExampleListAsk {
            pipeline: pipeline.to_owned(),
            after_pipeline: after_pipeline.to_owned(),
            after_example: after_example.to_owned(),
        };
        match self.ask(hard_example_ask::What::List(ask)).await? {
            hard_example_answer::What::Entries(entries)
                if entries.entries.len() <= hard_example::LISTED_MAX =>
            {
                Ok(entries)
            }
            _ => Err(AskError::Broken("no list")),
        }
    }

    /// The chunk of a file that begins where `ask` says.
    pub(crate) async fn chunk(
        &self,
        ask: HardExampleChunkAsk,
    ) -> Result<HardExampleChunk, AskError> {
        let offset = ask.offset;
        match self.ask(hard_example_ask::What::Chunk(ask)).await? {
            hard_example_answer::What::Chunk(chunk)
                if chunk.offset == offset && chunk.bytes.len() <= CHUNK_BYTES_MAX =>
            {
                Ok(chunk)
            }
            _ => Err(AskError::Broken("no such chunk")),
        }
    }

    async fn ask(
        &self,
        what: hard_example_ask::What,
    ) -> Result<hard_example_answer::What, AskError> {
        let (answer, answered) = oneshot::channel();
        let ask = HardExampleAsk {
            id: self.asks.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            what: Some(what),
        };
        let inbox = self
            .asks
            .table()
            .sessions
            .get(&self.node)
            .map(|line| line.inbox.clone());
        inbox
            .ok_or(AskError::Left)?
            .try_send(Waiting { ask, answer })
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => AskError::Busy,
                mpsc::error::TrySendError::Closed(_) => AskError::Left,
            })?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Err(_elapsed) => Err(AskError::Silent),
            Ok(Err(_gone)) => Err(AskError::Left),
            Ok(Ok(answer)) => match answer.what {
                Some(hard_example_answer::What::Refused(refused)) => Err(AskError::Refused {
                    reason: refused.reason(),
                    message: refused.message,
                }),
                Some(what) => Ok(what),
                None => Err(AskError::Broken("nothing this version knows")),
            },
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.asks.table().errands.remove(&self.node);
    }
}

/// The session's side.
pub(crate) struct Desk {
    asks: Arc<Asks>,
    node: NodeUid,
    term: u64,
    inbox: mpsc::Receiver<Waiting>,
    /// What the node was asked and has not answered yet.
    asked: Option<(u64, oneshot::Sender<HardExampleAnswer>)>,
}

impl Desk {
    /// What to ask the node next, as soon as it has answered what it was asked before or nobody waits for that any
    /// more. Safe to cancel.
    pub(crate) async fn next(&mut self) -> HardExampleAsk {
        loop {
            if let Some((_, answer)) = &mut self.asked {
                answer.closed().await;
                self.asked = None;
            }
            let Some(Waiting { ask, answer }) = self.inbox.recv().await else {
                // A newer session has the place in the table.
                return std::future::pending().await;
            };
            if !answer.is_closed() {
                self.asked = Some((ask.id, answer));
                return ask;
            }
        }
    }

    /// The node answered. What nobody waits for any more is dropped.
    pub(crate) fn answered(&mut self, answer: HardExampleAnswer) {
        if let Some((_, teller)) = self.asked.take_if(|(id, _)| *id == answer.id) {
            // An error means that the asker has given up in this moment.
            let _ = teller.send(answer);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let mut table = self.asks.table();
        let own = |line: &Line| line.term == self.term;
        if table.sessions.get(&self.node).is_some_and(own) {
            table.sessions.remove(&self.node);
        }
    }
}
