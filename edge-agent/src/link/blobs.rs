//! Fetching ranges of blobs beside the session, over whichever transport it uses.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, RANGE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millwright_proto::Digest;
use millwright_proto::frame;
use millwright_proto::link::{BlobRequest, BlobResponse, blob_response};
use thiserror::Error;
use tokio::sync::watch;

use super::totals::Meter;
use super::ws::WebSocketDialer;

/// From the request to the first byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A transfer that brings nothing for this long is given up; what arrived stays with the caller.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes handed over at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Longest text of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;

/// Blob streams yield to the session's stream.
const PRIORITY: i32 = -1;

/// Why a blob could not be fetched.
#[derive(Debug, Error)]
pub enum BlobError {
    /// No session is live.
    #[error("cannot fetch blob {digest}: there is no connection to cloudcore")]
    Offline {
        /// The blob.
        digest: Digest,
    },
    /// Cloudcore will not give it to this node.
    #[error("cloudcore refused blob {digest}: {reason}")]
    Refused {
        /// The blob.
        digest: Digest,
        /// What it said.
        reason: String,
    },
    /// The transfer broke; try again from where it stopped.
    #[error("the transfer of blob {digest} broke: {reason}")]
    Broken {
        /// The blob.
        digest: Digest,
        /// What happened.
        reason: String,
    },
}

/// What blobs can be fetched over.
#[derive(Clone)]
pub(super) enum Channel {
    Quic(quinn::Connection),
    WebSocket {
        dialer: WebSocketDialer,
        meter: Arc<Meter>,
    },
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic(_) => "Quic",
            Self::WebSocket { .. } => "WebSocket",
        })
    }
}

/// Fetches blobs; cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobClient {
    channel: watch::Receiver<Option<Channel>>,
}

impl BlobClient {
    pub(super) fn new(channel: watch::Receiver<Option<Channel>>) -> Self {
        Self { channel }
    }

    /// Asks for `length` bytes of the blob from `offset` on; a length of 0 means to its end.
    ///
    /// # Errors
    /// When there is no session, cloudcore refuses, or the transfer does not begin.
    pub async fn fetch(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
    ) -> Result<BlobBody, BlobError> {
        let channel = self.channel.borrow().clone();
        let begin = async {
            match channel {
                None => Err(BlobError::Offline { digest }),
                Some(Channel::Quic(connection)) => {
                    over_quic(&connection, digest, offset, length).await
                }
                Some(Channel::WebSocket { dialer, meter }) => {
                    Box::pin(over_http(&dialer, &meter, digest, offset, length)).await
                }
            }
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, begin).await {
            Ok(result) => result,
            Err(_elapsed) => Err(broken(digest, &"cloudcore did not answer in time")),
        }
    }
}

/// The bytes of one range, as they arrive.
#[derive(Debug)]
pub struct BlobBody {
    digest: Digest,
    total_bytes: u64,
    left_bytes: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Quic {
        receive: quinn::RecvStream,
        /// Arrived together with the answer.
        rest: Bytes,
    },
    Http(Incoming),
}

impl BlobBody {
    /// Bytes of the whole range.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// When the transfer breaks, stalls, or is longer or shorter than announced.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let digest = self.digest;
        let next = tokio::time::timeout(STALL_TIMEOUT, self.source.next()).await;
        let chunk = match next {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(reason)) => return Err(broken(digest, &reason)),
            Err(_elapsed) => return Err(broken(digest, &"nothing arrived for too long")),
        };
        match chunk {
            Some(bytes) if bytes.len() as u64 <= self.left_bytes => {
                self.left_bytes -= bytes.len() as u64;
                Ok(Some(bytes))
            }
            Some(_) => Err(broken(digest, &"more bytes than announced")),
            None if self.left_bytes == 0 => Ok(None),
            None => Err(broken(digest, &"it ended early")),
        }
    }
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Quic { rest, .. } if !rest.is_empty() => Ok(Some(std::mem::take(rest))),
            Self::Quic { receive, .. } => match receive.read_chunk(CHUNK_BYTES, true).await {
                Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
                Err(error) => Err(error.to_string()),
            },
            Self::Http(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data()
                            && !data.is_empty()
                        {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }
}

async fn over_quic(
    connection: &quinn::Connection,
    digest: Digest,
    offset: u64,
    length: u64,
) -> Result<BlobBody, BlobError> {
    let fail = |reason: &dyn ToString| broken(digest, &reason.to_string());
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| fail(&e))?;
    // An error means that the stream is gone, which the write then reports.
    let _ = send.set_priority(PRIORITY);
    let request = BlobRequest {
        digest: Some(digest.into()),
        offset,
        length,
    };
    let request = frame::encode_delimited(&request).map_err(|e| fail(&e))?;
    send.write_all(&request).await.map_err(|e| fail(&e))?;
    send.finish().map_err(|e| fail(&e))?;
    let mut buffer = BytesMut::new();
    let answer = loop {
        if let Some(body) = frame::split_delimited(&mut buffer).map_err(|e| fail(&e))? {
            break frame::decode_body::<BlobResponse>(body).map_err(|e| fail(&e))?;
        }
        match receive.read_chunk(CHUNK_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(fail(&"cloudcore closed the stream without an answer")),
            Err(error) => return Err(fail(&error)),
        }
    };
    match answer.body {
        Some(blob_response::Body::TotalBytes(total_bytes)) => Ok(BlobBody {
            digest,
            total_bytes,
            left_bytes: total_bytes,
            source: Source::Quic {
                receive,
                rest: buffer.freeze(),
            },
        }),
        Some(blob_response::Body::Refused(reason)) => Err(BlobError::Refused { digest, reason }),
        None => Err(fail(&"cloudcore sent an answer this agent does not know")),
    }
}

async fn over_http(
    dialer: &WebSocketDialer,
    meter: &Arc<Meter>,
    digest: Digest,
    offset: u64,
    length: u64,
) -> Result<BlobBody, BlobError> {
    let fail = |reason: &dyn ToString| broken(digest, &reason.to_string());
    let stream = dialer.connect(meter).await.map_err(|e| fail(&e))?;
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = handshake.map_err(|e| fail(&e))?;
    // Ends with the response body; its errors surface there.
    tokio::spawn(async move { drop(connection.await) });
    let range = match length {
        0 => format!("bytes={offset}-"),
        length => format!("bytes={offset}-{}", offset.saturating_add(length - 1)),
    };
    let request = Request::get(format!("/blobs/{digest}"))
        .header(HOST, dialer.address())
        .header(RANGE, range)
        .body(Empty::<Bytes>::new())
        .map_err(|e| fail(&e))?;
    let response = sender.send_request(request).await.map_err(|e| fail(&e))?;
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let total_bytes = content_length(&response)
            .ok_or_else(|| fail(&"the answer does not say how long it is"))?;
        return Ok(BlobBody {
            digest,
            total_bytes,
            left_bytes: total_bytes,
            source: Source::Http(response.into_body()),
        });
    }
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let text = body.collect().await.map_or_else(
        |_too_long_or_cut| status.to_string(),
        |collected| String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
    );
    if status.is_client_error() {
        Err(BlobError::Refused {
            digest,
            reason: text,
        })
    } else {
        Err(fail(&format!("{status}: {text}")))
    }
}

fn content_length(response: &Response<Incoming>) -> Option<u64> {
    let value = response.headers().get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn broken(digest: Digest, reason: &impl ToString) -> BlobError {
    BlobError::Broken {
        digest,
        reason: reason.to_string(),
    }
}
