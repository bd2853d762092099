//! One session, without IO: frames and facts in, actions out.
//!
//! ```text
//!   AwaitingWelcome --Welcome--> (persist) --> Live --Fenced, ComeBack, violation--> ended
//!         '-- deadline --> ended                '-- unanswered too long --> ended
//! ```
//! Ended is not a state: the action [`Action::End`] consumes the session. Time is an argument.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_core::outbox::{GapReason, Room, Stream};
use millwright_proto::Digest;
use millwright_proto::frame::{self, PROTOCOL_VERSION};
use millwright_proto::ids::Generation;
use millwright_proto::link::{
    self, Applied, Downlink, FenceReason, Gap, HardExampleAnswer, HardExampleAsk, Hello, Record,
    StreamOffer, Uplink, downlink, uplink,
};

use super::{LinkConfig, ReceivedDesired};
use crate::store::{Greeting, Outgoing, OutgoingBody};

/// From Hello to Welcome. The dial's own timeout is shorter; this one bounds a cloud that accepts
/// connections and then says nothing.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// From a record to its acknowledgement. A commit takes milliseconds; when twenty seconds pass, the
/// path is dead long before the transport's own idle timeout would notice.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Records on their way at once: an hour of windows, so that a backlog drains in few round trips.
const IN_FLIGHT_RECORDS_MAX: usize = 64;

/// Bytes on their way at once; with the records' own limit this bounds the memory of both sides.
const IN_FLIGHT_BYTES_MAX: u64 = 512 * 1024;

/// What the caller has to do, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Persist, then call [`Session::welcome_persisted`].
    Welcomed {
        secret: Vec<u8>,
        watermarks: Vec<(Stream, u64)>,
        server_time_ms: u64,
    },
    Acknowledge {
        stream: Stream,
        through: u64,
    },
    Desired(ReceivedDesired),
    /// Answer when there is [`Session::room`] after everything else was sent.
    Asked(HardExampleAsk),
    End(SessionEnd),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The wire broke, or this side failed.
    Lost(String),
    /// Nothing was acknowledged for too long.
    Silent(String),
    /// Left for the better transport.
    Switching,
    /// The agent stops.
    Stopping,
    /// Cloudcore asked for it.
    ComeBack { after_ms: u64 },
    /// Cloudcore refuses.
    Fenced {
        reason: FenceReason,
        message: String,
    },
    /// No protocol version in common.
    Unsupported(String),
}

enum Phase {
    AwaitingWelcome { until: Instant },
    Persisting,
    Live,
}

struct Sent {
    stream: Stream,
    last: u64,
    bytes: u64,
}

/// See the module.
pub(super) struct Session {
    phase: Phase,
    in_flight: VecDeque<Sent>,
    /// Set while something is in flight: since when nothing was acknowledged.
    unanswered_since: Option<Instant>,
}

impl Session {
    /// Begins with the Hello to send.
    pub(super) fn begin(
        config: &LinkConfig,
        greeting: Greeting,
        applied: &Applied,
        now: Instant,
    ) -> (Self, Uplink) {
        let offers = greeting
            .streams
            .iter()
            .map(|(stream, oldest, head)| StreamOffer {
                stream: wire_stream(*stream).into(),
                oldest: *oldest,
                next: head.next,
                offered_up_to: head.offered_up_to,
            });
        let hello = Hello {
            versions: vec![PROTOCOL_VERSION],
            node_uid: Bytes::copy_from_slice(config.node_uid.as_bytes()),
            instance: Bytes::copy_from_slice(config.instance.as_bytes()),
            boot: Bytes::copy_from_slice(config.boot.as_bytes()),
            lineage: Bytes::copy_from_slice(greeting.lineage.as_bytes()),
            streams: offers.collect(),
            session_secret: greeting.secret.into(),
            applied_generation: applied.generation,
            applied_digest: applied.digest.clone(),
            capabilities: config.capabilities.clone(),
            agent_version: config.agent_version.clone(),
            platform: Some(config.platform.clone()),
        };
        let session = Self {
            phase: Phase::AwaitingWelcome {
                until: now + WELCOME_TIMEOUT,
            },
            in_flight: VecDeque::new(),
            unanswered_since: None,
        };
        (session, up(uplink::Body::Hello(hello)))
    }

    /// Takes one frame body. Messages this version does not know are tolerated.
    pub(super) fn received(&mut self, body: Bytes, now: Instant) -> Option<Action> {
        let downlink = match frame::decode_body::<Downlink>(body) {
            Ok(downlink) => downlink,
            Err(error) => return Some(lost(&error)),
        };
        match (downlink.body?, &self.phase) {
            (downlink::Body::Welcome(welcome), Phase::AwaitingWelcome { .. }) => {
                self.phase = Phase::Persisting;
                Some(welcomed(welcome))
            }
            (downlink::Body::Welcome(_), Phase::Persisting | Phase::Live) => {
                Some(violation("a second Welcome"))
            }
            (downlink::Body::ComeBack(come_back), _) => Some(Action::End(SessionEnd::ComeBack {
                after_ms: come_back.after_ms.into(),
            })),
            (downlink::Body::Fenced(fenced), _) => Some(Action::End(SessionEnd::Fenced {
                reason: fenced.reason(),
                message: fenced.message,
            })),
            (downlink::Body::Unsupported(unsupported), _) => {
                Some(Action::End(SessionEnd::Unsupported(format!(
                    "cloudcore speaks protocol versions {:?}, this agent {PROTOCOL_VERSION}: {}",
                    unsupported.versions, unsupported.message
                ))))
            }
            (downlink::Body::Ack(ack), Phase::Live) => self.acknowledged(&ack, now),
            (downlink::Body::Desired(desired), Phase::Live) => Some(checked(desired)),
            (downlink::Body::HardExampleAsk(ask), Phase::Live) => Some(Action::Asked(ask)),
            (
                downlink::Body::Ack(_)
                | downlink::Body::Desired(_)
                | downlink::Body::HardExampleAsk(_),
                _,
            ) => Some(violation("a message before Welcome")),
        }
    }

