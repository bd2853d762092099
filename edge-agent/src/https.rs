//! Requests to cloudcore's HTTPS endpoint: enrollment and the renewal of certificates.
//!
//! The caller brings the TLS settings, which say how cloudcore has to prove who it is: by the pin in a join token, or
//! by the root that enrollment brought; and the connector, which says through which proxy, the same as for sessions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use millwright_identity::server_name;
use prost::Message;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::connect::{ConnectError, Connector};

/// Port of cloudcore's HTTPS endpoint when the address names none.
const PORT: u16 = 8443;

/// Longest wait for a connection: plant networks drop packets silently.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the answer: one transaction and one signature in cloudcore.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer: three certificates and a few names are about 3 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const PROTOBUF: &str = "application/x-protobuf";

/// Why cloudcore gave no answer that can be used.
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
    /// Somebody answers, but it is not the cloudcore of this fleet.
    #[error("{address} did not prove to be the cloudcore of this fleet")]
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
    #[error("the answer of {address} cannot be read: is this a cloudcore of the same version?")]
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

impl Refusal {
    /// Whether asking again cannot help before a person has acted: not for what is too early, too much or
    /// cloudcore's own fault.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self.status, 400..=499) && !matches!(self.status, 408 | 409 | 429)
    }
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
pub(crate) fn split(address: &str) -> Result<(String, u16), RequestError> {
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

/// A connection to cloudcore's HTTPS endpoint; it ends when dropped.
pub(crate) struct Https {
    address: String,
    host: String,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<Result<(), hyper::Error>>,
}

impl Drop for Https {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Https {
    /// Connects to `address` with these TLS settings.
    pub(crate) async fn connect(
        connector: &Connector,
        address: &str,
        mut tls: rustls::ClientConfig,
    ) -> Result<Self, RequestError> {
        let (host, port) = split(address)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = connect(connector, address, (&host, port), tls).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|source| broken(address, source))?;
        Ok(Self {
            address: address.to_owned(),
            host,
            sender,
            driver: tokio::spawn(connection),
        })
    }

    /// Sends one message and reads the answer to it.
    pub(crate) async fn post<A: Message + Default>(
        &mut self,
        path: &str,
        message: &impl Message,
    ) -> Result<A, RequestError> {
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(path, message.encode_to_vec()))
            .await
            .map_err(|_| too_slow(&self.address, "answer", ANSWER_TIMEOUT))?;
        let (status, body) = answer.map_err(|source| broken(&self.address, source))?;
        if status != StatusCode::OK {
            return Err(RequestError::Refused(refusal(status, &body)));
        }
        A::decode(body).map_err(|source| RequestError::Answer {
            address: self.address.clone(),
            source,
        })
    }

    async fn exchange(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, PROTOBUF)
            .header(ACCEPT, PROTOBUF)
            .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    }
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(
    connector: &Connector,
    address: &str,
    (host, port): (&str, u16),
    tls: rustls::ClientConfig,
) -> Result<Tls, RequestError> {
    let stream = timeout(CONNECT_TIMEOUT, connector.connect(host, port))
        .await
        .map_err(|_| too_slow(address, "take the connection", CONNECT_TIMEOUT))?
        .map_err(|source| RequestError::Connect {
            address: address.to_owned(),
            port,
            source,
        })?;
    let connector = TlsConnector::from(Arc::new(tls));
    timeout(CONNECT_TIMEOUT, connector.connect(server_name(), stream))
        .await
        .map_err(|_| too_slow(address, "finish the TLS handshake", CONNECT_TIMEOUT))?
        .map_err(|source| RequestError::NotOurs {
            address: address.to_owned(),
            source,
        })
}

fn broken(
    address: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RequestError {
    RequestError::Broken {
        address: address.to_owned(),
        source: source.into(),
    }
}

fn too_slow(address: &str, what: &'static str, limit: Duration) -> RequestError {
    RequestError::Timeout {
        address: address.to_owned(),
        what,
        seconds: limit.as_secs(),
    }
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
