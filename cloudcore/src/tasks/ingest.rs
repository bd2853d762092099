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
//! `sequence.rs` decides it, `tests.rs` asserts it against the store.
//!
//! A window or event that does not decode is still counted once: it is stored as it came, with an event.
//! Knows nothing of transports and keep-alives. Wakes the planner when a fact it plans by has changed.

mod payload;
mod secret;
mod sequence;

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_api::{NodePhase, Transport};
use jiff::Timestamp;
use millwright_proto::Digest;
use millwright_proto::ids::{BootId, Generation, InstanceId, Lineage, NodeUid};
use millwright_proto::link;
use prost::Message as _;

use self::secret::Presented;
use self::sequence::Place;
use crate::signals::Signals;
use crate::store::{KnownNode, NewSession, Store, StoreError, StreamKey, Write};

/// Most reports one batch may carry. A session collects what arrived while the batch before it was
/// being committed; 256 windows of about 1 KiB keep a transaction in the low milliseconds.
pub(crate) const BATCH_REPORTS_MAX: usize = 256;

/// What a node says when a session begins, checked and converted from the `Hello` message.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// From the certificate.
    pub(crate) uid: NodeUid,
    /// This process of the agent.
    pub(crate) instance: InstanceId,
    /// This boot of the device.
    pub(crate) boot: BootId,
    /// Its outbox store.
    pub(crate) lineage: Lineage,
    /// The secret it presents; empty when it has none.
    pub(crate) secret: Vec<u8>,
    /// The secret the Welcome will give, drawn at random by the caller.
    pub(crate) new_secret: [u8; 32],
    /// What carries the session.
    pub(crate) transport: Transport,
    /// The desired state it works on; `None` before the first.
    pub(crate) applied: Option<(Generation, Digest)>,
    /// Version of the agent.
    pub(crate) agent_version: String,
    /// `linux`.
    pub(crate) os: String,
    /// `aarch64`, `x86_64`.
    pub(crate) arch: String,
    /// Version of ONNX Runtime; empty when there is none.
    pub(crate) onnxruntime: String,
    /// What the agent can do.
    pub(crate) capabilities: Vec<String>,
}

/// Names one session: reports of any other are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionKey {
    /// The node.
    pub(crate) uid: NodeUid,
    /// Counts the sessions of the node; the highest one is live.
    pub(crate) term: u64,
    /// The outbox store its records come from.
    pub(crate) lineage: Lineage,
}

/// Answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The session is live and the one before it is not.
    Welcome {
        /// For everything that follows.
        session: SessionKey,
        /// What the node is called, for logs.
        node: String,
        /// Through which sequence number every stream is counted; both streams are always named.
        watermarks: BTreeMap<StreamName, u64>,
    },
    /// No node with this uid was ever enrolled here: `Fenced{identity}`.
    Unknown,
    /// It was revoked or decommissioned: `Fenced{revoked}`.
    Revoked,
    /// It presents a secret older than the last two: `Fenced{cloned}`.
    Cloned,
}

/// The streams of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamName {
    /// Things that happened.
    Events,
    /// Windows.
    Summaries,
}

impl From<StreamName> for link::Stream {
    fn from(stream: StreamName) -> Self {
        match stream {
            StreamName::Events => Self::Events,
            StreamName::Summaries => Self::Summaries,
        }
    }
}

impl StreamName {
    fn of(number: i32) -> Result<Self, Violation> {
        match link::Stream::try_from(number) {
            Ok(link::Stream::Events) => Ok(Self::Events),
            Ok(link::Stream::Summaries) => Ok(Self::Summaries),
            Ok(link::Stream::Unspecified) | Err(_) => Err(Violation::Stream { number }),
        }
    }
}

/// One uplink message after `Hello`, as received.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// A record of a stream.
    Record(link::Record),
    /// Sequence numbers that will never arrive.
    Gap(link::Gap),
    /// What the node made of its desired state.
    Applied(link::Applied),
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was committed. Acknowledge these.
    Committed {
        /// Streams that had a record or gap in the batch, and through which sequence number they are counted.
        acknowledge: BTreeMap<StreamName, u64>,
        /// Set when a report broke the protocol: everything before it is committed; acknowledge, then
        /// `Fenced{protocol}`.
        violation: Option<Violation>,
    },
    /// A newer session of the node is live; nothing was read: `Fenced{superseded}`.
    Superseded,
    /// The node was revoked or decommissioned meanwhile; nothing was read: `Fenced{revoked}`.
    Revoked,
}

