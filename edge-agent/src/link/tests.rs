//! The whole link against a small cloud in this process, over real sockets.

mod cloud;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use edge_core::link::QUIC_DIAL_MS;
use edge_core::link::pulse::SILENCE_MS;
use edge_core::outbox::Stream;
use millwright_proto::ids::{BootId, InstanceId, NodeUid};

use super::*;
use crate::store::OutboxLimits;
use cloud::{BLOB, Cloud, DESIRED};

/// Longer than any of these take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Tries to be connected over QUIC. Another one is allowed only when this process stood still for as long as a dial
/// may take.
const TRIES_MAX: usize = 5;

struct Agent {
    link: Link,
    outbox: Outbox,
    desired: watch::Receiver<Option<ReceivedDesired>>,
    _applied: watch::Sender<Applied>,
    _directory: tempfile::TempDir,
}

async fn agent(cloud: &Cloud, quic: Option<String>, websocket: Option<String>) -> Agent {
    let directory = tempfile::tempdir().unwrap();
    let limits = OutboxLimits {
        free_bytes_min: 0,
        ..OutboxLimits::default()
    };
    let opened = Outbox::open(directory.path().join("outbox"), limits).await;
    let (outbox, _) = opened.unwrap();
    for number in 0..100 {
        let payload = Bytes::from(format!("window {number}"));
        outbox.append(Stream::Summaries, payload).await.unwrap();
    }
    let config = LinkConfig {
        quic,
        websocket,
        connector: Connector::direct(),
        probing: Probing::default(),
        node_uid: NodeUid::from_bytes([1; 16]),
        instance: InstanceId::from_bytes([2; 16]),
        boot: BootId::from_bytes([3; 16]),
        agent_version: "0.1.0".to_owned(),
        capabilities: Vec::new(),
        platform: Platform::default(),
    };
    let (desired_sender, desired) = watch::channel(None);
    let (applied_sender, applied) = watch::channel(Applied::default());
    let channels = LinkChannels {
        desired: desired_sender,
        applied,
        server_time_ms: watch::channel(0).0,
        hard_examples: Arc::new(Answers::new(
            directory.path().join("hard-examples"),
            crate::config::Permission::Denied,
        )),
    };
    let link = Link::spawn(config, &cloud.client_tls(), outbox.clone(), None, channels);
    Agent {
        link,
        outbox,
        desired,
        _applied: applied_sender,
        _directory: directory,
    }
}

impl Agent {
    async fn delivered(&mut self) {
        let mut backlog = self.outbox.backlog();
        while backlog.borrow_and_update().records > 0 {
            let fewer = tokio::time::timeout(DEADLINE, backlog.changed());
            fewer.await.unwrap().unwrap();
        }
        let arrived = self.desired.wait_for(Option::is_some);
        let arrived = tokio::time::timeout(DEADLINE, arrived).await.unwrap();
        assert_eq!(arrived.unwrap().as_ref().unwrap().document, DESIRED);
    }

    fn transport(&self) -> Option<Transport> {
        match self.link.state().borrow().status {
            LinkStatus::Connected { transport } => Some(transport),
            LinkStatus::Disabled | LinkStatus::Connecting | LinkStatus::Fenced { .. } => None,
        }
    }
}

async fn read(client: &BlobClient, offset: u64, length: u64) -> Result<Vec<u8>, BlobError> {
    let mut body = client.fetch(Digest::of(BLOB), offset, length).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len() as u64, body.total_bytes());
    Ok(bytes)
}

#[tokio::test]
async fn everything_is_delivered_over_quic_and_blobs_come_beside_it() {
    let (cloud, agent) = delivered_over_quic().await;
    assert_eq!(cloud.counted(), (1..=100).collect::<Vec<_>>());
    assert_eq!(read(&agent.link.blobs(), 2, 5).await.unwrap(), BLOB[2..7]);
    assert_eq!(read(&agent.link.blobs(), 3, 0).await.unwrap(), BLOB[3..]);
    let totals = agent.link.totals();
    assert!(
        totals.sent_bytes > 1_000 && totals.received_bytes > 1_000,
        "{totals:?}"
    );
    agent.link.shutdown().await;
}

/// An agent that delivered everything, and chose QUIC though WebSocket was there too.
async fn delivered_over_quic() -> (Cloud, Agent) {
    for _ in 0..TRIES_MAX {
        let cloud = Cloud::start().await;
        let began = Instant::now();
        let mut agent = agent(&cloud, Some(cloud.quic()), Some(cloud.websocket())).await;
        agent.delivered().await;
        if agent.transport() == Some(Transport::Quic) {
            return (cloud, agent);
        }
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(QUIC_DIAL_MS),
            "no QUIC after {took:?}"
        );
        agent.link.shutdown().await;
    }
    panic!("no session was over QUIC");
}

