//! WebSocket over TLS: `GET /session` carries a session, `GET /blobs/<digest>` a range of a blob.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, RANGE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use millwright_proto::Digest;
use millwright_proto::frame::{FRAME_BYTES_MAX, PROTOCOL};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::admission::{Door, HANDSHAKE_WITHIN, WEBSOCKET_WAIT_MAX};
use super::blobs::{self, Range, Refused};
use super::identity::identity_of;
use super::wire::{Wire, WireError};
use super::{Hub, HubParts, run};
use crate::signals::draining;

/// A connection on which nothing arrives for this long is dead; agents ping every 20 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(65);

/// tungstenite's default of 128 KiB is too much for thousands of quiet connections.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Unsent bytes kept beyond one message.
const WRITE_BUFFER_BYTES_MAX: usize = FRAME_BYTES_MAX + 64 * 1024;

/// From the connection to its whole first message: agents speak at once, and it is one or two packets.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(5);

/// Connections that have not said a whole message yet: well below the files a process may have.
const SILENT_MAX: usize = 4_096;

/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait after `accept` failed, which happens when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// TLS that lets only nodes in.
pub(super) fn acceptor(parts: &HubParts) -> Arc<ServerConfig> {
    let mut tls = millwright_identity::renewed_server_config_for_nodes(&parts.credentials);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(tls)
}

/// Accepts until the server drains.
pub(super) async fn accept(hub: Arc<Hub>, listener: TcpListener, acceptor: Arc<ServerConfig>) {
    let door = Door::new(WEBSOCKET_WAIT_MAX);
    let silent = Arc::new(Semaphore::new(SILENT_MAX));
    let mut shutdown = hub.shutdown.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining(&mut shutdown) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            // Dropping the stream refuses it; the agent comes back with jitter.
            Ok(_) if silent.available_permits() == 0 || door.is_full() => {}
            Ok((stream, _)) => {
                let (hub, acceptor, door) = (Arc::clone(&hub), Arc::clone(&acceptor), door.clone());
                let silent = Arc::clone(&silent);
                connections.spawn(async move {
                    let Some(begun) = speaks(stream, &silent).await else {
                        return;
                    };
                    match door.pass(open(begun, acceptor)).await {
                        Ok(Ok((stream, identity))) => exchange(hub, identity, stream).await,
                        Ok(Err(reason)) => {
                            tracing::debug!(reason, "a TLS handshake of an agent failed")
                        }
                        Err(reason) => {
                            tracing::debug!(%reason, "a TLS handshake of an agent was not finished")
                        }
                    }
                });
            }
            Err(fault) => {
                tracing::warn!(error = %fault, "cannot accept an agent");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(CLOSE_WITHIN * 2, ended).await);
}

/// Reads the first message, whole. Until it is there a connection costs no more than its file and a few KiB, so those
/// that are opened and say nothing, or one byte at a time, have a bound of their own and do not stand in the door.
async fn speaks(stream: TcpStream, silent: &Semaphore) -> Option<StartHandshake<TcpStream>> {
    let _permit = silent.try_acquire().ok()?;
    stream.set_nodelay(true).ok()?;
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let begun = tokio::time::timeout(FIRST_MESSAGE_WITHIN, hello).await;
    begun.ok()?.ok()
}

type Stream = tokio_rustls::server::TlsStream<TcpStream>;

async fn open(
    begun: StartHandshake<TcpStream>,
    acceptor: Arc<ServerConfig>,
) -> Result<(Stream, NodeIdentity), String> {
    let stream = begun
        .into_stream(acceptor)
        .await
        .map_err(|error| error.to_string())?;
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or("no certificate")?;
    let identity = identity_of(leaf, Timestamp::now())?;
    Ok((stream, identity))
}

