//! What can happen, and the queue that says when.

use fleet_core::ingest::secret::SECRET_BYTES;
use std::collections::BTreeMap;
use std::rc::Rc;

use edge_core::link::Transport;
use edge_core::models::WorkerId;
use edge_core::outbox::{GapReason, Stream};
use fleet_core::desired::Content;
use fleet_core::fleet::Report;
use millwright_proto::Digest;
use millwright_proto::ids::{Generation, NodeUid};

/// Milliseconds since the run began.
pub(crate) type Ms = u64;

/// One minute.
pub(crate) const MINUTE: Ms = 60_000;
/// One hour.
pub(crate) const HOUR: Ms = 60 * MINUTE;
/// One day.
pub(crate) const DAY: Ms = 24 * HOUR;

/// A device: an index into the world's devices.
pub(crate) type Device = usize;

/// One outbox store, named by when it was made.
pub(crate) type LineageId = u64;

/// A connection between one device and the cloud.
pub(crate) type WireId = u64;

/// Which run of an agent an event belongs to; those of an earlier run are void.
pub(crate) type Epoch = u64;

/// Which records stand behind what is sent: records of a device's stream are numbered as they are
/// committed, and the number stays with the record whatever sequence number it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Who recorded it.
    pub device: Device,
    /// First record in it.
    pub first: u64,
    /// Last record in it; more than the first after merging.
    pub last: u64,
}

/// A record or declared loss on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The stream.
    pub stream: Stream,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    /// What it is.
    pub body: Body,
}

/// What stands at a range of sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A record.
    Record(Payload),
    /// A declared loss.
    Gap(GapReason),
}

/// A desired state as it is sent and stored on a device.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its number.
    pub generation: Generation,
    /// Of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the bytes say.
    pub content: Content,
}

/// What a device says first.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// From its certificate.
    pub uid: NodeUid,
    /// Its outbox store.
    pub lineage: LineageId,
    /// From the last Welcome it persisted.
    pub secret: Option<[u8; SECRET_BYTES]>,
    /// The desired state it works on.
    pub applied: Option<(Generation, Digest)>,
}

/// From a device to the cloud.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    /// The first message.
    Hello(Hello),
    /// Records and gaps, in order.
    Reports(Vec<Outgoing>),
    /// What the device made of its desired state.
    Applied(Report),
}

/// From the cloud to a device.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    /// The session is live.
    Welcome {
        /// For the next Hello.
        secret: [u8; SECRET_BYTES],
        /// Through which number each stream is counted.
        watermarks: Vec<(Stream, u64)>,
    },
    /// What is counted.
    Ack(Vec<(Stream, u64)>),
    /// What to run.
    Desired(Rc<Document>),
    /// Go away.
    Fenced(Fence),
}

/// Why a device is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// Another session of the node took over.
    Superseded,
    /// The node's rights were ended, or nobody knows it.
    Revoked,
    /// Another copy of its disk was connected since.
    Cloned,
    /// It broke the protocol.
    Protocol,
}

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A device's own timers: windows, dialling, waits of its models.
    Wake(Device, Epoch),
    /// A step of the device's executor ends.
    StepEnds(Device, Epoch, u64),
    /// A worker process dies by itself.
    WorkerDies(Device, Epoch, WorkerId),
    /// A dial gets through, if the network still is as it was.
    Dialled(Device, Epoch, Transport),
    /// A message arrives at the cloud.
    ToCloud(WireId, Up),
    /// A message arrives at the device.
    ToDevice(WireId, Down),
    /// The device finds its connection dead.
    DeviceNotices(WireId),
    /// The cloud finds the connection dead.
    CloudNotices(WireId),
    /// A desired state that was sent to a node gets there once more, unless the cloud was restored since.
    Again(NodeUid, Rc<Document>, u64),
    /// The agent starts.
    Boot(Device),
    /// The agent is killed if it still is in that run.
    Kill(Device, Epoch),
    /// What served before the agent was killed must serve again.
    MustServe(Device, Epoch),
    /// A session of a node that was revoked must have ended.
    MustBeCut(NodeUid),
    /// The planner looks at everything.
    Plan,
    /// The cloud starts.
    CloudUp,
    /// A fault of the scenario begins.
    Begins(usize),
    /// It ends.
    Ends(usize),
    /// The operator does the next thing of the script.
    Intent(usize),
    /// The operator looks at what needs a person.
    Round,
}

/// Events in the order of time, and of scheduling within one moment.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BTreeMap<(Ms, u64), Event>,
    scheduled: u64,
}

impl Queue {
    /// Adds an event.
    pub(crate) fn at(&mut self, at: Ms, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<(Ms, Event)> {
        let ((at, _), event) = self.events.pop_first()?;
        Some((at, event))
    }
}
