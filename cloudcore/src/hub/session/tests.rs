use std::collections::BTreeMap;

use millwright_proto::link::Record;
use prost::Message as _;

use super::*;
use crate::tasks::ingest::{StreamName, Violation};

const UID: [u8; 16] = [7; 16];

fn identity() -> NodeIdentity {
    NodeIdentity {
        fleet: "fleet.millwright.internal".parse().unwrap(),
        tenant: "default".parse().unwrap(),
        site: "leipzig".parse().unwrap(),
        node: "press-1".parse().unwrap(),
        uid: NodeUid::from_bytes(UID),
    }
}

fn sound() -> link::Hello {
    link::Hello {
        versions: vec![PROTOCOL_VERSION],
        node_uid: Bytes::copy_from_slice(&UID),
        instance: Bytes::from_static(&[1; 16]),
        boot: Bytes::from_static(&[2; 16]),
        lineage: Bytes::from_static(&[3; 16]),
        ..link::Hello::default()
    }
}

fn body(body: uplink::Body) -> Bytes {
    Uplink { body: Some(body) }.encode_to_vec().into()
}

fn read(hello: link::Hello) -> Result<Hello, Downlink> {
    super::hello(
        body(uplink::Body::Hello(hello)),
        &identity(),
        (Transport::Quic, None),
        [9; 32],
    )
}

fn fence(message: Downlink) -> FenceReason {
    match message.body {
        Some(downlink::Body::Fenced(fenced)) => fenced.reason(),
        other => panic!("{other:?} is no fence"),
    }
}

#[test]
fn a_sound_hello_is_read() {
    let hello = read(sound()).unwrap();
    assert_eq!(
        (hello.uid.as_bytes(), hello.applied, hello.new_secret),
        (&UID, None, [9; 32])
    );
}

#[test]
fn a_hello_for_another_node_than_the_certificate_is_fenced() {
    let other = link::Hello {
        node_uid: Bytes::from_static(&[8; 16]),
        ..sound()
    };
    assert_eq!(fence(read(other).unwrap_err()), FenceReason::Identity);
}

#[test]
fn malformed_identities_are_fenced_and_never_panic() {
    let short = link::Hello {
        lineage: Bytes::from_static(&[3; 4]),
        ..sound()
    };
    assert_eq!(fence(read(short).unwrap_err()), FenceReason::Protocol);
    let garbage = super::hello(
        Bytes::from_static(&[0xff; 40]),
        &identity(),
        (Transport::Quic, None),
        [9; 32],
    );
    assert_eq!(fence(garbage.unwrap_err()), FenceReason::Protocol);
}

#[test]
fn an_agent_of_another_protocol_is_told_which_one_is_spoken() {
    let old = link::Hello {
        versions: vec![PROTOCOL_VERSION + 1],
        ..sound()
    };
    match read(old).unwrap_err().body {
        Some(downlink::Body::Unsupported(unsupported)) => {
            assert_eq!(unsupported.versions, [PROTOCOL_VERSION])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_first_message_is_hello() {
    assert_eq!(
        fence(said(body(uplink::Body::Hello(sound()))).unwrap_err()),
        FenceReason::Protocol
    );
    let record = uplink::Body::Record(Record::default());
    let first = super::hello(
        body(record.clone()),
        &identity(),
        (Transport::Quic, None),
        [9; 32],
    );
    assert_eq!(fence(first.unwrap_err()), FenceReason::Protocol);
    assert!(matches!(
        said(body(record)),
        Ok(Some(Said::Report(Report::Record(_))))
    ));
}

#[test]
fn a_body_from_a_newer_agent_is_tolerated() {
    // Field 15, length-delimited, empty: a body this version does not know.
    assert!(matches!(said(Bytes::from_static(&[0x7a, 0x00])), Ok(None)));
}

#[test]
fn what_was_committed_is_acknowledged_before_a_violation_ends_the_session() {
    let acknowledge = BTreeMap::from([(StreamName::Summaries, 5)]);
    let violation = Some(Violation::Stream { number: 9 });
    let (acks, end) = answers(Outcome::Committed {
        acknowledge,
        violation,
    });
    let ack = Ack {
        stream: link::Stream::Summaries.into(),
        through: 5,
    };
    assert_eq!(acks, [down(downlink::Body::Ack(ack))]);
    assert_eq!(end.map(fence), Some(FenceReason::Protocol));
}