#[tokio::test]
async fn an_answer_to_an_operator_waits_until_everything_measured_is_sent() {
    let cloud = Cloud::start().await;
    let mut agent = agent(&cloud, Some(cloud.quic()), None).await;
    agent.delivered().await;
    let answered = async {
        while cloud.answered_after().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, answered).await.unwrap();
    assert_eq!(cloud.answered_after(), Some(100));
    agent.link.shutdown().await;
}

#[tokio::test]
async fn a_network_that_swallows_udp_is_crossed_over_websocket() {
    let cloud = Cloud::start().await;
    // Bound and never read: datagrams vanish without an answer.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = hole.local_addr().unwrap().to_string();
    let mut agent = agent(&cloud, Some(nowhere), Some(cloud.websocket())).await;
    agent.delivered().await;
    assert_eq!(agent.transport(), Some(Transport::WebSocket));
    assert_eq!(cloud.counted(), (1..=100).collect::<Vec<_>>());
    let totals = agent.link.totals();
    assert!(
        totals.sent_bytes > 1_000 && totals.received_bytes > 1_000,
        "{totals:?}"
    );
    agent.link.shutdown().await;
}

#[tokio::test]
async fn a_cut_session_is_resumed_without_loss_or_repetition() {
    let cloud = Cloud::start().await;
    cloud.cut_after_records(40);
    let began = Instant::now();
    let mut agent = agent(&cloud, Some(cloud.quic()), None).await;
    agent.delivered().await;
    assert_eq!(cloud.counted(), (1..=100).collect::<Vec<_>>());
    assert!(cloud.has_cut());
    let reconnects = agent.link.totals().reconnects;
    let stood_still = began.elapsed() >= Duration::from_millis(SILENCE_MS);
    // A process that stood still may give up another session.
    assert!(
        reconnects == 1 || reconnects > 1 && stood_still,
        "{reconnects}"
    );
    agent.link.shutdown().await;
}

#[tokio::test]
async fn blobs_come_over_http_when_there_is_no_quic() {
    let cloud = Cloud::start().await;
    let address = cloud.serve_blobs_over_http().await;
    let connector = Connector::direct();
    let totals = totals::Totals::default();
    let dialer = ws::WebSocketDialer::new(address, connector, &cloud.client_tls(), totals);
    let channel = blobs::Channel::WebSocket {
        dialer,
        meter: Arc::default(),
    };
    let (_sender, receiver) = watch::channel(Some(channel));
    let client = BlobClient::new(receiver);
    assert_eq!(read(&client, 2, 5).await.unwrap(), BLOB[2..7]);
    assert_eq!(read(&client, 3, 0).await.unwrap(), BLOB[3..]);
    let refused = client.fetch(Digest::of(b"other"), 0, 0).await;
    assert!(
        matches!(refused, Err(BlobError::Refused { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_a_session_blobs_are_offline() {
    let (_sender, receiver) = watch::channel(None);
    let refused = read(&BlobClient::new(receiver), 0, 0).await;
    assert!(
        matches!(refused, Err(BlobError::Offline { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn later_connections_resume_the_first_over_both_transports() {
    let cloud = Cloud::start().await;
    let totals = totals::Totals::default();
    let handshakes = || {
        let LinkTotals {
            full_handshakes,
            resumed_handshakes,
            ..
        } = totals.read();
        (full_handshakes, resumed_handshakes)
    };
    // The ticket may come a moment after the handshake, so that the second connection may still miss it.
    let resumed = async {
        let tls = cloud.client_tls();
        let quic = quic::QuicDialer::new(cloud.quic(), &tls, totals.clone()).unwrap();
        quic.probe().await.unwrap();
        assert_eq!(handshakes(), (1, 0));
        while handshakes().1 == 0 {
            quic.probe().await.unwrap();
        }
        let (full, resumed) = handshakes();
        let connector = Connector::direct();
        let websocket =
            ws::WebSocketDialer::new(cloud.websocket(), connector, &tls, totals.clone());
        websocket.dial().await.unwrap().close().await;
        // A ticket of QUIC is none for WebSocket.
        assert_eq!(handshakes(), (full + 1, resumed));
        while handshakes().1 == resumed {
            websocket.dial().await.unwrap().close().await;
        }
    };
    tokio::time::timeout(DEADLINE, resumed).await.unwrap();
}
