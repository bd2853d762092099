//! The protocol of one session, without IO: bodies and answers in, messages out.
//!
//! ```text
//!   Hello ──> hello() ──admission──> welcome() | refusal()
//!   body  ──> said() ────outcome───> answers()
//! ```

#[cfg(test)]
mod tests;

use bytes::Bytes;
use fleet_api::Transport;
use millwright_identity::NodeIdentity;
use millwright_proto::Digest;
use millwright_proto::frame::{self, PROTOCOL_VERSION};
use millwright_proto::ids::{
    BootId, Generation, IdError, Incarnation, InstanceId, Lineage, NodeUid,
};
use millwright_proto::link::{
    self, Ack, ComeBack, Desired, Downlink, FenceReason, Fenced, HardExampleAnswer, HardExampleAsk,
    Unsupported, Uplink, Watermark, Welcome, downlink, uplink,
};

use super::Ending;
use crate::store::{QuicPeer, StoredDesired};
use crate::tasks::ingest::{Admission, Hello, Outcome, Report};

/// What agents ping with when nothing else is sent: below the 30 s after which strict NATs forget a UDP flow.
const KEEP_ALIVE_MS: u32 = 20_000;

/// Longest text of a Hello that is stored, for example the agent's version.
const TEXT_BYTES_MAX: usize = 128;

/// Capabilities an agent may name.
const CAPABILITIES_MAX: usize = 64;

/// Reads the first body. `Err` is the message to end with.
pub(super) fn hello(
    body: Bytes,
    identity: &NodeIdentity,
    (transport, peer): (Transport, Option<QuicPeer>),
    new_secret: [u8; 32],
) -> Result<Hello, Downlink> {
    let message: Uplink = frame::decode_body(body).map_err(|error| protocol(&error))?;
    let Some(uplink::Body::Hello(hello)) = message.body else {
        return Err(protocol(&"the first message must be Hello"));
    };
    if !hello.versions.contains(&PROTOCOL_VERSION) {
        return Err(down(downlink::Body::Unsupported(Unsupported {
            versions: vec![PROTOCOL_VERSION],
            message: "update the agent or cloudcore so that both speak one version".to_owned(),
        })));
    }
    let malformed = |error: IdError| protocol(&error);
    let uid = NodeUid::try_from(&hello.node_uid[..]).map_err(malformed)?;
    if uid != identity.uid {
        let message = format!(
            "the certificate is for {}, the Hello for {uid}",
            identity.uid
        );
        return Err(fenced(FenceReason::Identity, message));
    }
    let applied = match (&hello.applied_digest, hello.applied_generation) {
        (Some(digest), generation) if generation > 0 => {
            let digest = Digest::try_from(digest).map_err(|error| protocol(&error))?;
            Some((Generation::new(generation), digest))
        }
        _ => None,
    };
    let platform = hello.platform.unwrap_or_default();
    Ok(Hello {
        uid,
        instance: InstanceId::try_from(&hello.instance[..]).map_err(malformed)?,
        boot: BootId::try_from(&hello.boot[..]).map_err(malformed)?,
        lineage: Lineage::try_from(&hello.lineage[..]).map_err(malformed)?,
        secret: hello.session_secret.to_vec(),
        new_secret,
        transport,
        peer,
        applied,
        agent_version: shortened(hello.agent_version),
        os: shortened(platform.os),
        arch: shortened(platform.arch),
        onnxruntime: shortened(platform.onnxruntime_version),
        capabilities: hello
            .capabilities
            .into_iter()
            .take(CAPABILITIES_MAX)
            .map(shortened)
            .collect(),
    })
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Why a node gets no session; `None` when it gets one.
pub(super) fn refusal(admission: &Admission) -> Option<Downlink> {
    let (reason, message) = match admission {
        Admission::Welcome { .. } => return None,
        Admission::Unknown => (FenceReason::Identity, "no such node was enrolled here"),
        Admission::Revoked => (
            FenceReason::Revoked,
            "this node was revoked; enroll it again to use it",
        ),
        Admission::Cloned => (
            FenceReason::Cloned,
            "another copy of this node's disk was connected since: enroll this one under another name",
        ),
    };
    Some(fenced(reason, message.to_owned()))
}

/// Opens the session.
pub(super) fn welcome(
    hello: &Hello,
    term: u64,
    watermarks: impl IntoIterator<Item = (link::Stream, u64)>,
    incarnation: Incarnation,
    server_time_ms: u64,
) -> Downlink {
    let watermarks = watermarks.into_iter();
    down(downlink::Body::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        term,
        session_secret: Bytes::copy_from_slice(&hello.new_secret),
        watermarks: watermarks
            .map(|(stream, through)| Watermark {
                stream: stream.into(),
                through,
            })
            .collect(),
        server_time_ms,
        keep_alive_ms: KEEP_ALIVE_MS,
        incarnation: Bytes::copy_from_slice(incarnation.as_bytes()),
    }))
}

