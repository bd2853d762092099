//! What the hub and ingest say to each other.

use std::collections::BTreeMap;

use fleet_api::Transport;
use fleet_core::ingest::sequence::Misplaced;
use millwright_proto::Digest;
use millwright_proto::ids::{BootId, Generation, InstanceId, Lineage, NodeUid};
use millwright_proto::link;

use super::BATCH_REPORTS_MAX;
use crate::store::QuicPeer;

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
    /// Where a QUIC session comes from.
    pub(crate) peer: Option<QuicPeer>,
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
    pub(super) fn of(number: i32) -> Result<Self, Violation> {
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
    /// It stands where it cannot.
    #[error(transparent)]
    Place(#[from] Misplaced),
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
