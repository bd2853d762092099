//! QUIC: one bidirectional stream opened by the agent carries the frames; blobs take others.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use edge_core::link::Transport;
use millwright_identity::SERVER_NAME;
use millwright_proto::frame::{self, LENGTH_BYTES, PROTOCOL};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;

use super::totals::{Handshake, Totals};
use super::wire::{WireError, told};
use crate::connect::{race, resolve, split};

/// Ping this often when nothing is sent: below the 30 s after which strict NATs forget a UDP flow.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A connection that is silent for this long is dead: two keep-alives may get lost.
const IDLE_TIMEOUT_MS: u32 = 65_000;

/// Receive windows: a blob transfer fills a 20 Mbit/s link at 100 ms, and the agent's memory is small.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;

/// Unsent bytes kept; the agent sends little.
const SEND_WINDOW_BYTES: u64 = 256 * 1024;

/// Most bytes taken from the stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Tickets of earlier connections kept: cloudcore sends two per connection.
const TICKETS_MAX: usize = 8;

/// A probe looks this often whether cloudcore confirmed the handshake; quinn tells it only as a counter.
const CONFIRM_LOOK: Duration = Duration::from_millis(25);

/// Dials cloudcore over QUIC.
#[derive(Clone)]
pub(super) struct QuicDialer {
    address: String,
    config: ClientConfig,
    witness: Arc<Witness>,
    totals: Totals,
}

/// Counts how often cloudcore asked for the node's certificate, which it does in full handshakes and never
/// in resumed ones (RFC 8446, section 4.3.2): quinn does not tell the two apart.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ResolvesClientCert>,
    asked: AtomicU64,
}

impl ResolvesClientCert for Witness {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.resolve(root_hint_subjects, schemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}

impl QuicDialer {
    /// # Errors
    /// When the TLS settings cannot carry QUIC.
    pub(super) fn new(
        address: String,
        tls: &rustls::ClientConfig,
        totals: Totals,
    ) -> Result<Self, WireError> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
        tls.enable_early_data = false;
        tls.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
        let witness = Arc::new(Witness {
            inner: Arc::clone(&tls.client_auth_cert_resolver),
            asked: AtomicU64::new(0),
        });
        tls.client_auth_cert_resolver = Arc::clone(&witness) as Arc<dyn ResolvesClientCert>;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| WireError::Dial {
            transport: "quic",
            address: address.clone(),
            reason: error.to_string(),
        })?;
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
            // Cloudcore opens no streams.
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
            .send_window(SEND_WINDOW_BYTES)
            // Probes of 1,400 bytes each on metered links, and the agent sends little.
            .mtu_discovery_config(None)
            .datagram_receive_buffer_size(None);
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        Ok(Self {
            address,
            config,
            witness,
            totals,
        })
    }

    /// Connects and opens the stream of the session. The caller bounds the time.
    pub(super) async fn dial(&self) -> Result<QuicWire, WireError> {
        let (endpoint, connection) = self.connect().await?;
        let (send, receive) = connection
            .open_bi()
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(QuicWire {
            endpoint,
            connection,
            send,
            receive,
            buffer: BytesMut::new(),
        })
    }

    /// Handshake only: tells whether QUIC would work. The caller bounds the time.
    pub(super) async fn probe(&self) -> Result<(), WireError> {
        let (endpoint, connection) = self.connect().await?;
        // The confirmation comes in a packet of the kind that sessions use. Some middleboxes let the
        // handshake through and nothing after it.
        while connection.stats().frame_rx.handshake_done == 0 {
            tokio::select! {
                () = tokio::time::sleep(CONFIRM_LOOK) => {}
                error = connection.closed() => return Err(self.failed(&error)),
            }
        }
        connection.close(VarInt::from_u32(0), b"probe");
        // The close is a courtesy; the answer to the probe is known.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await);
        Ok(())
    }

    async fn connect(&self) -> Result<(Endpoint, Connection), WireError> {
        let (host, port) =
            split(&self.address).ok_or_else(|| self.failed(&"it is not written as host:port"))?;
        let addresses = resolve(host, port).await;
        let addresses = addresses.map_err(|error| self.failed(&told(&error)))?;
        let asked = self.witness.asked.load(Ordering::Relaxed);
        let connected = race(addresses, |address| self.connect_to(address)).await;
        let connected =
            connected.map_err(|last| last.unwrap_or_else(|| self.failed(&"it has no address")))?;
        let kind = match self.witness.asked.load(Ordering::Relaxed) == asked {
            true => Handshake::Resumed,
            false => Handshake::Full,
        };
        let stats = connected.1.stats();
        let bytes = (stats.udp_tx.bytes, stats.udp_rx.bytes);
        self.totals.shook_hands(Transport::Quic, kind, bytes);
        Ok(connected)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<(Endpoint, Connection), WireError> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // A socket per attempt: after a change of network the old one may be bound to a dead address.
        let endpoint = Endpoint::client(local).map_err(|error| self.failed(&error))?;
        let connection = endpoint
            .connect_with(self.config.clone(), address, SERVER_NAME)
            .map_err(|error| self.failed(&error))?
            .await
            .map_err(|error| self.failed(&error))?;
        Ok((endpoint, connection))
    }

    fn failed(&self, reason: &impl ToString) -> WireError {
        WireError::Dial {
            transport: "quic",
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The stream of a session.
pub(super) struct QuicWire {
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    buffer: BytesMut,
}

impl QuicWire {
    pub(super) async fn receive(&mut self) -> Result<Bytes, WireError> {
        loop {
            if let Some(body) = frame::split_delimited(&mut self.buffer)? {
                return Ok(body);
            }
            match self.receive.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(WireError::Ended("cloudcore closed the stream".into())),
                Err(error) => return Err(WireError::Ended(error.to_string())),
            }
        }
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<(), WireError> {
        let length = u32::try_from(body.len())
            .map_err(|_| frame::FrameError::TooLong { length: body.len() })?;
        let prefix: [u8; LENGTH_BYTES] = length.to_be_bytes();
        let ended = |error: quinn::WriteError| WireError::Ended(error.to_string());
        let mut chunks = [Bytes::copy_from_slice(&prefix), body];
        self.send.write_all_chunks(&mut chunks).await.map_err(ended)
    }

    pub(super) async fn close(mut self) {
        // Errors mean that it is closed already.
        let _ = self.send.finish();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.send.stopped()).await;
        self.connection.close(VarInt::from_u32(0), b"bye");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }

    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }
}
