use edge_core::outbox::Head;
use millwright_proto::ids::{BootId, InstanceId, Lineage, NodeUid};
use millwright_proto::link::{Ack, ComeBack, Desired, Fenced, Platform, Watermark, Welcome};

use super::*;

fn config() -> LinkConfig {
    LinkConfig {
        quic: None,
        websocket: None,
        connector: crate::connect::Connector::direct(),
        probing: edge_core::link::Probing::default(),
        node_uid: NodeUid::from_bytes([1; 16]),
        instance: InstanceId::from_bytes([2; 16]),
        boot: BootId::from_bytes([3; 16]),
        agent_version: "0.1.0".to_owned(),
        capabilities: Vec::new(),
        platform: Platform::default(),
    }
}

fn begin(now: Instant) -> (Session, Uplink) {
    let head = Head {
        acknowledged: 2,
        offered_up_to: 4,
        next: 9,
    };
    let greeting = Greeting {
        lineage: Lineage::from_bytes([4; 16]),
        secret: b"old".to_vec(),
        worked: None,
        streams: vec![(Stream::Summaries, 1, head)],
    };
    let applied = Applied {
        generation: 7,
        ..Applied::default()
    };
    Session::begin(&config(), greeting, &applied, now)
}

fn body(body: downlink::Body) -> Bytes {
    frame::encode_body(&Downlink { body: Some(body) }).unwrap()
}

fn welcome() -> downlink::Body {
    downlink::Body::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        term: 3,
        session_secret: Bytes::from_static(b"new"),
        watermarks: vec![Watermark {
            stream: link::Stream::Summaries.into(),
            through: 4,
        }],
        server_time_ms: 99,
        ..Welcome::default()
    })
}

fn live(now: Instant) -> Session {
    let (mut session, _) = begin(now);
    session.received(body(welcome()), now).unwrap();
    session.welcome_persisted(Applied::default());
    session
}

fn outgoing(number: u64, bytes: usize) -> Outgoing {
    Outgoing {
        stream: Stream::Summaries,
        first: number,
        last: number,
        body: OutgoingBody::Record(vec![0; bytes].into()),
    }
}

#[test]
fn hello_says_what_the_outbox_holds_and_what_is_applied() {
    let (_, hello) = begin(Instant::now());
    let Some(uplink::Body::Hello(hello)) = hello.body else {
        panic!("{hello:?}");
    };
    assert_eq!(hello.applied_generation, 7);
    assert_eq!(hello.session_secret, &b"old"[..]);
    let expected = StreamOffer {
        stream: link::Stream::Summaries.into(),
        oldest: 1,
        next: 9,
        offered_up_to: 4,
    };
    assert_eq!(hello.streams, [expected]);
}

#[test]
fn nothing_is_sent_before_the_welcome_is_persisted() {
    let now = Instant::now();
    let (mut session, _) = begin(now);
    assert_eq!(session.room(), None);
    let action = session.received(body(welcome()), now);
    assert_eq!(
        action,
        Some(Action::Welcomed {
            secret: b"new".to_vec(),
            watermarks: vec![(Stream::Summaries, 4)],
            server_time_ms: 99,
        })
    );
    assert_eq!(session.room(), None);
    assert_eq!(session.applied(Applied::default()), None);
    session.welcome_persisted(Applied::default());
    assert!(session.room().is_some());
}

#[test]
fn what_is_in_flight_is_bounded_until_it_is_acknowledged() {
    let now = Instant::now();
    let mut session = live(now);
    for number in 1..=IN_FLIGHT_RECORDS_MAX as u64 {
        assert!(session.room().is_some());
        session.offer(outgoing(number, 10), now);
    }
    assert_eq!(session.room(), None);
    let ack = downlink::Body::Ack(Ack {
        stream: link::Stream::Summaries.into(),
        through: 60,
    });
    assert_eq!(
        session.received(body(ack), now),
        Some(Action::Acknowledge {
            stream: Stream::Summaries,
            through: 60
        })
    );
    assert_eq!(session.room().unwrap().records, 60);
    session.offer(outgoing(65, 600_000), now);
    assert_eq!(session.room(), None);
}

#[test]
fn a_silent_cloud_is_noticed_from_the_first_unanswered_send() {
    let now = Instant::now();
    let (session, _) = begin(now);
    assert_eq!(session.deadline(), Some(now + WELCOME_TIMEOUT));
    let mut session = live(now);
    assert_eq!(session.deadline(), None);
    session.offer(outgoing(5, 1), now);
    session.offer(outgoing(6, 1), now + ANSWER_TIMEOUT / 2);
    assert_eq!(session.deadline(), Some(now + ANSWER_TIMEOUT));
    assert!(matches!(session.expired(), SessionEnd::Silent(_)));
}

#[test]
fn a_desired_document_is_taken_only_with_its_digest() {
    let now = Instant::now();
    let document = Bytes::from_static(b"document");
    let desired = |digest: Digest| {
        downlink::Body::Desired(Desired {
            generation: 5,
            digest: Some(digest.into()),
            document: document.clone(),
        })
    };
    let digest = Digest::of(&document);
    let taken = live(now).received(body(desired(digest)), now);
    let expected = ReceivedDesired {
        generation: Generation::new(5),
        digest,
        document: document.clone(),
    };
    assert_eq!(taken, Some(Action::Desired(expected)));
    let other = live(now).received(body(desired(Digest::of(b"other"))), now);
    assert!(
        matches!(other, Some(Action::End(SessionEnd::Lost(_)))),
        "{other:?}"
    );
}

#[test]
fn a_fence_and_a_come_back_end_the_session_in_any_phase() {
    let now = Instant::now();
    let fenced = downlink::Body::Fenced(Fenced {
        reason: FenceReason::Cloned.into(),
        message: "stop".to_owned(),
    });
    let come_back = downlink::Body::ComeBack(ComeBack { after_ms: 5 });
    for mut session in [begin(now).0, live(now)] {
        assert_eq!(
            session.received(body(fenced.clone()), now),
            Some(Action::End(SessionEnd::Fenced {
                reason: FenceReason::Cloned,
                message: "stop".to_owned()
            }))
        );
        assert_eq!(
            session.received(body(come_back.clone()), now),
            Some(Action::End(SessionEnd::ComeBack { after_ms: 5 }))
        );
    }
}

#[test]
fn unknown_messages_are_tolerated_and_garbage_ends_the_session() {
    let now = Instant::now();
    let mut session = live(now);
    // Field 15, which no version has yet.
    assert_eq!(
        session.received(Bytes::from_static(&[0x7a, 1, 0]), now),
        None
    );
    let garbage = session.received(Bytes::from_static(&[0xff; 9]), now);
    assert!(matches!(garbage, Some(Action::End(SessionEnd::Lost(_)))));
}

#[test]
fn an_operators_ask_is_passed_on_and_one_before_the_welcome_ends_the_session() {
    let now = Instant::now();
    let ask = HardExampleAsk { id: 7, what: None };
    let asked = || body(downlink::Body::HardExampleAsk(ask.clone()));
    let (mut early, _) = begin(now);
    assert!(matches!(early.received(asked(), now), Some(Action::End(_))));
    let mut session = live(now);
    assert_eq!(
        session.received(asked(), now),
        Some(Action::Asked(ask.clone()))
    );
    assert_eq!(
        session.deadline(),
        None,
        "nothing has to be acknowledged for it"
    );
}
