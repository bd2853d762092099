//! QUIC: the first bidirectional stream of a connection carries the session, every other one a blob.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use millwright_identity::NodeIdentity;
use millwright_proto::frame::{self, PROTOCOL};
use millwright_proto::link::{BlobRequest, BlobResponse, blob_response};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connecting, Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::ConnectionIdGenerator;
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::admission::{Door, QUIC_WAIT_MAX};
use super::blobs::{self, Range};
use super::cid::{self, LastingIds};
use super::identity::identity_of;
use super::wire::{Wire, WireError};
use super::{Hub, HubError, HubParts, run};
use crate::signals::draining;
use crate::store::QuicPeer;

/// A connection that is silent for this long is dead; agents ping every 20 s.
const IDLE_TIMEOUT_MS: u32 = 65_000;

/// The session and a few blobs; every further stream waits at the agent.
const STREAMS_MAX: u32 = 4;

/// A frame of 1 MiB moves in a few round trips; idle connections cost nothing for it.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// Most bytes taken from a stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Blobs give way to the session.
const BLOB_PRIORITY: i32 = -1;

/// From the opening of a blob stream to its request.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// A chunk of a blob that the node does not take in this time ends the transfer; it resumes at the offset.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// From the end of the handshake to the session's stream; a probe opens none and closes.
const STREAM_WITHIN: Duration = Duration::from_secs(10);

/// Least time between two stateless resets that answer packets of unknown connections: 5,000 a second tell
/// a whole fleet within seconds, and each is smaller than what it answers. quinn's default would take minutes.
const RESET_EVERY: Duration = Duration::from_micros(200);

/// Unsent bytes kept for one node: two frames. What a node that reads nothing can hold of our memory.
const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Makes the endpoint that agents dial.
pub(super) fn endpoint(parts: &HubParts, socket: UdpSocket) -> Result<Endpoint, HubError> {
    let mut tls = millwright_identity::renewed_server_config_for_nodes(&parts.credentials);
    tls.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        // Probes of 1,400 bytes each after every handshake, for packets that are a fifth larger in a transfer.
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport));
    let reset_key = reset_key(parts);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key.clone()));
    endpoint
        .cid_generator(move || {
            Box::new(LastingIds::new(&reset_key)) as Box<dyn ConnectionIdGenerator>
        })
        .min_reset_interval(RESET_EVERY);
    Ok(Endpoint::new(
        endpoint,
        Some(config),
        socket,
        Arc::new(TokioRuntime),
    )?)
}

/// Signs stateless resets.
pub(super) fn reset_key(parts: &HubParts) -> ring::hmac::Key {
    ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &parts.reset_key)
}

/// Accepts until the server drains.
pub(super) async fn accept(hub: Arc<Hub>, endpoint: Endpoint) {
    let door = Door::new(QUIC_WAIT_MAX);
    let mut shutdown = hub.shutdown.clone();
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = draining(&mut shutdown) => break,
        };
        let Some(incoming) = incoming else { break };
        while connections.try_join_next().is_some() {}
        if !incoming.remote_address_validated() {
            // One small packet and no state for whoever only pretends to be there; quinn's first flight and its
            // repetitions are up to four times as many bytes as a forged packet. It fails only for proven ones.
            drop(incoming.retry());
            continue;
        }
        if door.is_full() {
            incoming.refuse();
            continue;
        }
        let (hub, door) = (Arc::clone(&hub), door.clone());
        connections.spawn(async move {
            match door.pass(open(incoming)).await {
                Ok(Ok(opened)) => serve(hub, opened).await,
                Ok(Err(reason)) => tracing::debug!(reason, "a QUIC handshake failed"),
                Err(reason) => tracing::debug!(%reason, "a QUIC handshake was not finished"),
            }
        });
    }
    // Sessions see the shutdown themselves and say goodbye.
    let ended = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(CLOSE_WITHIN * 2, ended).await);
    endpoint.close(VarInt::from_u32(0), b"draining");
    drop(tokio::time::timeout(CLOSE_WITHIN, endpoint.wait_idle()).await);
}

/// A connection whose agent is known. Probes end here: they open no stream.
struct Opened {
    connection: Connection,
    identity: NodeIdentity,
    peer: Option<QuicPeer>,
}

async fn open(incoming: Incoming) -> Result<Opened, String> {
    let (accepted, id) = cid::made_by(|| incoming.accept());
    let connecting: Connecting = accepted.map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| error.to_string())?;
    let chain = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain
        .as_ref()
        .and_then(|chain| chain.first())
        .ok_or("no certificate")?;
    let identity = identity_of(leaf, Timestamp::now())?;
    let address = connection.remote_address();
    Ok(Opened {
        connection,
        identity,
        peer: id.map(|connection_id| QuicPeer {
            address,
            connection_id,
        }),
    })
}

