//! A cloud just large enough for one agent: counts records, sends one desired state, serves one blob.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use millwright_identity::{
    CertifiedKey, SERVER_NAME, rooted_client_config, server_config_for_nodes,
};
use millwright_proto::Digest;
use millwright_proto::frame::{self, PROTOCOL, PROTOCOL_VERSION};
use millwright_proto::link::{
    Ack, BlobRequest, BlobResponse, Desired, Downlink, HardExampleAsk, Stream, Uplink, Watermark,
    Welcome, blob_response, downlink, uplink,
};
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

pub(super) const DESIRED: &[u8] = b"an encoded document";
pub(super) const BLOB: &[u8] = b"0123456789 and then some";

#[derive(Default)]
struct Books {
    through: u64,
    counted: Vec<u64>,
    /// Cut one session after so many records, without acknowledging the last one.
    cut_after: Option<usize>,
    /// How many records had come when the answer to an operator came.
    answered_after: Option<usize>,
}

pub(super) struct Cloud {
    books: Arc<Mutex<Books>>,
    quic: SocketAddr,
    websocket: SocketAddr,
    acceptor: TlsAcceptor,
    client: Arc<rustls::ClientConfig>,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        let root = ca("root");
        let nodes = ca("node CA");
        let server = leaf(&root, &[SERVER_NAME], ExtendedKeyUsagePurpose::ServerAuth);
        let node = leaf(&nodes, &[], ExtendedKeyUsagePurpose::ClientAuth);
        let client = rooted_client_config(root.der().clone(), Some(node)).unwrap();
        let tls = server_config_for_nodes(server, nodes.der().clone()).unwrap();
        let books = Arc::<Mutex<Books>>::default();

        let mut quic_tls = tls.clone();
        quic_tls.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
        let crypto = QuicServerConfig::try_from(quic_tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let quic = endpoint.local_addr().unwrap();
        tokio::spawn(serve_quic(endpoint, Arc::clone(&books)));

        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let websocket = listener.local_addr().unwrap();
        tokio::spawn(serve_websocket(
            listener,
            acceptor.clone(),
            Arc::clone(&books),
        ));
        Self {
            books,
            quic,
            websocket,
            acceptor,
            client: Arc::new(client),
        }
    }

    pub(super) fn quic(&self) -> String {
        self.quic.to_string()
    }

    pub(super) fn websocket(&self) -> String {
        self.websocket.to_string()
    }

    pub(super) fn client_tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.client)
    }

    /// How many records had come when the answer to an operator came.
    pub(super) fn answered_after(&self) -> Option<usize> {
        self.books.lock().unwrap().answered_after
    }

    pub(super) fn counted(&self) -> Vec<u64> {
        self.books.lock().unwrap().counted.clone()
    }

    pub(super) fn cut_after_records(&self, records: usize) {
        self.books.lock().unwrap().cut_after = Some(records);
    }

    /// Whether the session was cut that was to be.
    pub(super) fn has_cut(&self) -> bool {
        self.books.lock().unwrap().cut_after.is_none()
    }

    /// A listener that answers blob requests only, in bare HTTP/1.1.
    pub(super) async fn serve_blobs_over_http(&self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let stream = acceptor.accept(socket).await.unwrap();
                answer_http(stream).await;
            }
        });
        address
    }
}