/// A report the protocol does not allow here; its text is the message of the fence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// No such stream.
    #[error("stream {number} is none of events (1) and summaries (2)")]
    Stream {
        /// As received.
        number: i32,
    },
    /// Not a range of sequence numbers.
    #[error("{first} to {last} is no range of sequence numbers")]
    Range {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
    },
    /// Sequence numbers are missing before it.
    #[error("{first} to {last} leaves a hole: counted is through {through}; declare a gap")]
    Hole {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
        /// The watermark.
        through: u64,
    },
    /// Part of it is counted already, part is not.
    #[error(
        "{first} to {last} straddles the watermark {through}: offered records must not be merged"
    )]
    Straddle {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
        /// The watermark.
        through: u64,
    },
    /// The payload is not what the sender read from its store.
    #[error("the checksum of record {first} to {last} does not fit its payload")]
    Checksum {
        /// As received.
        first: u64,
        /// As received.
        last: u64,
    },
    /// A generation or digest that cannot be.
    #[error("generation {generation} with this digest cannot have been applied")]
    Applied {
        /// As received.
        generation: u64,
    },
    /// The caller put too much into one batch.
    #[error("{reports} reports in one batch, at most {BATCH_REPORTS_MAX} are read")]
    Batch {
        /// Its length.
        reports: usize,
    },
}

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
        let knows_lineage = write.knows_lineage(hello.uid, lineage).await?;
        let presented = secret::judge(node.session.as_ref(), &hello.secret, knows_lineage);
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
        write
            .begin_session(&new_session(hello, &node, term), now)
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
        let mut batch = Batch {
            session,
            node: &node,
            now: Timestamp::now(),
            through: BTreeMap::new(),
            wakes: false,
        };
        let mut violation = (reports.len() > BATCH_REPORTS_MAX).then_some(Violation::Batch {
            reports: reports.len(),
        });
        for report in reports.iter().take(BATCH_REPORTS_MAX) {
            if let Err(broken) = batch.take(&mut write, report).await? {
                violation = Some(broken);
                break;
            }
        }
        let acknowledge = batch.through.clone();
        for (stream, through) in &acknowledge {
            let key = batch.key(*stream);
            write.move_watermark(key, *through, batch.now).await?;
        }
        write.touch_session(session.uid, batch.now).await?;
        let wakes = batch.wakes;
        write.commit().await?;
        if wakes {
            self.signals.wake_planner();
        }
        Ok(Outcome::Committed {
            acknowledge,
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

/// One batch on its way into a transaction.
struct Batch<'a> {
    session: &'a SessionKey,
    node: &'a KnownNode,
    now: Timestamp,
    /// Watermarks of the streams it touched, as they will be.
    through: BTreeMap<StreamName, u64>,
    wakes: bool,
}

impl Batch<'_> {
    fn key(&self, stream: StreamName) -> StreamKey<'_> {
        stream_key(self.session.uid, self.node, self.session.lineage, stream)
    }

    async fn through(&self, write: &mut Write, stream: StreamName) -> Result<u64, StoreError> {
        match self.through.get(&stream) {
            Some(through) => Ok(*through),
            None => write.watermark(self.key(stream)).await,
        }
    }

    async fn take(
        &mut self,
        write: &mut Write,
        report: &Report,
    ) -> Result<Result<(), Violation>, StoreError> {
        match report {
            Report::Record(record) => self.record(write, record).await,
            Report::Gap(gap) => self.gap(write, gap).await,
            Report::Applied(applied) => self.applied(write, applied).await,
        }
    }

    async fn record(
        &mut self,
        write: &mut Write,
        record: &link::Record,
    ) -> Result<Result<(), Violation>, StoreError> {
        let (first, last) = (record.first, record.last);
        let stream = match StreamName::of(record.stream) {
            Ok(stream) => stream,
            Err(broken) => return Ok(Err(broken)),
        };
        let through = self.through(write, stream).await?;
        match sequence::place_record(through, first, last) {
            Err(broken) => return Ok(Err(broken)),
            Ok(Place::Counted) => {
                self.through.insert(stream, through);
                return Ok(Ok(()));
            }
            Ok(Place::Next(_)) => {}
        }
        if crc32c::crc32c(&record.payload) != record.crc32c {
            return Ok(Err(Violation::Checksum { first, last }));
        }
        match stream {
            StreamName::Events => payload::event(write, self.node, record, self.now).await?,
            StreamName::Summaries => {
                payload::window(write, self.node, self.key(stream), record, self.now).await?;
            }
        }
        self.through.insert(stream, last);
        Ok(Ok(()))
    }

    async fn gap(
        &mut self,
        write: &mut Write,
        gap: &link::Gap,
    ) -> Result<Result<(), Violation>, StoreError> {
        let stream = match StreamName::of(gap.stream) {
            Ok(stream) => stream,
            Err(broken) => return Ok(Err(broken)),
        };
        let through = self.through(write, stream).await?;
        match sequence::place_gap(through, gap.from, gap.to) {
            Err(broken) => return Ok(Err(broken)),
            Ok(Place::Counted) => {
                self.through.insert(stream, through);
            }
            Ok(Place::Next(from)) => {
                let range = (from, gap.to);
                write
                    .insert_gap(self.key(stream), range, gap.reason(), self.now)
                    .await?;
                payload::gap(write, self.node, stream, range, gap.reason(), self.now).await?;
                self.through.insert(stream, gap.to);
            }
        }
        Ok(Ok(()))
    }

    async fn applied(
        &mut self,
        write: &mut Write,
        applied: &link::Applied,
    ) -> Result<Result<(), Violation>, StoreError> {
        let generation = applied.generation;
        let works_on = match (generation, applied.digest.as_ref().map(Digest::try_from)) {
            (0, _) => None,
            (1..=sequence::NUMBER_MAX, Some(Ok(digest))) => {
                Some((Generation::new(generation), digest))
            }
            (_, Some(_) | None) => return Ok(Err(Violation::Applied { generation })),
        };
        let message = applied.encode_to_vec();
        write
            .set_applied(self.session.uid, works_on, &message)
            .await?;
        self.wakes = true;
        Ok(Ok(()))
    }
}

fn stream_key<'a>(
    uid: NodeUid,
    node: &'a KnownNode,
    lineage: Lineage,
    stream: StreamName,
) -> StreamKey<'a> {
    StreamKey {
        uid,
        tenant: &node.tenant,
        lineage,
        stream: stream.into(),
    }
}

fn new_session<'a>(hello: &'a Hello, node: &'a KnownNode, term: u64) -> NewSession<'a> {
    NewSession {
        uid: hello.uid,
        tenant: &node.tenant,
        term,
        secret_current: &hello.new_secret,
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
