//! Requests to cameras and web servers of a plant: HTTP/1.1, with or without TLS, one connection per request.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use millwright_pipeline::{Camera, Webhook};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{self, SecretError};

/// Longest wait for a connection: plant networks drop packets silently.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the beginning of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest part of a webhook's answer that is read: it is not looked at.
const IGNORED_BYTES_MAX: usize = 64 * 1024;

/// Why there is no answer that can be used.
#[derive(Debug, Error)]
pub(super) enum HttpError {
    #[error("`{0}` is no address")]
    Address(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{host} cannot be reached: {source}")]
    Connect {
        host: String,
        source: std::io::Error,
    },
    #[error(
        "{host} did not prove who it is: {source}; name the certificate to trust with `caFile`"
    )]
    NotProven {
        host: String,
        source: std::io::Error,
    },
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the answer broke off: {0}")]
    Body(String),
    #[error("it wants a name and password (HTTP 401): write `username` and `passwordFile`")]
    Unauthorised,
    #[error(
        "it wants Digest authentication, which is not supported: switch the camera to Basic, best with https://"
    )]
    Digest,
    #[error("it answers HTTP {0}")]
    Status(StatusCode),
    #[error("it does not answer within {0:?}")]
    Timeout(Duration),
    #[error(
        "it sends {0}: this must be the address of an MJPEG stream, or of a picture with `snapshotEveryMs`"
    )]
    ContentType(String),
}

impl HttpError {
    /// Whether the same request would fail again.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Status(status) => {
                status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429)
            }
            Self::Address(_) | Self::Unauthorised | Self::Digest | Self::ContentType(_) => true,
            Self::Secret(_)
            | Self::Connect { .. }
            | Self::NotProven { .. }
            | Self::Broken(_)
            | Self::Body(_)
            | Self::Timeout(_) => false,
        }
    }
}

/// Where requests go, and who we are there.
#[derive(Debug)]
pub(super) struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    fn new(
        url: &str,
        ca_file: Option<&str>,
        authorization: Option<String>,
    ) -> Result<Self, HttpError> {
        let wrong = || HttpError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = uri.scheme_str() == Some("https");
        let mut authorization = authorization
            .map(|text| HeaderValue::try_from(text).map_err(|_| wrong()))
            .transpose()?;
        if let Some(secret) = &mut authorization {
            secret.set_sensitive(true);
        }
        Ok(Self {
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            host,
            tls: if secure {
                Some(tls::client(ca_file)?)
            } else {
                None
            },
            authorization,
            uri,
        })
    }

    pub(super) fn camera(camera: &Camera) -> Result<Self, HttpError> {
        let authorization = match &camera.username {
            None => None,
            Some(username) => {
                let password = camera
                    .password_file
                    .as_deref()
                    .map(tls::secret)
                    .transpose()?;
                let pair = format!("{username}:{}", password.unwrap_or_default());
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        Self::new(&camera.url, camera.ca_file.as_deref(), authorization)
    }

    pub(super) fn webhook(webhook: &Webhook) -> Result<Self, HttpError> {
        let token = webhook.token_file.as_deref().map(tls::secret).transpose()?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        Self::new(&webhook.url, webhook.ca_file.as_deref(), authorization)
    }

    /// What is at this address; its body is still to be read.
    pub(super) async fn get(&self) -> Result<Response<Incoming>, HttpError> {
        self.request(Method::GET, Bytes::new()).await
    }

    pub(super) async fn post_json(&self, json: Bytes) -> Result<(), HttpError> {
        let answer = self.request(Method::POST, json).await?;
        // Read, so that the server is not cut off while it writes; what it says is nobody's business.
        let _ = Limited::new(answer.into_body(), IGNORED_BYTES_MAX)
            .collect()
            .await;
        Ok(())
    }

    async fn request(&self, method: Method, body: Bytes) -> Result<Response<Incoming>, HttpError> {
        let stream = within(CONNECT_TIMEOUT, async {
            TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(|source| HttpError::Connect {
                    host: self.host.clone(),
                    source,
                })
        });
        let stream = stream.await?;
        match &self.tls {
            None => self.send(stream, method, body).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())
                    .map_err(|_| HttpError::Address(self.host.clone()))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = within(CONNECT_TIMEOUT, async {
                    connector
                        .connect(name, stream)
                        .await
                        .map_err(|source| HttpError::NotProven {
                            host: self.host.clone(),
                            source,
                        })
                });
                self.send(stream.await?, method, body).await
            }
        }
    }

    async fn send<S>(
        &self,
        stream: S,
        method: Method,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body, or when whoever reads that gives up.
        tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, authority)
            .header(ACCEPT, "*/*");
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| HttpError::Address(self.uri.to_string()))?;
        let answer = within(ANSWER_TIMEOUT, async {
            sender.send_request(request).await.map_err(HttpError::from)
        });
        check(answer.await?)
    }
}

fn check(answer: Response<Incoming>) -> Result<Response<Incoming>, HttpError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let wanted = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    let mut wanted = wanted.filter_map(|value| value.to_str().ok()).peekable();
    Err(match status {
        StatusCode::UNAUTHORIZED if wanted.peek().is_some() => {
            let basic = wanted.any(|scheme| scheme.to_ascii_lowercase().starts_with("basic"));
            if basic {
                HttpError::Unauthorised
            } else {
                HttpError::Digest
            }
        }
        StatusCode::UNAUTHORIZED => HttpError::Unauthorised,
        other => HttpError::Status(other),
    })
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::Timeout(limit)),
    }
}