async fn serve(hub: Arc<Hub>, opened: Opened) {
    let Opened {
        connection,
        identity,
        peer,
    } = opened;
    let accepted = tokio::time::timeout(STREAM_WITHIN, connection.accept_bi()).await;
    let Ok(Ok((send, receive))) = accepted else {
        return;
    };
    let wire = Wire::Quic(QuicWire {
        connection: connection.clone(),
        send,
        receive,
        buffer: BytesMut::new(),
        peer,
    });
    let session = run::run(Arc::clone(&hub), identity.clone(), wire);
    // Blobs end with the session: its end closes the connection.
    let broken = tokio::select! {
        broken = session => broken,
        () = serve_blobs(&hub, &identity, &connection) => None,
    };
    connection.close(VarInt::from_u32(0), b"ended");
    drop(connection);
    run::await_return(&hub, broken).await;
}

/// Resolves never while the connection lives: the session decides when it ends.
async fn serve_blobs(hub: &Arc<Hub>, identity: &NodeIdentity, connection: &Connection) {
    let transfers = Arc::new(Semaphore::new(STREAMS_MAX as usize));
    while let Ok((send, receive)) = connection.accept_bi().await {
        // Never closed, and QUIC itself lets no more streams through.
        let Ok(permit) = Arc::clone(&transfers).acquire_owned().await else {
            break;
        };
        let (hub, identity) = (Arc::clone(hub), identity.clone());
        tokio::spawn(async move {
            if let Err(reason) = serve_blob(&hub, &identity, send, receive).await {
                tracing::debug!(node = %identity.node, reason, "a blob was not sent whole");
            }
            drop(permit);
        });
    }
    // The connection broke; the session is about to notice and ends by itself.
    std::future::pending::<()>().await;
}

async fn serve_blob(
    hub: &Hub,
    identity: &NodeIdentity,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), String> {
    // An error means that the stream is gone, which the write then reports.
    let _ = send.set_priority(BLOB_PRIORITY);
    let asked = tokio::time::timeout(REQUEST_WITHIN, read_request(&mut receive)).await;
    let request = asked.map_err(|_| "no request came")??;
    let range = Range::of(&request);
    let opened = match range {
        Ok(range) => blobs::open(hub, identity, range).await,
        Err(refused) => Err(refused),
    };
    let (body, mut blob) = match opened {
        Ok(blob) => (
            blob_response::Body::TotalBytes(blob.left_bytes()),
            Some(blob),
        ),
        Err(refused) => (blob_response::Body::Refused(refused.to_string()), None),
    };
    let response = frame::encode_delimited(&BlobResponse { body: Some(body) })
        .map_err(|error| error.to_string())?;
    send.write_all(&response)
        .await
        .map_err(|error| error.to_string())?;
    while let Some(blob) = blob.as_mut() {
        let Some(chunk) = blob.next().await.map_err(|error| error.to_string())? else {
            break;
        };
        let written = tokio::time::timeout(CHUNK_WITHIN, send.write_chunk(chunk)).await;
        written
            .map_err(|_| "the node stopped reading")?
            .map_err(|error| error.to_string())?;
    }
    send.finish().map_err(|error| error.to_string())
}

async fn read_request(receive: &mut RecvStream) -> Result<BlobRequest, String> {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(body) =
            frame::split_delimited(&mut buffer).map_err(|error| error.to_string())?
        {
            return frame::decode_body(body).map_err(|error| error.to_string());
        }
        match receive.read_chunk(CHUNK_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err("the stream ended before the request".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The stream of a session.
pub(super) struct QuicWire {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    buffer: BytesMut,
    peer: Option<QuicPeer>,
}

impl QuicWire {
    /// Where it comes from.
    pub(super) fn peer(&self) -> Option<QuicPeer> {
        self.peer.clone()
    }

    pub(super) async fn receive(&mut self) -> Result<Bytes, WireError> {
        loop {
            if let Some(body) = frame::split_delimited(&mut self.buffer)? {
                return Ok(body);
            }
            match self.receive.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Err(WireError::Ended("the agent closed the stream".to_owned())),
                Err(error) => return Err(WireError::Ended(error.to_string())),
            }
        }
    }

    pub(super) async fn send(&mut self, frame: Bytes) -> Result<(), WireError> {
        self.send
            .write_chunk(frame)
            .await
            .map_err(|error| WireError::Ended(error.to_string()))
    }

    pub(super) async fn close(mut self) {
        // Errors mean that it is closed already.
        let _ = self.send.finish();
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.send.stopped()).await;
        self.connection.close(VarInt::from_u32(0), b"bye");
    }
}
