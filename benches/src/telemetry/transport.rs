//! A record and its acknowledgement over QUIC, with the settings of agent and cloud.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use millwright_proto::frame::{decode_body, encode_delimited, split_delimited};
use millwright_proto::link::{Ack, Downlink, Record, Stream, Uplink, downlink, uplink};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

/// As the agent keeps a session alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// IPv4 without options, and UDP.
const HEADER_BYTES: u64 = 20 + 8;

const NAME: &str = "cloud.test";

pub(super) struct Transport {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    received: BytesMut,
    sequence: u64,
    _endpoint: Endpoint,
}

impl Transport {
    /// A session with a server of this process.
    pub(super) async fn connect() -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let certificate = certified.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())?;
        let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
        let server = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into())?;
        let address = server.local_addr()?;
        tokio::spawn(acknowledge(server));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate)?;
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        client.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let connection = endpoint.connect_with(client, address, NAME)?.await?;
        let (send, receive) = connection.open_bi().await?;
        Ok(Self {
            connection,
            send,
            receive,
            received: BytesMut::new(),
            sequence: 0,
            _endpoint: endpoint,
        })
    }

    /// Sends one window and waits until it is acknowledged.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.sequence += 1;
        let record = Record {
            stream: Stream::Summaries.into(),
            first: self.sequence,
            last: self.sequence,
            payload: Bytes::copy_from_slice(payload),
            crc32c: crc32c::crc32c(payload),
        };
        let body = Some(uplink::Body::Record(record));
        self.send
            .write_all(&encode_delimited(&Uplink { body })?)
            .await?;
        let body = read(&mut self.receive, &mut self.received)
            .await?
            .context("no answer")?;
        let Downlink { body } = decode_body(body)?;
        let through = match body {
            Some(downlink::Body::Ack(ack)) => ack.through,
            other => anyhow::bail!("not an acknowledgement: {other:?}"),
        };
        ensure!(through == self.sequence, "another record was acknowledged");
        Ok(())
    }

    /// Bytes on the wire so far, both ways, with headers.
    pub(super) fn bytes(&self) -> u64 {
        let stats = self.connection.stats();
        [stats.udp_tx, stats.udp_rx]
            .iter()
            .map(|way| way.bytes + way.datagrams * HEADER_BYTES)
            .sum()
    }
}

async fn read(stream: &mut RecvStream, buffer: &mut BytesMut) -> Result<Option<Bytes>> {
    loop {
        if let Some(body) = split_delimited(buffer)? {
            return Ok(Some(body));
        }
        match stream.read_chunk(64 * 1024, true).await? {
            Some(chunk) => buffer.extend_from_slice(&chunk.bytes),
            None => return Ok(None),
        }
    }
}

/// The cloud's side: acknowledges every record.
async fn acknowledge(endpoint: Endpoint) -> Result<()> {
    let incoming = endpoint.accept().await.context("the endpoint ended")?;
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut buffer = BytesMut::new();
    while let Some(body) = read(&mut receive, &mut buffer).await? {
        let Uplink { body } = decode_body(body)?;
        if let Some(uplink::Body::Record(record)) = body {
            let ack = Ack {
                stream: record.stream,
                through: record.last,
            };
            let body = Some(downlink::Body::Ack(ack));
            send.write_all(&encode_delimited(&Downlink { body })?)
                .await?;
        }
    }
    Ok(())
}