/// Answers the requests of one connection; a session takes it over.
async fn exchange(hub: Arc<Hub>, identity: NodeIdentity, stream: Stream) {
    let mut shutdown = hub.shutdown.clone();
    let service = service_fn(|request| {
        let (hub, identity) = (Arc::clone(&hub), identity.clone());
        async move { Ok::<_, Infallible>(answer(hub, identity, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        ended = connection => {
            if let Err(fault) = ended {
                tracing::debug!(node = %identity.node, error = %fault, "a connection ended early");
            }
        }
        () = draining(&mut shutdown) => {}
    }
}

async fn answer(
    hub: Arc<Hub>,
    identity: NodeIdentity,
    mut request: Request<Incoming>,
) -> Response<Body> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET".to_owned());
    }
    let path = request.uri().path().to_owned();
    if path == "/session" {
        return upgrade(hub, identity, &mut request);
    }
    match path.strip_prefix("/blobs/").map(str::parse::<Digest>) {
        Some(Ok(digest)) => {
            let header = request
                .headers()
                .get(RANGE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("bytes=0-");
            match Range::of_header(digest, header) {
                Ok(range) => blob(hub, &identity, range).await,
                Err(refused) => refuse(&refused),
            }
        }
        Some(Err(error)) => text(StatusCode::BAD_REQUEST, error.to_string()),
        None => text(
            StatusCode::NOT_FOUND,
            "here are /session and /blobs/<digest>".to_owned(),
        ),
    }
}

async fn blob(hub: Arc<Hub>, identity: &NodeIdentity, range: Range) -> Response<Body> {
    let blob = match blobs::open(&hub, identity, range).await {
        Ok(blob) => blob,
        Err(refused) => return refuse(&refused),
    };
    let length = blob.left_bytes();
    let node = identity.uid;
    let chunks = futures_util::stream::unfold((blob, hub), move |(mut blob, hub)| async move {
        // A node that was cut off gets no more of it either; over QUIC its connection is gone.
        let chunk = match hub.is_live(node) {
            true => blob.next().await.transpose()?,
            false => Err(std::io::Error::other(Refused::NoSession)),
        };
        Some((chunk.map(Frame::data), (blob, hub)))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn refuse(refused: &Refused) -> Response<Body> {
    let status = match refused {
        Refused::Malformed(_) => StatusCode::BAD_REQUEST,
        Refused::NotDesired(_) => StatusCode::NOT_FOUND,
        Refused::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Refused::NoSession => StatusCode::FORBIDDEN,
        Refused::Store(_) | Refused::Registry(_) | Refused::Disk(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    text(status, refused.to_string())
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Answers a WebSocket handshake (RFC 6455, section 4.2) and runs the session on what the connection becomes.
fn upgrade(
    hub: Arc<Hub>,
    identity: NodeIdentity,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let speaks = |header, word: &str| {
        let value = request
            .headers()
            .get(header)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    if !speaks(UPGRADE, "websocket") || !speaks(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return text(
            StatusCode::BAD_REQUEST,
            format!("a session is a WebSocket with the subprotocol {PROTOCOL}"),
        );
    }
    let key = request
        .headers()
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = key.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        return text(
            StatusCode::BAD_REQUEST,
            "the handshake has no Sec-WebSocket-Key".to_owned(),
        );
    };
    let upgrading = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgrading.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(READ_BUFFER_BYTES)
                    .write_buffer_size(0)
                    .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
                    .max_message_size(Some(FRAME_BYTES_MAX))
                    .max_frame_size(Some(FRAME_BYTES_MAX));
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
                let wire = Wire::WebSocket(Box::new(WebSocketWire { socket }));
                let broken = Box::pin(run::run(Arc::clone(&hub), identity, wire)).await;
                run::await_return(&hub, broken).await;
            }
            Err(fault) => {
                tracing::debug!(node = %identity.node, error = %fault, "an upgrade failed")
            }
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// The WebSocket of a session.
pub(super) struct WebSocketWire {
    socket: WebSocketStream<TokioIo<Upgraded>>,
}

impl WebSocketWire {
    pub(super) async fn receive(&mut self) -> Result<Bytes, WireError> {
        loop {
            let next = tokio::time::timeout(IDLE_TIMEOUT, self.socket.next()).await;
            let silent =
                |_| WireError::Ended(format!("nothing arrived for {} s", IDLE_TIMEOUT.as_secs()));
            match next.map_err(silent)? {
                Some(Ok(Message::Binary(body))) => return Ok(body),
                // tungstenite answers pings by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Err(WireError::Ended("the agent sent text".to_owned()));
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(WireError::Ended(
                        "the agent closed the connection".to_owned(),
                    ));
                }
                Some(Err(error)) => return Err(WireError::Ended(error.to_string())),
            }
        }
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<(), WireError> {
        let sent = self.socket.send(Message::Binary(body)).await;
        sent.map_err(|error| WireError::Ended(error.to_string()))
    }

    pub(super) async fn close(mut self) {
        // Errors mean that it is closed already.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.socket.close(None)).await;
    }
}
