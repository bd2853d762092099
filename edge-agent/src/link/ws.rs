//! WebSocket over TLS over TCP: for networks that let no UDP through.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use edge_core::link::Transport;
use edge_core::link::echo::{Echo, Next};
use futures_util::{SinkExt as _, StreamExt as _};
use millwright_identity::server_name;
use millwright_proto::frame::{FRAME_BYTES_MAX, PROTOCOL};
use rustls::HandshakeKind;
use rustls::client::Resumption;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::totals::{Handshake, Meter, Totals, whole_ms};
use super::wire::{WireError, told};
use crate::connect::{Connector, split};

/// tungstenite's default of 128 KiB is for servers with few clients.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Unsent bytes kept beyond one message.
const WRITE_BUFFER_BYTES_MAX: usize = FRAME_BYTES_MAX + 64 * 1024;

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) type Stream = TlsStream<Metered>;

/// Tickets of earlier connections kept: cloudcore sends two per connection.
const TICKETS_MAX: usize = 8;

/// Dials cloudcore over TCP: for the session and, beside it, for blobs.
#[derive(Clone)]
pub(super) struct WebSocketDialer {
    address: String,
    connector: Connector,
    tls: TlsConnector,
    totals: Totals,
}

impl WebSocketDialer {
    pub(super) fn new(
        address: String,
        connector: Connector,
        tls: &rustls::ClientConfig,
        totals: Totals,
    ) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.enable_early_data = false;
        // Of its own: a ticket of the QUIC listener is of no use here and would be spent for nothing.
        tls.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
        Self {
            address,
            connector,
            tls: TlsConnector::from(Arc::new(tls)),
            totals,
        }
    }

    /// Opens a session's WebSocket. The caller bounds the time.
    pub(super) async fn dial(&self) -> Result<WebSocketWire, WireError> {
        let meter = Arc::new(Meter::default());
        let stream = self.connect(&meter).await?;
        let mut request = format!("wss://{}/session", self.address)
            .into_client_request()
            .map_err(|error| self.failed(&error))?;
        let protocol = HeaderValue::from_static(PROTOCOL);
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _response) = Box::pin(upgrade)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(WebSocketWire {
            socket,
            meter,
            began: Instant::now(),
            echo: Echo::new(0),
        })
    }

    /// A TLS connection, its bytes counted by `meter`.
    pub(super) async fn connect(&self, meter: &Arc<Meter>) -> Result<Stream, WireError> {
        let (host, port) =
            split(&self.address).ok_or_else(|| self.failed(&"it is not written as host:port"))?;
        let socket = self.connector.connect(host, port).await;
        let socket = socket.map_err(|error| self.failed(&told(&error)))?;
        let metered = Metered {
            socket,
            meter: Arc::clone(meter),
        };
        let stream = self.tls.connect(server_name(), metered).await;
        let stream = stream.map_err(|error| self.failed(&error))?;
        let kind = match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                Handshake::Full
            }
        };
        self.totals
            .shook_hands(Transport::WebSocket, kind, meter.read());
        Ok(stream)
    }

    /// `host:port` as dialled.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn failed(&self, reason: &impl ToString) -> WireError {
        WireError::Dial {
            transport: "websocket",
            address: self.address.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The WebSocket of a session.
pub(super) struct WebSocketWire {
    socket: WebSocketStream<Stream>,
    meter: Arc<Meter>,
    began: Instant,
    echo: Echo,
}

impl WebSocketWire {
    pub(super) async fn receive(&mut self) -> Result<Bytes, WireError> {
        loop {
            let (Next::Ping { at_ms } | Next::Dead { at_ms }) = self.echo.next();
            let message = tokio::select! {
                // What has arrived counts, also when this process was held up for longer than the path may be.
                biased;
                message = self.socket.next() => message,
                () = tokio::time::sleep_until(self.began + Duration::from_millis(at_ms)) => {
                    self.ask().await?;
                    continue;
                }
            };
            match &message {
                Some(Ok(Message::Pong(carried))) => self.echo.heard(echoed(carried)),
                Some(_) | None => self.echo.heard(None),
            }
            match message {
                Some(Ok(Message::Binary(body))) => return Ok(body),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Err(WireError::Ended("cloudcore sent text".into()));
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(WireError::Ended("cloudcore closed the connection".into()));
                }
                Some(Err(error)) => return Err(ended(&error)),
            }
        }
    }

    /// Asks for an answer, or gives up waiting for one.
    async fn ask(&mut self) -> Result<(), WireError> {
        if let Next::Dead { .. } = self.echo.next() {
            return Err(WireError::Silent);
        }
        let carried = self.echo.ask(whole_ms(self.began.elapsed()));
        let carried = carried.map_or_else(Bytes::new, |bytes| {
            Bytes::copy_from_slice(&bytes.to_be_bytes())
        });
        let ping = Message::Ping(carried);
        self.socket.send(ping).await.map_err(|error| ended(&error))
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<(), WireError> {
        let now_ms = whole_ms(self.began.elapsed());
        self.echo.sent(body.len() as u64, now_ms);
        let message = Message::Binary(body);
        self.socket
            .send(message)
            .await
            .map_err(|error| ended(&error))
    }

    pub(super) async fn close(mut self) {
        // Errors mean that it is closed already.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

/// What [`WebSocketWire::ask`] put into the ping.
fn echoed(carried: &Bytes) -> Option<u64> {
    carried[..].try_into().ok().map(u64::from_be_bytes)
}

fn ended(error: &Error) -> WireError {
    match error {
        // Of the kernel, which knows what TCP acknowledges.
        Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => WireError::Silent,
        error => WireError::Ended(error.to_string()),
    }
}

/// A TCP stream whose bytes are counted.
pub(super) struct Metered {
    socket: TcpStream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        self.meter.received_bytes.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.meter
            .sent_bytes
            .fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
