//! Bodies in both directions: requests read under a common budget of memory, whichever protocol they come by; answers
//! sent in parts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::header;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::fault::Fault;

/// Largest body of a request. A picture of 2048 x 2048 RGB pixels as 32-bit floats has 48 MiB.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Memory of all request bodies together: two of the largest, or dozens of camera frames. More clients at
/// once are told to come back.
const BODIES_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The budget is counted in pieces of this size, so that its number of permits fits.
const PIECE_BYTES: usize = 4096;

/// The memory that request bodies may take together.
#[derive(Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

/// A body and its share of the budget.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

/// Why a body was not read.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body is over the limit of {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error(
        "the requests in progress take all the memory there is for them: send fewer at a time or try again"
    )]
    NoRoom,
    #[error("the body ended early or is malformed: {0}")]
    Broken(axum::Error),
    #[error("compressed bodies are not supported: send the body without Content-Encoding")]
    Encoded,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_BYTES_MAX / PIECE_BYTES)))
    }
}

impl BodyBudget {
    /// Reads a whole body. One of known length is refused before it is read, if it must be.
    pub(super) async fn read(&self, request: Request) -> Result<Received, BodyError> {
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(BodyError::Encoded);
        }
        let mut body = request.into_body();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut share = self.take(announced)?;
        let mut bytes = BytesMut::with_capacity(announced);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            let paid = share.num_permits() * PIECE_BYTES;
            if length > paid {
                share.merge(self.take(length - paid)?);
            }
            if length > BODY_BYTES_MAX {
                return Err(BodyError::TooLarge);
            }
            if bytes.is_empty() && length == announced {
                // All of it in one piece, as small requests come: no copy.
                return Ok(Received {
                    bytes: data,
                    _share: share,
                });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Received {
            bytes: bytes.freeze(),
            _share: share,
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        if bytes > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).map_err(|_| BodyError::TooLarge)?;
        let share = Arc::clone(&self.0).try_acquire_many_owned(pieces);
        share.map_err(|_| BodyError::NoRoom)
    }
}

/// A body of gRPC, paid for as it is read. The share of a call is given back when its [`Share`] is.
pub(super) struct Paid {
    body: axum::body::Body,
    budget: Arc<BodyBudget>,
    share: Share,
}

/// What one call has taken of the budget. Clones are the same share.
#[derive(Clone, Debug, Default)]
pub(super) struct Share(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Share {
    /// Gives back what was paid so far: a message of a stream is answered.
    pub(super) fn settle(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Paid {
    pub(super) fn new(body: axum::body::Body, budget: Arc<BodyBudget>, share: Share) -> Self {
        Self {
            body,
            budget,
            share,
        }
    }
}

/// As the decoder of gRPC passes it on to the client.
fn refuse(error: BodyError) -> Status {
    Fault::from(error).into()
}

impl Body for Paid {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(refuse(BodyError::Broken(error))))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            let more = match self.budget.take(data.len()) {
                Ok(more) => more,
                Err(error) => return Poll::Ready(Some(Err(refuse(error)))),
            };
            let mut share = self.share.0.lock().unwrap_or_else(PoisonError::into_inner);
            match share.as_mut() {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Received {
    pub(super) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A body of buffers that are sent as they are.
#[derive(Debug)]
pub(super) struct Parts(VecDeque<Bytes>);

impl From<VecDeque<Bytes>> for Parts {
    fn from(parts: VecDeque<Bytes>) -> Self {
        Self(parts)
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}
