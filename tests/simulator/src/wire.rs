//! One real connection to cloudcore, over QUIC or WebSocket, as an agent makes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use edge_core::link::Transport;
use futures_util::{SinkExt as _, StreamExt as _};
use millwright_identity::{
    CertifiedKey, NodeCredentials, SERVER_NAME, node_client_config, server_name,
};
use millwright_proto::frame::{self, PROTOCOL};
use millwright_proto::link::{Downlink, Uplink};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::identity::Identity;

/// As the agent has it.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(20);
const IDLE_TIMEOUT_MS: u32 = 65_000;

/// UDP sockets shared by all agents: each has buffers of megabytes, and one driver.
const ENDPOINTS: usize = 8;

/// With the system's default, answers are dropped when many agents dial at once.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Buffer of one WebSocket; an agent's frames are small.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// What all agents dial through.
pub(crate) struct Dialers {
    quic: SocketAddr,
    websocket: SocketAddr,
    endpoints: Vec<Endpoint>,
    transport: Arc<TransportConfig>,
    handshakes: Handshakes,
}

/// How agents that had a session shake hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshakes {
    /// They show the ticket of the session before, as agents do.
    Resumed,
    /// In full: as after a week of one session each, or when cloudcore lost its secrets.
    Full,
}

/// With what one agent dials, made once. Remembers its tickets.
pub(crate) struct Keys {
    quic: ClientConfig,
    websocket: TlsConnector,
}

impl Keys {
    /// For whoever makes packets of its own.
    pub(crate) fn quic(&self) -> ClientConfig {
        self.quic.clone()
    }
}

impl Dialers {
    pub(crate) fn new(
        quic: SocketAddr,
        websocket: SocketAddr,
        handshakes: Handshakes,
    ) -> Result<Self> {
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .mtu_discovery_config(None)
            .datagram_receive_buffer_size(None);
        let endpoints = (0..ENDPOINTS).map(|_| endpoint()).collect::<Result<_>>()?;
        Ok(Self {
            quic,
            websocket,
            endpoints,
            transport: Arc::new(transport),
            handshakes,
        })
    }

    /// With what the agent of this identity dials.
    pub(crate) fn keys(&self, identity: &Identity) -> Result<Keys> {
        let tls = tls(identity, self.handshakes)?;
        let speaking = |protocol: &str| {
            let mut tls = tls.clone();
            tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            tls
        };
        let mut quic = ClientConfig::new(Arc::new(QuicClientConfig::try_from(speaking(PROTOCOL))?));
        quic.transport_config(Arc::clone(&self.transport));
        Ok(Keys {
            quic,
            websocket: TlsConnector::from(Arc::new(speaking("http/1.1"))),
        })
    }

    /// Connects one agent. The caller bounds the time.
    pub(crate) async fn dial(
        &self,
        transport: Transport,
        number: usize,
        keys: &Keys,
    ) -> Result<Wire> {
        match transport {
            Transport::Quic => {
                let connection = self.connect(number, keys).await?;
                let (send, receive) = connection.open_bi().await?;
                let buffer = BytesMut::new();
                Ok(Wire::Quic {
                    connection,
                    send,
                    receive,
                    buffer,
                })
            }
            Transport::WebSocket => {
                let socket = TcpStream::connect(self.websocket).await?;
                socket.set_nodelay(true)?;
                let stream = keys.websocket.connect(server_name(), socket);
                let mut request =
                    format!("wss://{}/session", self.websocket).into_client_request()?;
                request
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
                let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
                let (socket, _) = tokio_tungstenite::client_async_with_config(
                    request,
                    stream.await?,
                    Some(config),
                )
                .await?;
                Ok(Wire::WebSocket(Box::new(socket)))
            }
        }
    }

    /// Handshake only.
    pub(crate) async fn probe(&self, number: usize, keys: &Keys) -> Result<()> {
        let connection = self.connect(number, keys).await?;
        connection.close(VarInt::from_u32(0), b"probe");
        Ok(())
    }

    async fn connect(&self, number: usize, keys: &Keys) -> Result<Connection> {
        let endpoint = &self.endpoints[number % self.endpoints.len()];
        let connecting = endpoint.connect_with(keys.quic.clone(), self.quic, SERVER_NAME)?;
        Ok(connecting.await?)
    }
}

fn endpoint() -> Result<Endpoint> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").context("binding a UDP socket")?;
    let buffers = socket2::SockRef::from(&socket);
    buffers.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    buffers.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(Endpoint::new(
        quinn::EndpointConfig::default(),
        None,
        socket,
        runtime,
    )?)
}

fn tls(identity: &Identity, handshakes: Handshakes) -> Result<rustls::ClientConfig> {
    let chain = identity.chain.iter().cloned().map(CertificateDer::from);
    let own = NodeCredentials::new(CertifiedKey {
        chain: chain.collect(),
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone())),
    })?;
    let root = CertificateDer::from(identity.root.clone());
    let mut tls = node_client_config(root, &Arc::new(own))?;
    if handshakes == Handshakes::Full {
        tls.resumption = Resumption::disabled();
    }
    Ok(tls)
}

/// One open connection.
pub(crate) enum Wire {
    Quic {
        connection: Connection,
        send: SendStream,
        receive: RecvStream,
        buffer: BytesMut,
    },
    WebSocket(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

impl Wire {
    /// The next message. Safe to cancel.
    pub(crate) async fn receive(&mut self) -> Result<Downlink> {
        match self {
            Self::Quic {
                receive, buffer, ..
            } => loop {
                if let Some(body) = frame::split_delimited(buffer)? {
                    return Ok(frame::decode_body(body)?);
                }
                match receive.read_chunk(usize::MAX, true).await? {
                    Some(chunk) => buffer.extend_from_slice(&chunk.bytes),
                    None => bail!("cloudcore closed the stream"),
                }
            },
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(body))) => return Ok(frame::decode_body(body)?),
                    Some(Ok(Message::Close(_))) | None => bail!("cloudcore closed the connection"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            },
        }
    }

    pub(crate) async fn send(&mut self, message: &Uplink) -> Result<()> {
        match self {
            Self::Quic { send, .. } => {
                Ok(send.write_chunk(frame::encode_delimited(message)?).await?)
            }
            Self::WebSocket(socket) => {
                let body = frame::encode_body(message)?;
                Ok(socket.send(Message::Binary(body)).await?)
            }
        }
    }

    /// QUIC does it by itself.
    pub(crate) async fn keep_alive(&mut self) -> Result<()> {
        match self {
            Self::Quic { .. } => Ok(()),
            Self::WebSocket(socket) => Ok(socket.send(Message::Ping(Bytes::new())).await?),
        }
    }

    /// Says that the agent leaves on purpose.
    pub(crate) async fn close(self) {
        match self {
            Self::Quic { connection, .. } => connection.close(VarInt::from_u32(0), b"bye"),
            // An error means that it is closed already.
            Self::WebSocket(mut socket) => drop(socket.as_mut().close(None).await),
        }
    }
}
