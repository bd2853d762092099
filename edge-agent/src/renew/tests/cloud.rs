//! A cloud that can do one thing: renew the certificate of one device.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use millwright_identity::{
    CertifiedKey, SERVER_NAME, renewal_statement, server_config, verify_identity_proof,
};
use millwright_proto::ids::NodeUid;
use millwright_proto::link::{RenewRequest, RenewResponse, RenewedCertificate, renew_response};
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData, SanType,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::identity::{NewIdentity, NodeFile, tls_pem};

pub(super) const UID: NodeUid = NodeUid::from_bytes([9; 16]);
pub(super) const MONTH_S: u64 = 30 * 86_400;
/// How long a certificate of a node is good.
pub(super) const LIFE_S: u64 = MONTH_S;
/// In 2026.
pub(super) const ENROLLED_S: u64 = 1_780_000_000;

const CHALLENGE: &[u8] = b"challenge";

type Ca = CertifiedIssuer<'static, KeyPair>;

/// How it answers once it has been asked for a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Well,
    OnlyChallenges,
    ForAnotherDevice,
    ForAnotherKey,
    Nothing,
    Revoked,
}

struct Books {
    now_s: u64,
    root: Ca,
    identity: KeyPair,
    answers: Mutex<(Answers, u32)>,
}

pub(super) struct Cloud {
    books: Arc<Books>,
    address: SocketAddr,
}

fn params(common_name: &str, begin_s: u64, end_s: u64) -> CertificateParams {
    let at = |unix_s: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_s);
        time.into()
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = at(begin_s);
    params.not_after = at(end_s);
    params
}

fn node_params(uid: NodeUid, now_s: u64) -> CertificateParams {
    let mut params = params(&uid.to_string(), now_s, now_s + LIFE_S);
    let name = "spiffe://acme/tenant/default/site/leipzig/node/press-1";
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params
}

impl Cloud {
    /// A cloud whose own clock says `now_s`, and whose own certificate has half a year left then, as every one has.
    pub(super) async fn start(now_s: u64) -> Self {
        let mut ca = params("root", ENROLLED_S, ENROLLED_S + 25 * 365 * 86_400);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = Ca::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut leaf = params("cloudcore", now_s - 183 * 86_400, now_s + 182 * 86_400);
        leaf.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&key, &root).unwrap();
        let own = CertifiedKey {
            chain: vec![leaf.der().clone(), root.der().clone()],
            key: rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        };
        let mut tls = server_config(own).unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let books = Arc::new(Books {
            now_s,
            root,
            identity: KeyPair::generate().unwrap(),
            answers: Mutex::new((Answers::Well, 0)),
        });
        let router = Router::new()
            .route("/api/v1/renew", post(renew))
            .with_state(Arc::clone(&books));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), router));
        Self { books, address }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn answer(&self, answers: Answers) {
        self.books.answers.lock().unwrap().0 = answers;
    }

    /// Requests so far.
    pub(super) fn asked(&self) -> u32 {
        self.books.answers.lock().unwrap().1
    }

    /// What enrollment at [`ENROLLED_S`] gave to the device.
    pub(super) fn identity(&self) -> NewIdentity {
        let key = KeyPair::generate().unwrap();
        let leaf = node_params(UID, ENROLLED_S).signed_by(&key, &self.books.root);
        NewIdentity {
            identity_key: self.books.identity.serialize_pem(),
            tls: tls_pem(&key.serialize_pem(), &[leaf.unwrap().der().clone()]),
            root: self.books.root.pem(),
            file: NodeFile {
                quic: String::new(),
                websocket: String::new(),
                cloud: self.address(),
                node: "press-1".to_owned(),
                site: "leipzig".to_owned(),
                enrolled_at: ENROLLED_S,
            },
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // Whoever does not trust this cloud ends the handshake.
            let Ok(stream) = acceptor.accept(socket).await else {
                return;
            };
            let service = TowerToHyperService::new(router);
            let http = hyper::server::conn::http1::Builder::new();
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn renew(State(books): State<Arc<Books>>, body: Bytes) -> Response {
    let request = RenewRequest::decode(body).unwrap();
    assert_eq!(request.node_uid, UID.as_bytes()[..]);
    let answers = {
        let mut answers = books.answers.lock().unwrap();
        answers.1 += 1;
        answers.0
    };
    let challenge = renew_response::Body::Challenge(CHALLENGE.into());
    let body = match (request.challenge.is_empty(), answers) {
        (true, _) | (false, Answers::OnlyChallenges) => Some(challenge),
        (false, Answers::Nothing) => None,
        (false, Answers::Revoked) => {
            let problem =
                r#"{"title": "The node was revoked", "detail": "node `press-1` was revoked"}"#;
            return (StatusCode::FORBIDDEN, problem).into_response();
        }
        (false, Answers::Well) => Some(issue(&books, &request, UID)),
        (false, Answers::ForAnotherDevice) => {
            Some(issue(&books, &request, NodeUid::from_bytes([8; 16])))
        }
        (false, Answers::ForAnotherKey) => {
            let key = KeyPair::generate().unwrap();
            let leaf = node_params(UID, books.now_s).signed_by(&key, &books.root);
            Some(certificate(leaf.unwrap()))
        }
    };
    let response = RenewResponse {
        server_time_ms: books.now_s * 1000,
        body,
    };
    response.encode_to_vec().into_response()
}

fn issue(books: &Books, request: &RenewRequest, uid: NodeUid) -> renew_response::Body {
    assert_eq!(request.challenge, CHALLENGE);
    let statement = renewal_statement(UID, &request.challenge, &request.csr);
    let public = books.identity.subject_public_key_info();
    verify_identity_proof(&public, &statement, &request.identity_proof).unwrap();
    let csr = CertificateSigningRequestParams::from_der(&request.csr[..].into()).unwrap();
    let leaf = node_params(uid, books.now_s).signed_by(&csr.public_key, &books.root);
    certificate(leaf.unwrap())
}

fn certificate(leaf: rcgen::Certificate) -> renew_response::Body {
    renew_response::Body::Certificate(RenewedCertificate {
        chain: vec![leaf.der().to_vec().into()],
    })
}
