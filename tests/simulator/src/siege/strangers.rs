//! What strangers do to cloudcore.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use edge_core::link::Transport;
use millwright_identity::SERVER_NAME;
use millwright_proto::frame::PROTOCOL_VERSION;
use millwright_proto::link::{Applied, Hello, Uplink, downlink, uplink};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::LASTS;
use crate::identity::Identity;
use crate::storm::Fleet;
use crate::wire::Wire;

/// First packets made in advance, each of a connection of its own. Sent again and again: cloudcore forgets.
pub(super) const INITIALS: usize = 4_000;

/// Ports they come from.
const PORTS: usize = 64;

/// Pause between two bursts, and packets of one: some 20,000 a second, 24 MB/s.
const BURST_EVERY: Duration = Duration::from_millis(5);
const BURST: usize = 100;

/// Connections that send their handshake byte by byte: more than may shake hands at once.
const DRIBBLERS: usize = 2_000;

/// Time between two of the bytes.
const DRIBBLE_EVERY: Duration = Duration::from_millis(500);

/// Sessions that send and never read.
pub(super) const DEAF: usize = 40;

/// What a deaf session sends: each is answered by nothing, but read, checked and stored.
const DEAF_MESSAGES: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    Initials,
    Dribble,
    Deaf,
}

pub(super) struct Strangers {
    pub(super) quic: SocketAddr,
    pub(super) websocket: SocketAddr,
    pub(super) initials: Arc<Vec<Vec<u8>>>,
    pub(super) sent: Arc<AtomicU64>,
}

impl Attack {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Initials => "first packets of QUIC from many ports",
            Self::Dribble => "handshakes byte by byte",
            Self::Deaf => "sessions that send and never read",
        }
    }
}

impl Strangers {
    pub(super) async fn attack(
        &self,
        fleet: &Fleet,
        attack: Attack,
        deaf: &[Identity],
    ) -> Result<()> {
        match attack {
            Attack::Initials => {
                let (target, packets) = (self.quic, Arc::clone(&self.initials));
                let (sent, over) = (Arc::clone(&self.sent), Arc::new(AtomicBool::new(false)));
                let ends = Arc::clone(&over);
                let flooding =
                    tokio::task::spawn_blocking(move || flood(target, &packets, &sent, &ends));
                tokio::time::sleep(LASTS).await;
                over.store(true, Ordering::Relaxed);
                flooding.await?
            }
            Attack::Dribble => {
                let mut all = JoinSet::new();
                for _ in 0..DRIBBLERS {
                    all.spawn(dribble(self.websocket, Arc::clone(&self.sent)));
                }
                tokio::time::sleep(LASTS).await;
                Ok(())
            }
            Attack::Deaf => {
                let shouting = deaf
                    .iter()
                    .enumerate()
                    .map(|(number, identity)| async move {
                        let transport = match number % 2 {
                            0 => Transport::Quic,
                            _ => Transport::WebSocket,
                        };
                        shout(fleet, number, identity, transport, &self.sent).await
                    });
                let all = futures_util::future::join_all(shouting);
                // Whoever is cut off is not at fault: that is one right answer.
                drop(tokio::time::timeout(LASTS, all).await);
                Ok(())
            }
        }
    }
}

/// First packets of so many connections that are never gone on with.
pub(crate) fn first_packets(
    fleet: &Fleet,
    identity: &Identity,
    count: usize,
) -> Result<Vec<Vec<u8>>> {
    let keys = fleet.plant.dialers.keys(identity)?;
    let target = fleet.cloud.addresses().quic;
    let config = Arc::new(quinn_proto::EndpointConfig::default());
    let mut endpoint = quinn_proto::Endpoint::new(config, None, false, None);
    let made = (0..count).map(|_| {
        let now = Instant::now();
        let (_, mut connection) = endpoint.connect(now, keys.quic(), target, SERVER_NAME)?;
        let mut packet = Vec::new();
        ensure!(
            connection.poll_transmit(now, 1, &mut packet).is_some(),
            "no first packet"
        );
        Ok(packet)
    });
    made.collect()
}

fn flood(
    target: SocketAddr,
    packets: &[Vec<u8>],
    sent: &AtomicU64,
    over: &AtomicBool,
) -> Result<()> {
    let sockets = (0..PORTS).map(|_| UdpSocket::bind("127.0.0.1:0"));
    let sockets: Vec<UdpSocket> = sockets.collect::<Result<_, _>>()?;
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            // A full buffer loses it, as the network would.
            let _ = sockets[number % PORTS].send_to(&packets[number % packets.len()], target);
            number += 1;
        }
        sent.fetch_add(BURST as u64, Ordering::Relaxed);
        std::thread::sleep(BURST_EVERY);
    }
    Ok(())
}

/// A ClientHello of 512 bytes, a byte at a time.
async fn dribble(target: SocketAddr, sent: Arc<AtomicU64>) -> Result<()> {
    let mut hello = vec![
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    hello.resize(517, 0x2a);
    loop {
        let mut stream = TcpStream::connect(target).await?;
        for byte in &hello {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(DRIBBLE_EVERY).await;
        }
    }
}

/// A session that says what it applied again and again, and reads no answer.
async fn shout(
    fleet: &Fleet,
    number: usize,
    identity: &Identity,
    transport: Transport,
    sent: &AtomicU64,
) -> Result<()> {
    let mut wire = open(fleet, number, identity, transport).await?;
    for _ in 0..DEAF_MESSAGES {
        let applied = uplink::Body::Applied(Applied::default());
        wire.send(&Uplink {
            body: Some(applied),
        })
        .await?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    std::future::pending().await
}

/// A session like one of a new disk; no ledger behind it.
pub(super) async fn open(
    fleet: &Fleet,
    number: usize,
    identity: &Identity,
    transport: Transport,
) -> Result<Wire> {
    let keys = fleet.plant.dialers.keys(identity)?;
    let mut wire = fleet.plant.dialers.dial(transport, number, &keys).await?;
    let mut fresh = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut fresh)
        .map_err(|_| anyhow::anyhow!("no random bytes"))?;
    let id = Bytes::copy_from_slice(&fresh);
    let hello = Hello {
        versions: vec![PROTOCOL_VERSION],
        node_uid: Bytes::copy_from_slice(&identity.uid),
        instance: id.clone(),
        boot: id.clone(),
        lineage: id,
        agent_version: "sim-stranger".to_owned(),
        ..Hello::default()
    };
    wire.send(&Uplink {
        body: Some(uplink::Body::Hello(hello)),
    })
    .await?;
    match wire.receive().await?.body {
        Some(downlink::Body::Welcome(_)) => Ok(wire),
        other => bail!("no Welcome but {other:?}"),
    }
}