    fn acknowledged(&mut self, ack: &link::Ack, now: Instant) -> Option<Action> {
        let stream = core_stream(ack.stream())?;
        self.in_flight
            .retain(|sent| sent.stream != stream || sent.last > ack.through);
        self.unanswered_since = (!self.in_flight.is_empty()).then_some(now);
        Some(Action::Acknowledge {
            stream,
            through: ack.through,
        })
    }

    /// The Welcome is durable: the session is live and says first what the node has applied.
    pub(super) fn welcome_persisted(&mut self, applied: Applied) -> Uplink {
        self.phase = Phase::Live;
        up(uplink::Body::Applied(applied))
    }

    /// How much may be sent now; `None`: nothing.
    pub(super) fn room(&self) -> Option<Room> {
        let bytes: u64 = self.in_flight.iter().map(|sent| sent.bytes).sum();
        let room = Room {
            records: IN_FLIGHT_RECORDS_MAX.saturating_sub(self.in_flight.len()),
            bytes: IN_FLIGHT_BYTES_MAX.saturating_sub(bytes),
        };
        let live = matches!(self.phase, Phase::Live);
        (live && room.records > 0 && room.bytes > 0).then_some(room)
    }

    /// The message for one entry of the outbox, which counts as in flight from now on.
    pub(super) fn offer(&mut self, outgoing: Outgoing, now: Instant) -> Uplink {
        let stream = wire_stream(outgoing.stream).into();
        let (bytes, body) = match outgoing.body {
            OutgoingBody::Record(payload) => (
                payload.len() as u64,
                uplink::Body::Record(Record {
                    stream,
                    first: outgoing.first,
                    last: outgoing.last,
                    crc32c: crc32c::crc32c(&payload),
                    payload,
                }),
            ),
            OutgoingBody::Gap(reason) => (
                0,
                uplink::Body::Gap(Gap {
                    stream,
                    from: outgoing.first,
                    to: outgoing.last,
                    reason: wire_reason(reason).into(),
                }),
            ),
        };
        self.in_flight.push_back(Sent {
            stream: outgoing.stream,
            last: outgoing.last,
            bytes,
        });
        self.unanswered_since.get_or_insert(now);
        up(body)
    }

    /// The node made something new of its desired state.
    pub(super) fn applied(&self, applied: Applied) -> Option<Uplink> {
        matches!(self.phase, Phase::Live).then(|| up(uplink::Body::Applied(applied)))
    }

    /// The answer to an ask.
    pub(super) fn answered(&self, answer: HardExampleAnswer) -> Uplink {
        up(uplink::Body::HardExampleAnswer(answer))
    }

    /// When [`Session::expired`] is due, if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingWelcome { until } => Some(until),
            Phase::Persisting | Phase::Live => {
                self.unanswered_since.map(|since| since + ANSWER_TIMEOUT)
            }
        }
    }

    /// The deadline passed.
    pub(super) fn expired(&self) -> SessionEnd {
        match self.phase {
            Phase::AwaitingWelcome { .. } => {
                let seconds = WELCOME_TIMEOUT.as_secs();
                SessionEnd::Lost(format!("no Welcome within {seconds} s"))
            }
            Phase::Persisting | Phase::Live => {
                let seconds = ANSWER_TIMEOUT.as_secs();
                SessionEnd::Silent(format!("nothing acknowledged for {seconds} s"))
            }
        }
    }
}

fn welcomed(welcome: link::Welcome) -> Action {
    if welcome.version != PROTOCOL_VERSION {
        return violation("a Welcome with a version that was not offered");
    }
    let watermarks = welcome.watermarks.iter().filter_map(|watermark| {
        core_stream(watermark.stream()).map(|stream| (stream, watermark.through))
    });
    Action::Welcomed {
        watermarks: watermarks.collect(),
        server_time_ms: welcome.server_time_ms,
        secret: welcome.session_secret.to_vec(),
    }
}

fn checked(desired: link::Desired) -> Action {
    let announced = desired.digest.as_ref().map(Digest::try_from);
    let actual = Digest::of(&desired.document);
    if announced == Some(Ok(actual)) {
        Action::Desired(ReceivedDesired {
            generation: Generation::new(desired.generation),
            digest: actual,
            document: desired.document,
        })
    } else {
        violation("a desired document that has another digest than announced")
    }
}

fn violation(what: &str) -> Action {
    lost(&format!("cloudcore broke the protocol: it sent {what}"))
}

fn lost(why: &impl ToString) -> Action {
    Action::End(SessionEnd::Lost(why.to_string()))
}

fn up(body: uplink::Body) -> Uplink {
    Uplink { body: Some(body) }
}

const fn wire_stream(stream: Stream) -> link::Stream {
    match stream {
        Stream::Events => link::Stream::Events,
        Stream::Summaries => link::Stream::Summaries,
    }
}

const fn core_stream(stream: link::Stream) -> Option<Stream> {
    match stream {
        link::Stream::Events => Some(Stream::Events),
        link::Stream::Summaries => Some(Stream::Summaries),
        link::Stream::Unspecified => None,
    }
}

const fn wire_reason(reason: GapReason) -> link::GapReason {
    match reason {
        GapReason::Evicted => link::GapReason::Evicted,
        GapReason::Corrupt => link::GapReason::Corrupt,
        GapReason::FateUnknown => link::GapReason::FateUnknown,
        GapReason::Quarantined => link::GapReason::Quarantined,
    }
}