/// What a body after Hello says.
#[derive(Debug)]
pub(super) enum Said {
    /// Something to be made durable.
    Report(Report),
    /// The answer to what an operator asked.
    Answer(HardExampleAnswer),
}

/// Reads a body after Hello; `None` for messages this version does not know, which are tolerated.
pub(super) fn said(body: Bytes) -> Result<Option<Said>, Downlink> {
    let message: Uplink = frame::decode_body(body).map_err(|error| protocol(&error))?;
    match message.body {
        Some(uplink::Body::Record(record)) => Ok(Some(Said::Report(Report::Record(record)))),
        Some(uplink::Body::Gap(gap)) => Ok(Some(Said::Report(Report::Gap(gap)))),
        Some(uplink::Body::Applied(applied)) => Ok(Some(Said::Report(Report::Applied(applied)))),
        Some(uplink::Body::HardExampleAnswer(answer)) => Ok(Some(Said::Answer(answer))),
        Some(uplink::Body::Hello(_)) => Err(protocol(&"a second Hello")),
        None => Ok(None),
    }
}

/// What to send for a batch, and the message to end with where it has to end.
pub(super) fn answers(outcome: Outcome) -> (Vec<Downlink>, Option<Downlink>) {
    match outcome {
        Outcome::Committed {
            acknowledge,
            violation,
        } => {
            let acks = acknowledge.into_iter().map(|(stream, through)| {
                down(downlink::Body::Ack(Ack {
                    stream: link::Stream::from(stream).into(),
                    through,
                }))
            });
            (
                acks.collect(),
                violation.map(|violation| protocol(&violation)),
            )
        }
        Outcome::Superseded => (Vec::new(), Some(ending(Ending::Superseded))),
        Outcome::Revoked => (Vec::new(), Some(ending(Ending::Revoked))),
    }
}

/// The refusal of a peer whose certificate is not the one of the node it would be.
pub(super) fn not_this_node(message: String) -> Downlink {
    fenced(FenceReason::Identity, message)
}

/// The message a session ends with.
pub(super) fn ending(why: Ending) -> Downlink {
    match why {
        Ending::Superseded => fenced(
            FenceReason::Superseded,
            "another session of this node took over".to_owned(),
        ),
        Ending::Revoked => fenced(FenceReason::Revoked, "this node was revoked".to_owned()),
        Ending::ComeBack { after_ms } => down(downlink::Body::ComeBack(ComeBack { after_ms })),
    }
}

/// A desired state on its way.
pub(super) fn desired(stored: StoredDesired) -> Downlink {
    down(downlink::Body::Desired(Desired {
        generation: stored.generation.get(),
        digest: Some(stored.digest.into()),
        document: stored.document.into(),
    }))
}

/// What an operator asks of the node.
pub(super) fn ask(ask: HardExampleAsk) -> Downlink {
    down(downlink::Body::HardExampleAsk(ask))
}

fn protocol(what: &impl ToString) -> Downlink {
    fenced(FenceReason::Protocol, what.to_string())
}

fn fenced(reason: FenceReason, message: String) -> Downlink {
    down(downlink::Body::Fenced(Fenced {
        reason: reason.into(),
        message,
    }))
}

fn down(body: downlink::Body) -> Downlink {
    Downlink { body: Some(body) }
}