fn ca(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> CertifiedKey {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    CertifiedKey {
        chain: vec![certificate.der().clone(), issuer.der().clone()],
        key: rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

async fn serve_quic(endpoint: quinn::Endpoint, books: Arc<Mutex<Books>>) {
    while let Some(incoming) = endpoint.accept().await {
        // A dial that took too long was given up.
        let Ok(connection) = incoming.await else {
            continue;
        };
        let books = Arc::clone(&books);
        tokio::spawn(async move {
            // A probe opens no stream.
            let Ok((send, receive)) = connection.accept_bi().await else {
                return;
            };
            let peer = Peer::Quic(send, receive, BytesMut::new());
            tokio::spawn(session(peer, books));
            while let Ok((send, receive)) = connection.accept_bi().await {
                answer_blob(send, receive).await;
            }
        });
    }
}

async fn answer_blob(mut send: quinn::SendStream, mut receive: quinn::RecvStream) {
    let mut request = BytesMut::from(&receive.read_to_end(1_000).await.unwrap()[..]);
    let body = frame::split_delimited(&mut request).unwrap().unwrap();
    let request: BlobRequest = frame::decode_body(body).unwrap();
    assert_eq!(
        Digest::try_from(&request.digest.unwrap()),
        Ok(Digest::of(BLOB))
    );
    let range = range(request.offset, request.length);
    let answer = BlobResponse {
        body: Some(blob_response::Body::TotalBytes(range.len() as u64)),
    };
    let answer = frame::encode_delimited(&answer).unwrap();
    send.write_all(&answer).await.unwrap();
    send.write_all(range).await.unwrap();
    send.finish().unwrap();
}

fn range(offset: u64, length: u64) -> &'static [u8] {
    let offset = usize::try_from(offset).unwrap();
    match usize::try_from(length).unwrap() {
        0 => &BLOB[offset..],
        length => &BLOB[offset..offset + length],
    }
}

async fn answer_http(mut stream: TlsStream<TcpStream>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let range = if !request.starts_with(&format!("GET /blobs/{} HTTP/1.1", Digest::of(BLOB))) {
        None
    } else if request.contains("range: bytes=2-6\r\n") {
        Some(range(2, 5))
    } else {
        assert!(request.contains("range: bytes=3-\r\n"), "{request}");
        Some(range(3, 0))
    };
    let (status, body) = match range {
        Some(range) => ("206 Partial Content", range),
        None => ("403 Forbidden", &b"not yours"[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn serve_websocket(listener: TcpListener, acceptor: TlsAcceptor, books: Arc<Mutex<Books>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, books) = (acceptor.clone(), Arc::clone(&books));
        tokio::spawn(async move {
            let stream = acceptor.accept(socket).await.unwrap();
            let accepted = |request: &Request, mut response: Response| {
                assert_eq!(request.uri().path(), "/session");
                let name = "sec-websocket-protocol";
                let protocol = request.headers()[name].clone();
                assert_eq!(protocol, PROTOCOL);
                response.headers_mut().insert(name, protocol);
                Ok(response)
            };
            let socket = tokio_tungstenite::accept_hdr_async(stream, accepted).await;
            session(Peer::WebSocket(Box::new(socket.unwrap())), books).await;
        });
    }
}

enum Peer {
    Quic(quinn::SendStream, quinn::RecvStream, BytesMut),
    WebSocket(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

impl Peer {
    async fn receive(&mut self) -> Option<Uplink> {
        let body = match self {
            Self::Quic(_, receive, buffer) => loop {
                if let Some(body) = frame::split_delimited(buffer).unwrap() {
                    break body;
                }
                let chunk = receive.read_chunk(10_000, true).await.ok()??;
                buffer.extend_from_slice(&chunk.bytes);
            },
            Self::WebSocket(socket) => loop {
                match socket.next().await?.ok()? {
                    Message::Binary(body) => break body,
                    Message::Close(_) => return None,
                    _ => {}
                }
            },
        };
        Some(frame::decode_body(body).unwrap())
    }

    async fn send(&mut self, body: downlink::Body) {
        let downlink = Downlink { body: Some(body) };
        match self {
            Self::Quic(send, ..) => {
                let bytes = frame::encode_delimited(&downlink).unwrap();
                send.write_all(&bytes).await.unwrap();
            }
            Self::WebSocket(socket) => {
                let bytes = frame::encode_body(&downlink).unwrap();
                socket.send(Message::Binary(bytes)).await.unwrap();
            }
        }
    }
}

async fn session(mut peer: Peer, books: Arc<Mutex<Books>>) {
    let stream = Stream::Summaries.into();
    while let Some(uplink) = peer.receive().await {
        let answer = match uplink.body.unwrap() {
            uplink::Body::Hello(_) => downlink::Body::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                session_secret: Bytes::from_static(&[7; 32]),
                watermarks: vec![Watermark {
                    stream,
                    through: books.lock().unwrap().through,
                }],
                ..Welcome::default()
            }),
            uplink::Body::Applied(_) => {
                // An operator asks as soon as there is a session.
                let ask = HardExampleAsk { id: 1, what: None };
                peer.send(downlink::Body::HardExampleAsk(ask)).await;
                downlink::Body::Desired(Desired {
                    generation: 1,
                    digest: Some(Digest::of(DESIRED).into()),
                    document: Bytes::from_static(DESIRED),
                })
            }
            uplink::Body::Record(record) => {
                let mut books = books.lock().unwrap();
                assert_eq!(record.first, books.through + 1);
                assert_eq!(record.crc32c, crc32c::crc32c(&record.payload));
                books.through = record.last;
                books.counted.push(record.first);
                if books.cut_after == Some(books.counted.len()) {
                    books.cut_after = None;
                    return;
                }
                downlink::Body::Ack(Ack {
                    stream,
                    through: record.last,
                })
            }
            uplink::Body::Gap(gap) => panic!("nothing was lost: {gap:?}"),
            uplink::Body::HardExampleAnswer(_) => {
                let mut books = books.lock().unwrap();
                books.answered_after = Some(books.counted.len());
                continue;
            }
        };
        peer.send(answer).await;
    }
}
