//! One HTTPS request to a cloudcore that is known only by the pin in the join token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use millwright_identity::{RootPin, pinned_client_config, server_name};
use millwright_proto::link::{EnrollRequest, EnrollResponse};
use prost::Message;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect::{ConnectError, Connector, ProxyUrlError};

/// Port of cloudcore's HTTPS endpoint when the address names none.
const PORT: u16 = 8443;

/// Longest wait for a connection: plant networks drop packets silently.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the answer: one transaction and one signature in cloudcore.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer: three certificates and a few names are about 3 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const PATH: &str = "/api/v1/enroll";
const PROTOBUF: &str = "application/x-protobuf";

/// Why cloudcore gave no certificate.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The address is none.
    #[error("`{0}` is not an address: write --cloud HOST:8443")]
    Address(String),
    /// Nobody answers there.
    #[error(
        "cannot reach cloudcore at {address}: check --cloud, and that port {port}/tcp is open from here"
    )]
    Connect {
        /// Where.
        address: String,
        /// Its port.
        port: u16,
        /// What the system says.
        #[source]
        source: ConnectError,
    },
    /// HTTPS_PROXY names no proxy.
    #[error(transparent)]
    Proxy {
        /// What is wrong with it.
        source: ProxyUrlError,
    },
    /// Somebody answers, but it is not the cloudcore the token is from.
    #[error("{address} did not prove to be the cloudcore that made this token")]
    NotOurs {
        /// Where.
        address: String,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("cloudcore at {address} did not {what} within {seconds} s: try again")]
    Timeout {
        /// Where.
        address: String,
        /// What it did not do.
        what: &'static str,
        /// The bound.
        seconds: u64,
    },
    /// The connection broke.
    #[error("the connection to cloudcore at {address} broke: try again")]
    Broken {
        /// Where.
        address: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Cloudcore said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer is not one.
    #[error(
        "the answer of {address} is not an enrollment answer: is this a cloudcore of the same version?"
    )]
    Answer {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
}

/// What cloudcore says when it refuses (RFC 9457).
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    status: u16,
    title: String,
    detail: String,
    hint: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cloudcore refused ({}): {}", self.status, self.title)?;
        if !self.detail.is_empty() {
            write!(f, "\n  {}", self.detail)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Host and port of `address`; without a port [`PORT`].
pub(super) fn split(address: &str) -> Result<(String, u16), RequestError> {
    let wrong = || RequestError::Address(address.to_owned());
    let address = address
        .strip_prefix("https://")
        .unwrap_or(address)
        .trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        // The colons of an address like ::1 are no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        Some(_) | None => (address, PORT),
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// Sends `request` to the cloudcore at `address`, which must prove to have the root of `pin`.
pub(super) async fn send(
    address: &str,
    pin: RootPin,
    request: &EnrollRequest,
) -> Result<EnrollResponse, RequestError> {
    let (host, port) = split(address)?;
    let tls = connect(address, &host, port, pin).await?;
    let answer = timeout(ANSWER_TIMEOUT, post(tls, &host, request))
        .await
        .map_err(|_| too_slow(address, "answer", ANSWER_TIMEOUT))?;
    let (status, body) = answer.map_err(|source| RequestError::Broken {
        address: address.to_owned(),
        source,
    })?;
    if status != StatusCode::OK {
        return Err(RequestError::Refused(refusal(status, &body)));
    }
    EnrollResponse::decode(body).map_err(|source| RequestError::Answer {
        address: address.to_owned(),
        source,
    })
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(address: &str, host: &str, port: u16, pin: RootPin) -> Result<Tls, RequestError> {
    let refused = |source| RequestError::Proxy { source };
    let connector = Connector::configured(None).map_err(refused)?;
    let stream = timeout(CONNECT_TIMEOUT, connector.connect(host, port))
        .await
        .map_err(|_| too_slow(address, "take the connection", CONNECT_TIMEOUT))?
        .map_err(|source| RequestError::Connect {
            address: address.to_owned(),
            port,
            source,
        })?;
    let mut config = pinned_client_config(pin);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    timeout(CONNECT_TIMEOUT, connector.connect(server_name(), stream))
        .await
        .map_err(|_| too_slow(address, "finish the TLS handshake", CONNECT_TIMEOUT))?
        .map_err(|source| RequestError::NotOurs {
            address: address.to_owned(),
            source,
        })
}

fn too_slow(address: &str, what: &'static str, limit: Duration) -> RequestError {
    RequestError::Timeout {
        address: address.to_owned(),
        what,
        seconds: limit.as_secs(),
    }
}

async fn post(
    tls: Tls,
    host: &str,
    request: &EnrollRequest,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    let driver = tokio::spawn(connection);
    let body = Full::new(Bytes::from(request.encode_to_vec()));
    let request = Request::builder()
        .method(Method::POST)
        .uri(PATH)
        .header(HOST, host)
        .header(CONTENT_TYPE, PROTOBUF)
        .header(ACCEPT, PROTOBUF)
        .body(body)?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await?;
    driver.abort();
    Ok((status, body.to_bytes()))
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    refusal.status = status.as_u16();
    if refusal.title.is_empty() {
        status
            .canonical_reason()
            .unwrap_or("no reason given")
            .clone_into(&mut refusal.title);
    }
    refusal
}
